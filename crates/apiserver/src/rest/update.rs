//! Everything that turns an existing object into another, on the object or on its status. What apply does before that
//! is in [`applied`].

use std::sync::Arc;

use serde_json::Value;

use super::{
    Outcome, Write, applied, cascade,
    checks::{arrange, check_namespace, check_object, check_type, conform},
    create::{self, create},
    naming, scale,
};
use crate::{
    admission::Operation as Admitted,
    apply::Managers,
    field::FieldError,
    kinds::rules::Context,
    object::{Object as _, ObjectMut as _, without},
    patch::Patch,
    rbac,
    status::Status,
    store::Txn,
};

/// The new state that is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Put(Value),
    Patch(Patch),
    Apply { config: Value, force: bool },
}

/// Changes the object called `name`.
pub(crate) fn update(txn: &mut Txn<'_>, write: &Write<'_>, name: &str, change: Change) -> Result<Outcome, Status> {
    let traits = write.kind.traits;
    let live = txn.get(&write.key(name)).map(|live| shown(write, live));
    match (live, change) {
        (Some(live), change) if write.subresource == "scale" => scale::change(txn, write, &live, change),
        (Some(live), Change::Put(body)) => put(txn, write, &live, body),
        (Some(live), Change::Patch(patch)) => {
            let patched = patch.apply(&served(write, &live), &write.kind.schema)?;
            patched_with(txn, write, &live, &patch, patched)
        }
        (Some(live), Change::Apply { config, force }) => applied::apply(txn, write, &live, config, force),
        (None, Change::Put(body)) if traits.create_on_update && write.subresource.is_empty() => {
            check_name(name, &body)?;
            create(txn, write, body)
        }
        (None, Change::Apply { config, .. }) if write.subresource.is_empty() => {
            applied::apply_new(txn, write, name, config)
        }
        (None, _) => Err(Status::not_found(&write.kind.resource, name)),
    }
}

fn put(txn: &mut Txn<'_>, write: &Write<'_>, live: &Arc<Value>, mut body: Value) -> Result<Outcome, Status> {
    check_type(write, &mut body)?;
    check_namespace(write, &mut body)?;
    check_name(live.name(), &body)?;
    if write.kind.traits.needs_version && body.resource_version().is_empty() {
        let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
        return Err(Status::invalid(
            write.kind.group(),
            &write.kind.resource.plural,
            live.name(),
            &[error],
        ));
    }
    plain(txn, write, live, body, &|why| write.undecodable(why))
}

/// What a patch has made of the live object.
fn patched_with(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    live: &Arc<Value>,
    patch: &Patch,
    mut patched: Value,
) -> Result<Outcome, Status> {
    check_type(write, &mut patched)?;
    check_namespace(write, &mut patched)?;
    check_name(live.name(), &patched)?;
    plain(txn, write, live, patched, &|why| {
        let again = patch.apply(&served(write, live), &write.kind.schema);
        again.map_or_else(
            |status| status,
            |patched| Status::wrong_patch(&patch.shown(patched), why),
        )
    })
}

/// A write that owns what it changes. `refuse` words the refusal of an object that cannot be decoded.
pub(super) fn plain(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    live: &Arc<Value>,
    mut new: Value,
    refuse: &dyn Fn(&str) -> Status,
) -> Result<Outcome, Status> {
    check_identity(write, live, &new)?;
    let cleared = new
        .meta("managedFields")
        .and_then(Value::as_array)
        .is_some_and(|entries| {
            entries
                .iter()
                .all(|entry| entry.as_object().is_some_and(serde_json::Map::is_empty))
        });
    if write.subresource == "finalize" {
        return cascade::finalize_namespace(txn, write, live, &new);
    }
    let warnings = conform(write, &mut new).map_err(|why| refuse(&why))?;
    let mut managers = match Managers::read(&new) {
        _ if cleared => Managers::default(),
        // Whoever knows managedFields may edit them; leaving them out does not lose them.
        stated if !stated.is_empty() && write.subresource.is_empty() => stated,
        _ => Managers::read(live),
    };
    keep(write, live, &mut new);
    if !cleared {
        let who = create::manager(write);
        // The API notes no time for what comes through the scale.
        let time = if write.subresource == "scale" {
            String::new()
        } else {
            write.time()
        };
        managers.update(live, &new, &write.kind.schema, &who, &time);
    }
    finish(txn, write, live, new, managers).map(|outcome| outcome.warned(warnings))
}

/// Rules, generation, validation; then the object is staged, left alone, or removed.
pub(super) fn finish(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    live: &Arc<Value>,
    mut new: Value,
    managers: Managers,
) -> Result<Outcome, Status> {
    let kind = write.kind;
    if write.subresource != "status" {
        kind.rules.update(
            live,
            &mut new,
            &Context {
                txn,
                services: write.services,
            },
        )?;
        let bookkeeping: &[&str] = if kind.traits.status {
            &["metadata", "status", "apiVersion"]
        } else {
            &["metadata", "apiVersion"]
        };
        if kind.traits.generation && without(live, bookkeeping) != without(&new, bookkeeping) {
            let generation = live.meta("generation").and_then(Value::as_i64).unwrap_or(1);
            new.set_meta("generation", generation + 1);
        }
    }
    managers.write(&mut new);
    let mut warnings = check_object(write, &new, Some(live))?;
    if write.subresource.is_empty() {
        rbac::check_escalation(txn, write.user, &kind.resource, &new)?;
    }
    warnings.extend(write.admit(txn, Admitted::Update, Some(&new), Some(live))?);
    arrange(&mut new);
    let key = write.key(live.name());
    let held = new
        .meta("deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or_default()
        > 0;
    let is_namespace = kind.kind == "Namespace" && !kind.is_custom();
    if new.is_terminating() && new.finalizers().is_empty() && !held && !is_namespace {
        // Watchers see what was stored last, the writer what it wrote.
        let mut stored = (**live).clone();
        kind.rules.to_stored(&mut stored);
        let last = txn.delete(key, stored);
        new.set_meta("resourceVersion", last.resource_version());
        arrange(&mut new);
        return Ok(Outcome {
            removed: true,
            warnings,
            ..Outcome::of(Arc::new(new))
        });
    }
    if same_but_times(live, &new) {
        return Ok(Outcome::of(Arc::clone(live)));
    }
    kind.rules.to_stored(&mut new);
    let stored = txn.put(key, new);
    if create::is_definition(kind) {
        naming::follow(txn, kind, write.now, live.name());
    }
    Ok(Outcome {
        warnings,
        ..Outcome::of(stored)
    })
}

/// The live object in the form of the request's kind.
fn shown(write: &Write<'_>, live: Arc<Value>) -> Arc<Value> {
    if write.kind.rules.storage().is_none() {
        return live;
    }
    let mut object = (*live).clone();
    write.kind.rules.to_shown(&mut object);
    Arc::new(object)
}

/// The live object in the version of the request.
pub(super) fn served(write: &Write<'_>, live: &Value) -> Value {
    let mut object = live.clone();
    object["apiVersion"] = write.kind.api_version().into();
    object
}

/// The name in a body must be that in the path.
pub(super) fn check_name(name: &str, object: &Value) -> Result<(), Status> {
    match object.name() {
        "" => Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        same if same == name => Ok(()),
        other => Err(Status::bad_request(format!(
            "the name of the object ({other}) does not match the name on the URL ({name})"
        ))),
    }
}

/// uid and resourceVersion in a body are preconditions.
pub(super) fn check_identity(write: &Write<'_>, live: &Value, body: &Value) -> Result<(), Status> {
    let (resource, name) = (&write.kind.resource, live.name());
    if !body.uid().is_empty() && body.uid() != live.uid() {
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{}/{}/{name}, ResourceVersion: 0, AdditionalErrorMsg: \
             Precondition failed: UID in precondition: {}, UID in object meta: {}",
            resource.plural,
            write.namespace,
            body.uid(),
            live.uid()
        );
        return Err(Status::conflict(resource, name, &why));
    }
    match body.resource_version() {
        "" | "0" => Ok(()),
        version if version == live.resource_version() => Ok(()),
        _ => Err(Status::modified(resource, name)),
    }
}

/// Brings back what the request's endpoint cannot change.
pub(super) fn keep(write: &Write<'_>, live: &Value, new: &mut Value) {
    if write.subresource == "status" {
        let status = new.get("status").cloned();
        *new = served(write, live);
        match status {
            Some(status) => new["status"] = status,
            None => {
                new.as_object_mut().map(|map| map.shift_remove("status"));
            }
        }
        return;
    }
    if write.kind.traits.status {
        match live.get("status") {
            Some(status) => new["status"] = status.clone(),
            None => {
                new.as_object_mut().map(|map| map.shift_remove("status"));
            }
        }
    }
    for field in create::SERVER_SET {
        match live.meta(field) {
            Some(value) => new.set_meta(field, value.clone()),
            None => {
                new.drop_meta(field);
            }
        }
    }
    for field in ["generateName", "namespace"] {
        if let Some(value) = live.meta(field) {
            new.set_meta(field, value.clone());
        }
    }
}

pub(super) fn without_managers(object: &Value) -> Value {
    let mut object = object.clone();
    object.drop_meta("managedFields");
    object
}

/// Whether a write changes nothing but times in managedFields.
fn same_but_times(live: &Value, new: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        object.drop_meta("resourceVersion");
        let entries = object
            .metadata_mut()
            .get_mut("managedFields")
            .and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(Value::as_object_mut) {
            entry.shift_remove("time");
        }
        object
    };
    timeless(live) == timeless(new)
}

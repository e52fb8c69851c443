//! Server-side apply of an object: what the request states, merged with what others own.

use std::sync::Arc;

use serde_json::Value;

use super::{
    FieldValidation, Outcome, Write,
    checks::{check_namespace, check_type, conform},
    create, decode,
    update::{check_identity, check_name, finish, keep, without_managers},
};
use crate::{
    apply::{ApplyRequest, Manager, Managers, Operation},
    object::{Object as _, ObjectMut as _, text_at},
    schema::normalise::normalise,
    status::Status,
    store::Txn,
};

pub(super) fn apply(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    live: &Arc<Value>,
    mut config: Value,
    force: bool,
) -> Result<Outcome, Status> {
    if config.name().is_empty() {
        config.set_meta("name", live.name());
    }
    let mut config = configuration(write, live.name(), config)?;
    check_identity(write, live, &config)?;
    let is_status = write.subresource == "status";
    if let Some(map) = config.as_object_mut() {
        map.retain(|field, _| {
            let status = field == "status";
            ["apiVersion", "kind"].contains(&field.as_str())
                || if is_status {
                    status
                } else {
                    !(status && write.kind.traits.status)
                }
        });
    }
    let who = applier(write);
    let now = write.time();
    let request = ApplyRequest { who: &who, force };
    let mut managers = Managers::read(live);
    let mut new = managers.apply(live, &config, &write.kind.schema, &request)?;
    conform(
        &Write {
            validation: FieldValidation::Ignore,
            ..*write
        },
        &mut new,
    )
    .map_err(|why| write.undecodable(&why))?;
    keep(write, live, &mut new);
    if without_managers(&new) != without_managers(live) {
        managers.touch(&who, &now);
    }
    finish(txn, write, live, new, managers)
}

pub(super) fn apply_new(txn: &mut Txn<'_>, write: &Write<'_>, name: &str, config: Value) -> Result<Outcome, Status> {
    let mut config = configuration(write, name, config)?;
    if !config.uid().is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {}, and no existing object was found",
            config.uid()
        );
        return Err(Status::conflict(&write.kind.resource, name, &why));
    }
    if !config.resource_version().is_empty() {
        return Err(Status::modified(&write.kind.resource, name));
    }
    if write.kind.traits.status {
        config.as_object_mut().map(|map| map.shift_remove("status"));
    }
    for field in create::SERVER_SET {
        config.drop_meta(field);
    }
    let (who, now) = (applier(write), write.time());
    let request = ApplyRequest { who: &who, force: true };
    let mut managers = Managers::default();
    managers.apply(&create::empty(write), &config, &write.kind.schema, &request)?;
    managers.touch(&who, &now);
    conform(
        &Write {
            validation: FieldValidation::Ignore,
            ..*write
        },
        &mut config,
    )
    .map_err(|why| write.undecodable(&why))?;
    create::insert(txn, write, config, managers)
}

/// Checks an applied configuration. It may only state fields that the kind has.
fn configuration(write: &Write<'_>, name: &str, mut config: Value) -> Result<Value, Status> {
    if text_at(&config, &["apiVersion"]).is_empty() || text_at(&config, &["kind"]).is_empty() {
        let (version, kind) = (text_at(&config, &["apiVersion"]), text_at(&config, &["kind"]));
        let group_version = if version.is_empty() { "/" } else { version };
        return Err(Status::bad_request(format!(
            "invalid object type: {group_version}, Kind={kind}"
        )));
    }
    let (stated, expected) = (text_at(&config, &["apiVersion"]), write.kind.api_version());
    if stated != expected {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {stated}, expected: {expected}"
        )));
    }
    check_type(write, &mut config)?;
    check_name(name, &config)?;
    let stated_namespace = config.namespace().to_owned();
    check_namespace(write, &mut config)?;
    if config.meta("managedFields").is_some() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let unknown = normalise(&mut config.clone(), &write.kind.schema).into_iter();
    let mut wrong: Vec<String> = unknown
        .map(|field| format!(".{field}: field not declared in schema"))
        .collect();
    wrong.extend(decode::mistyped(&config, &write.kind.schema));
    let why = match wrong.as_slice() {
        [] => return Ok(config),
        [one] => one.clone(),
        several => format!("errors:\n  {}", several.join("\n  ")),
    };
    let (group, version, kind) = (write.kind.group(), &write.kind.version, &write.kind.kind);
    Err(Status::internal(format!(
        "failed to create typed patch object ({stated_namespace}/{name}; {group}/{version}, Kind={kind}): {why}"
    )))
}

fn applier(write: &Write<'_>) -> Manager {
    Manager {
        operation: Operation::Apply,
        ..create::manager(write)
    }
}

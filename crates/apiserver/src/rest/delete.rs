//! Delete: at once, after a grace period, or when the last finalizer is gone.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Outcome, Write, cascade, existing};
use crate::{
    admission::Operation as Admitted,
    object::{self, Object as _, ObjectMut as _, text_at},
    selector::Selector,
    status::Status,
    store::{Resource, Txn},
};

/// The options of a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub grace_seconds: Option<i64>,
    /// `Background`, `Foreground` or `Orphan`.
    pub propagation: Option<String>,
}

/// Deletes the object called `name`.
pub(crate) fn delete(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    name: &str,
    options: &DeleteOptions,
) -> Result<Outcome, Status> {
    let live = existing(txn, write, name)?;
    if write.kind.resource == Resource::new("", "namespaces") && IMMORTAL.contains(&name) {
        return Err(Status::forbidden(
            &write.kind.resource,
            name,
            "this namespace may not be deleted",
        ));
    }
    check_preconditions(write, &live, options)?;
    let warnings = write.admit(txn, Admitted::Delete, None, Some(&live))?;
    remove(txn, write, &live, options).map(|outcome| outcome.warned(warnings))
}

/// Deletes an object that may be deleted.
fn remove(txn: &mut Txn<'_>, write: &Write<'_>, live: &Arc<Value>, options: &DeleteOptions) -> Result<Outcome, Status> {
    let name = live.name();
    let mut marked = (**live).clone();
    let finalizer = match options.propagation.as_deref() {
        Some("Foreground") => Some("foregroundDeletion"),
        Some("Orphan") => Some("orphan"),
        _ => None,
    };
    if let Some(finalizer) = finalizer.filter(|wanted| !live.is_terminating() && !live.finalizers().contains(wanted)) {
        let mut finalizers: Vec<Value> = live.finalizers().into_iter().map(Value::from).collect();
        finalizers.push(finalizer.into());
        marked.set_meta("finalizers", finalizers);
    }
    let builtin = if write.kind.is_custom() { "" } else { &*write.kind.kind };
    let grace = if builtin == "Pod" { pod_grace(live, options) } else { 0 };
    let due = live.meta("deletionGracePeriodSeconds").and_then(Value::as_i64);
    match builtin {
        "Namespace" => return cascade::delete_namespace(txn, write, live, marked),
        "CustomResourceDefinition" => return cascade::delete_definition(txn, write, live),
        _ => {}
    }
    if grace == 0 && marked.finalizers().is_empty() {
        mark(write, live, &mut marked, 0);
        if !matches!(builtin, "Pod") {
            marked = (**live).clone();
        }
        let last = txn.delete(write.key(name), marked);
        return Ok(Outcome {
            removed: true,
            ..Outcome::of(last)
        });
    }
    if live.is_terminating() && due.is_some_and(|due| due <= grace) {
        return Ok(Outcome::of(Arc::clone(live)));
    }
    mark(write, live, &mut marked, grace);
    Ok(Outcome::of(txn.put(write.key(name), marked)))
}

/// Deletes all matching objects and returns them.
pub(crate) fn delete_collection(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    selector: &Selector,
    options: &DeleteOptions,
) -> Result<Vec<Arc<Value>>, Status> {
    let namespace = (!write.namespace.is_empty()).then_some(write.namespace);
    let matching = txn
        .list(&write.kind.storage(), namespace)
        .into_iter()
        .filter(|(_, object)| selector.matches(object));
    let mut deleted = Vec::new();
    for (place, _) in matching {
        let own = Write {
            namespace: &place.namespace,
            ..*write
        };
        deleted.push(delete(txn, &own, &place.name, options)?.object);
    }
    Ok(deleted)
}

/// Notes that an object is being deleted.
pub(crate) fn mark(write: &Write<'_>, live: &Value, object: &mut Value, grace: i64) {
    let seconds = u32::try_from(grace.max(0)).unwrap_or(u32::MAX);
    let started = live
        .meta_str("deletionTimestamp")
        .parse::<Timestamp>()
        .unwrap_or(write.now);
    let due = started
        .min(write.now)
        .saturating_add(SignedDuration::from_secs(seconds.into()))
        .unwrap_or(write.now);
    if !live.is_terminating() && write.kind.traits.generation {
        let generation = live.meta("generation").and_then(Value::as_i64).unwrap_or(1);
        object.set_meta("generation", generation + 1);
    }
    object.set_meta("deletionTimestamp", object::time(due));
    object.set_meta("deletionGracePeriodSeconds", json!(seconds));
    super::checks::arrange(object);
}

/// Seconds that a pod's kubelet has; none for pods that nobody runs.
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let finished = matches!(text_at(pod, &["status", "phase"]), "Succeeded" | "Failed");
    if text_at(pod, &["spec", "nodeName"]).is_empty() || finished {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64();
    match options.grace_seconds.or(own).unwrap_or(30) {
        // What makes no sense is taken for: soon.
        ..0 => 1,
        seconds => seconds,
    }
}

fn check_preconditions(write: &Write<'_>, live: &Value, options: &DeleteOptions) -> Result<(), Status> {
    let conflict = |why: String| {
        let named = Resource::new(write.kind.group(), &write.kind.kind);
        Err(Status::conflict(&named, live.name(), &why))
    };
    match (&options.uid, &options.resource_version) {
        (Some(uid), _) if uid != live.uid() => conflict(format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted \
             and then recreated",
            live.uid()
        )),
        (_, Some(version)) if version != live.resource_version() => conflict(format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The \
             object might have been modified",
            live.resource_version()
        )),
        _ => Ok(()),
    }
}

/// Namespaces that everything else relies on.
const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

//! Create.

use serde_json::{Value, json};

use super::{
    Outcome, Write,
    cascade::namespace_gear,
    checks::{arrange, check_namespace, check_object, check_type, conform},
    naming,
};
use crate::{
    admission::Operation as Admitted,
    apply::{Manager, Managers, Operation},
    field::FieldError,
    kinds::{Kind, Origin, rules::Context},
    object::{Object as _, ObjectMut as _},
    rbac,
    status::Status,
    store::{Key, Resource, Txn},
};

/// Creates an object from a request's body.
pub(crate) fn create(txn: &mut Txn<'_>, write: &Write<'_>, mut object: Value) -> Result<Outcome, Status> {
    check_type(write, &mut object)?;
    check_namespace(write, &mut object)?;
    if !object.resource_version().is_empty() {
        return Err(Status::internal(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    let generation = object.meta("generation").and_then(Value::as_i64).filter(|one| *one > 0);
    for field in SERVER_SET {
        object.drop_meta(field);
    }
    if let Some(generation) = generation.filter(|_| !write.kind.is_custom()) {
        // Kinds whose generation the server counts set their own later.
        object.set_meta("generation", generation);
    }
    object.drop_meta("managedFields");
    name(write, &mut object)?;
    let warnings = conform(write, &mut object).map_err(|why| write.undecodable(&why))?;
    if write.kind.traits.status {
        object.as_object_mut().map(|map| map.shift_remove("status"));
    }
    let mut managers = Managers::default();
    let who = manager(write);
    managers.update(&empty(write), &object, &write.kind.schema, &who, &write.time());
    insert(txn, write, object, managers).map(|outcome| outcome.warned(warnings))
}

/// The rest of a creation, once the object is complete and its managers are known.
pub(crate) fn insert(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    mut object: Value,
    managers: Managers,
) -> Result<Outcome, Status> {
    let (kind, now) = (write.kind, write.time());
    let name = object.name().to_owned();
    let key = write.key(&name);
    if kind.namespaced {
        check_open(txn, write, &name)?;
    }
    if let Some(present) = txn.get(&key) {
        return Err(Status::already_exists(&kind.resource, &name, present.is_terminating()));
    }
    object.set_meta("uid", uuid::Uuid::new_v4().to_string());
    object.set_meta("creationTimestamp", now.clone());
    if kind.traits.generation {
        object.set_meta("generation", 1);
    }
    kind.rules.create(
        &mut object,
        &Context {
            txn,
            services: write.services,
        },
    )?;
    managers.write(&mut object);
    let mut warnings = check_object(write, &object, None)?;
    rbac::check_escalation(txn, write.user, &kind.resource, &object)?;
    warnings.extend(write.admit(txn, Admitted::Create, Some(&object), None)?);
    arrange(&mut object);
    kind.rules.to_stored(&mut object);
    let stored = txn.put(key, object);
    if kind.resource == Resource::new("", "namespaces") {
        namespace_gear(txn, write, &name)?;
    }
    if is_definition(kind) {
        naming::follow(txn, kind, write.now, &name);
    }
    Ok(Outcome {
        created: true,
        warnings,
        ..Outcome::of(stored)
    })
}

/// The state before a creation: what a typed object has even when it is empty.
pub(crate) fn empty(write: &Write<'_>) -> Value {
    let template = json!({"metadata": {}, "spec": {"containers": null}});
    match (&write.kind.origin, &*write.kind.resource.plural) {
        (Origin::Custom { .. }, _) => json!({"metadata": {}}),
        (_, "pods") => json!({"metadata": {}, "spec": {"containers": null}, "status": {}}),
        (_, "deployments") => json!({"metadata": {}, "spec": {"selector": null, "template": template, "strategy": {}}}),
        (_, "daemonsets") => {
            json!({"metadata": {}, "spec": {"selector": null, "template": template, "updateStrategy": {}}})
        }
        (_, "statefulsets") => {
            json!({"metadata": {}, "spec": {"selector": null, "template": template, "updateStrategy": {}}})
        }
        (_, "replicasets") => json!({"metadata": {}, "spec": {"selector": null, "template": template}}),
        (_, "customresourcedefinitions") => {
            json!({"metadata": {}, "spec": {"names": {}}, "status": {"acceptedNames": {}}})
        }
        (_, "events") => {
            json!({"metadata": {}, "involvedObject": {}, "source": {}, "regarding": {}, "deprecatedSource": {}})
        }
        (_, "networkpolicies") => json!({"metadata": {}, "spec": {"podSelector": {}}}),
        _ => json!({"metadata": {}, "spec": {}, "status": {}}),
    }
}

/// Whether objects of this kind define other kinds.
pub(crate) fn is_definition(kind: &Kind) -> bool {
    kind.kind == "CustomResourceDefinition" && !kind.is_custom()
}

/// The manager of a plain write.
pub(crate) fn manager(write: &Write<'_>) -> Manager {
    Manager {
        operation: Operation::Update,
        name: write.manager.to_owned(),
        api_version: write.kind.api_version(),
        subresource: write.subresource.to_owned(),
    }
}

fn name(write: &Write<'_>, object: &mut Value) -> Result<(), Status> {
    if !object.name().is_empty() {
        return Ok(());
    }
    let prefix = object.meta_str("generateName").to_owned();
    if prefix.is_empty() {
        let error = FieldError::required("metadata.name", "name or generateName is required");
        return Err(write.invalid("", &[error]));
    }
    let random = uuid::Uuid::new_v4();
    let suffix = random.as_bytes()[..5]
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
    object.set_meta("name", prefix.chars().take(58).chain(suffix).collect::<String>());
    Ok(())
}

/// New content needs a namespace that exists and stays.
fn check_open(txn: &Txn<'_>, write: &Write<'_>, name: &str) -> Result<(), Status> {
    let namespaces = Resource::new("", "namespaces");
    let Some(namespace) = txn.get(&Key::new(&namespaces, "", write.namespace)) else {
        return Err(Status::not_found(&namespaces, write.namespace));
    };
    if namespace.is_terminating() {
        return Err(Status::terminating(&write.kind.resource, name, write.namespace));
    }
    Ok(())
}

/// Without vowels and look-alikes, so that no words appear.
const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Metadata that clients cannot set.
pub(crate) const SERVER_SET: [&str; 7] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

//! Deletions that take others with them: a namespace its content, a definition its objects.
//!
//! Nothing waits and nothing polls. The deletion marks the owner and deletes what it can at once; [`settle`], at the end of every
//! transaction, removes an owner whose last object has just gone.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    DeleteOptions, Outcome, Write,
    checks::arrange,
    create,
    delete::{delete, mark},
    naming,
};
use crate::{
    kinds::{Kind, Registry, rules::set_terminating},
    object::{Object as _, ObjectMut as _, list_at, text_at},
    status::Status,
    store::{Key, Resource, Txn},
};

/// What every namespace starts with: a ServiceAccount, and the CA to trust.
pub(crate) fn namespace_gear(txn: &mut Txn<'_>, write: &Write<'_>, namespace: &str) -> Result<(), Status> {
    let mut gear = vec![("serviceaccounts", json!({"metadata": {"name": "default"}}))];
    gear.extend(write.root_ca.map(|ca| ("configmaps", root_ca(ca))));
    for (plural, object) in gear {
        if let Some(kind) = write.registry.of_resource(&Resource::new("", plural)) {
            create(
                txn,
                &Write {
                    kind,
                    namespace,
                    subresource: "",
                    ..*write
                },
                object,
            )?;
        }
    }
    Ok(())
}

/// The ConfigMap that tells pods whom to trust.
pub(crate) fn root_ca(ca: &str) -> Value {
    json!({"metadata": {"name": "kube-root-ca.crt"}, "data": {"ca.crt": ca}})
}

/// Marks a namespace and deletes its content.
pub(crate) fn delete_namespace(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    live: &Arc<Value>,
    mut marked: Value,
) -> Result<Outcome, Status> {
    if live.is_terminating() {
        return Ok(Outcome::of(Arc::clone(live)));
    }
    let name = live.name().to_owned();
    mark(write, live, &mut marked, 0);
    marked.drop_meta("deletionGracePeriodSeconds");
    marked["status"]["phase"] = "Terminating".into();
    let shown = txn.put(write.key(&name), marked);
    for resource in txn.resources() {
        if let Some(kind) = write.registry.of_resource(&resource).filter(|kind| kind.namespaced) {
            for (place, _) in txn.list(&resource, Some(&name)) {
                let own = Write {
                    kind,
                    namespace: &name,
                    subresource: "",
                    ..*write
                };
                delete(txn, &own, &place.name, &DeleteOptions::default())?;
            }
        }
    }
    finish_namespace(txn, write.registry, &name);
    Ok(Outcome::of(shown))
}

/// Replaces what holds a namespace. One that is being deleted and that nothing holds any more is gone.
pub(crate) fn finalize_namespace(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    live: &Arc<Value>,
    asked: &Value,
) -> Result<Outcome, Status> {
    let mut new = (**live).clone();
    let holders: Vec<Value> = list_at(asked, &["spec", "finalizers"]).to_vec();
    let is_held = !holders.is_empty() || !live.finalizers().is_empty();
    new["spec"] = if holders.is_empty() {
        json!({})
    } else {
        json!({"finalizers": holders})
    };
    if live.is_terminating() && !is_held {
        txn.delete(write.key(live.name()), (**live).clone());
        return Ok(Outcome {
            removed: true,
            ..Outcome::of(Arc::new(new))
        });
    }
    Ok(Outcome::of(if new == **live {
        Arc::clone(live)
    } else {
        txn.put(write.key(live.name()), new)
    }))
}

/// Marks a definition, deletes its objects, and the definition itself once there are none.
pub(crate) fn delete_definition(txn: &mut Txn<'_>, write: &Write<'_>, live: &Arc<Value>) -> Result<Outcome, Status> {
    if live.is_terminating() {
        return Ok(Outcome::of(Arc::clone(live)));
    }
    let mut marked = (**live).clone();
    let mut finalizers: Vec<Value> = live.finalizers().into_iter().map(Value::from).collect();
    if !finalizers.iter().any(|one| one == CLEANUP) {
        finalizers.push(CLEANUP.into());
    }
    marked.set_meta("finalizers", finalizers);
    marked.set_meta("deletionTimestamp", write.time());
    set_terminating(&mut marked, &write.time());
    arrange(&mut marked);
    let shown = txn.put(write.key(live.name()), marked);
    let resource = instances(live);
    if let Some(kind) = write.registry.of_resource(&resource) {
        for (place, _) in txn.list(&resource, None) {
            let own = Write {
                kind,
                namespace: &place.namespace,
                subresource: "",
                ..*write
            };
            delete(txn, &own, &place.name, &DeleteOptions::default())?;
        }
    }
    finish_definition(txn, &resource);
    Ok(Outcome::of(shown))
}

/// Removes terminating namespaces and definitions whose last object this transaction removed.
///
/// A definition that has gone leaves names to others.
pub(crate) fn settle(txn: &mut Txn<'_>, registry: &Registry, now: Timestamp) {
    let removed: Vec<Key> = txn.removed();
    for key in &removed {
        let namespace = &key.place.namespace;
        if !namespace.is_empty() {
            finish_namespace(txn, registry, namespace);
        }
        finish_definition(txn, &key.resource);
    }
    naming::settle(txn, registry, now);
}

fn finish_namespace(txn: &mut Txn<'_>, registry: &Registry, name: &str) {
    let key = Key::new(&Resource::new("", "namespaces"), "", name);
    let Some(namespace) = txn.get(&key).filter(|namespace| namespace.is_terminating()) else {
        return;
    };
    let namespaced = |resource: &Resource| {
        registry
            .of_resource(resource)
            .is_some_and(|kind: &Arc<Kind>| kind.namespaced)
    };
    let empty = |resource: &Resource| txn.list(resource, Some(name)).is_empty();
    if namespace.finalizers().is_empty() && txn.resources().iter().filter(|one| namespaced(one)).all(empty) {
        let mut last = (*namespace).clone();
        last["spec"] = json!({});
        txn.delete(key, last);
    }
}

fn finish_definition(txn: &mut Txn<'_>, resource: &Resource) {
    let name = format!("{}.{}", resource.plural, resource.group);
    let key = Key::new(&naming::definitions(), "", &name);
    let Some(definition) = txn.get(&key).filter(|definition| definition.is_terminating()) else {
        return;
    };
    let finalizers = definition.finalizers();
    if !finalizers.contains(&CLEANUP) || !txn.list(resource, None).is_empty() {
        return;
    }
    let others: Vec<Value> = finalizers
        .into_iter()
        .filter(|one| *one != CLEANUP)
        .map(Value::from)
        .collect();
    let mut last = (*definition).clone();
    if others.is_empty() {
        last.drop_meta("finalizers");
        txn.delete(key, last);
    } else {
        last.set_meta("finalizers", others);
        txn.put(key, last);
    }
}

fn instances(definition: &Value) -> Resource {
    Resource::new(
        text_at(definition, &["spec", "group"]),
        text_at(definition, &["spec", "names", "plural"]),
    )
}

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

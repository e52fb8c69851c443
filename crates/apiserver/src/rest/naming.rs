//! Definitions on their way to being served: what the controllers of a real server do one after the other is done in the
//! transaction of the write.

use jiff::Timestamp;

use super::checks::arrange;
use crate::{
    apply::{Manager, Managers, Operation},
    kinds::{
        Kind, Registry,
        rules::{NAMES, Taken, condition_status, next_status},
    },
    object::{self, Object as _, text_at},
    store::{Key, Resource, Txn},
};

/// Brings a definition that has just been written to the state in which it is served, if it gets its names; and then others that
/// wait for a name which it has left.
pub(super) fn follow(txn: &mut Txn<'_>, kind: &Kind, now: Timestamp, name: &str) {
    step(txn, kind, now, name);
    if let Some(written) = txn.get(&key(name)) {
        serve_waiting(txn, kind, now, text_at(&written, &["spec", "group"]));
    }
}

/// Gives the names of definitions that this transaction removed to those that wait for them.
pub(super) fn settle(txn: &mut Txn<'_>, registry: &Registry, now: Timestamp) {
    let removed = txn.removed();
    let gone = removed.iter().filter(|key| key.resource == definitions());
    let Some(kind) = registry.of_resource(&definitions()) else {
        return;
    };
    for key in gone {
        if let Some((_, group)) = key.place.name.split_once('.') {
            serve_waiting(txn, kind, now, group);
        }
    }
}

fn serve_waiting(txn: &mut Txn<'_>, kind: &Kind, now: Timestamp, group: &str) {
    for (place, definition) in txn.list(&definitions(), None) {
        let is_waiting = condition_status(&definition, NAMES) == Some("False");
        if is_waiting && text_at(&definition, &["spec", "group"]) == group {
            step(txn, kind, now, &place.name);
        }
    }
}

/// Every step that is open to a definition.
fn step(txn: &mut Txn<'_>, kind: &Kind, now: Timestamp, name: &str) {
    let who = Manager {
        operation: Operation::Update,
        name: "kube-apiserver".into(),
        api_version: kind.api_version(),
        subresource: "status".into(),
    };
    let now = object::time(now);
    while let Some(live) = txn.get(&key(name)).filter(|live| !live.is_terminating()) {
        let taken = taken(txn, text_at(&live, &["spec", "group"]));
        let Some(status) = next_status(&live, &taken, &now) else {
            return;
        };
        let mut next = (*live).clone();
        next["status"] = status;
        let mut managers = Managers::read(&live);
        managers.update(&live, &next, &kind.schema, &who, &now);
        managers.write(&mut next);
        arrange(&mut next);
        txn.put(key(name), next);
    }
}

fn taken(txn: &Txn<'_>, group: &str) -> Taken {
    let mut taken = Taken::default();
    for (_, definition) in txn.list(&definitions(), None) {
        if text_at(&definition, &["spec", "group"]) == group {
            taken.add(&definition);
        }
    }
    taken
}

pub(super) fn definitions() -> Resource {
    Resource::new("apiextensions.k8s.io", "customresourcedefinitions")
}

fn key(name: &str) -> Key {
    Key::new(&definitions(), "", name)
}

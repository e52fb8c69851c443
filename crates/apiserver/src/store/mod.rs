//! All objects, one revision counter, and a bounded history.
//!
//! The store is a plain data structure: it neither waits nor persists nor knows what an object means. A write is a
//! [`Txn`]: it reads the current state, stages changes, and [`Store::commit`] makes them visible together. Every change
//! takes a revision of its own, which is written into the object as its resourceVersion.
//!
//! Each resource keeps its newest [`HISTORY`] events with the object before and after. A watcher asks for the events after
//! the revision it has seen ([`Store::events_after`]); when the history no longer reaches back that far it is told
//! [`Expired`] and lists again. The same history, walked backwards, gives a list as it was at an older revision
//! ([`Store::list_at`]), which is what consistent paging needs.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::Value;

mod key;
mod txn;

pub(crate) use key::{Key, Place, Resource, Revision};
pub(crate) use txn::{Change, Txn};

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    Added,
    Modified,
    Deleted,
}

/// One change, as watchers see it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub revision: Revision,
    pub kind: EventKind,
    pub place: Place,
    /// The object after the change; for a deletion its last state, with the revision of the deletion.
    pub object: Arc<Value>,
    /// The object before the change.
    pub previous: Option<Arc<Value>>,
}

/// The history does not reach back to the wanted revision; `oldest` is the oldest one it still serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub oldest: Revision,
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Place, Arc<Value>>,
    history: VecDeque<Event>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Store {
    revision: Revision,
    /// Everything up to here may be missing from the histories: where the state was loaded from a snapshot.
    loaded: Revision,
    tables: BTreeMap<Resource, Table>,
    /// Per resource, the newest event that has been dropped from its history.
    dropped: BTreeMap<Resource, Revision>,
}

impl Store {
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.tables.get(&key.resource)?.objects.get(&key.place)
    }

    /// The objects of a resource in the order of namespace and name; of one namespace only when one is given.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &Resource,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Place, &'a Arc<Value>)> + use<'a> {
        let start = Place {
            namespace: namespace.unwrap_or_default().to_owned(),
            name: String::new(),
        };
        self.tables
            .get(resource)
            .into_iter()
            .flat_map(move |table| table.objects.range(start.clone()..))
            .take_while(move |(place, _)| namespace.is_none_or(|wanted| place.namespace == wanted))
    }

    /// Every resource that holds, or has held, an object.
    pub(crate) fn resources(&self) -> impl Iterator<Item = &Resource> {
        self.tables.keys()
    }

    /// The objects of a resource as they were at `revision`.
    pub(crate) fn list_at(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        revision: Revision,
    ) -> Result<BTreeMap<Place, Arc<Value>>, Expired> {
        self.check_reach(resource, revision)?;
        let mut objects: BTreeMap<Place, Arc<Value>> = self
            .list(resource, namespace)
            .map(|(place, object)| (place.clone(), Arc::clone(object)))
            .collect();
        let history = self.tables.get(resource).map(|table| &table.history);
        let newer = history
            .into_iter()
            .flatten()
            .rev()
            .take_while(|event| event.revision > revision);
        for event in newer.filter(|event| namespace.is_none_or(|wanted| event.place.namespace == wanted)) {
            match &event.previous {
                Some(before) => objects.insert(event.place.clone(), Arc::clone(before)),
                None => objects.remove(&event.place),
            };
        }
        Ok(objects)
    }

    /// The events of a resource with `after < revision <= upto`, oldest first.
    pub(crate) fn events_after(
        &self,
        resource: &Resource,
        after: Revision,
        upto: Revision,
    ) -> Result<impl Iterator<Item = &Event>, Expired> {
        self.check_reach(resource, after)?;
        let history = self.tables.get(resource).map(|table| &table.history);
        let start = history.map_or(0, |history| history.partition_point(|event| event.revision <= after));
        let events = history.into_iter().flat_map(move |history| history.range(start..));
        Ok(events.take_while(move |event| event.revision <= upto))
    }

    /// Puts an object that a snapshot holds in place, without an event.
    pub(crate) fn load(&mut self, key: Key, object: Value) {
        self.tables
            .entry(key.resource)
            .or_default()
            .objects
            .insert(key.place, Arc::new(object));
    }

    /// Declares the snapshot complete at `revision`.
    pub(crate) fn loaded(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
        self.loaded = self.revision;
    }

    /// Makes staged changes visible, in order.
    pub(crate) fn commit(&mut self, changes: &[Change]) {
        for change in changes {
            self.apply(change);
        }
    }

    fn apply(&mut self, change: &Change) {
        debug_assert!(change.revision > self.revision, "revisions only grow");
        self.revision = change.revision;
        let table = self.tables.entry(change.key.resource.clone()).or_default();
        let place = &change.key.place;
        let previous = if change.deleted {
            table.objects.remove(place)
        } else {
            table.objects.insert(place.clone(), Arc::clone(&change.object))
        };
        let kind = match (&previous, change.deleted) {
            (_, true) => EventKind::Deleted,
            (Some(_), false) => EventKind::Modified,
            (None, false) => EventKind::Added,
        };
        let object = Arc::clone(&change.object);
        table.history.push_back(Event {
            revision: change.revision,
            kind,
            place: place.clone(),
            object,
            previous,
        });
        while table.history.len() > HISTORY
            && let Some(event) = table.history.pop_front()
        {
            self.dropped.insert(change.key.resource.clone(), event.revision);
        }
    }

    fn check_reach(&self, resource: &Resource, revision: Revision) -> Result<(), Expired> {
        let oldest = self.dropped.get(resource).copied().unwrap_or_default().max(self.loaded);
        if revision < oldest {
            Err(Expired { oldest })
        } else {
            Ok(())
        }
    }
}

/// Events kept per resource. Watchers that are further behind list again.
pub(crate) const HISTORY: usize = 512;

#[cfg(test)]
mod tests;

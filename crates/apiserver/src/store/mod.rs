//! All objects, one revision counter, and a bounded history.
//!
//! The store is a plain data structure: it neither waits nor persists nor knows what an object means. A write is a
//! [`Txn`]: it reads the current state, stages changes, and [`Store::commit`] makes them visible together. Every change
//! takes a revision of its own, which is written into the object as its resourceVersion.
//!
//! Each resource keeps its newest events, with the object before and after, within [`Limits`]. A watcher asks for the events
//! after the revision it has seen ([`Store::events_after`]); when one of those has been dropped it is told
//! [`Expired`] and lists again. The same history, walked backwards, gives a list as it was at an older revision
//! ([`Store::list_at`]), which is what consistent paging needs, and takes changes back that could not be made durable
//! ([`Store::roll_back`]).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

mod key;
mod load;
mod object;
mod txn;

pub(crate) use key::{Key, Place, Resource, Revision};
pub(crate) use load::Past;
pub(crate) use object::Object;
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
    pub at: Timestamp,
    pub kind: EventKind,
    pub place: Place,
    /// The object after the change; for a deletion its last state, with the revision of the deletion.
    pub object: Object,
    /// The object before the change.
    pub previous: Option<Object>,
}

/// How much history a resource keeps: this many events, and none that is older.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub events: usize,
    pub age: SignedDuration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            events: 4096,
            // As long as a real server keeps it.
            age: SignedDuration::from_mins(5),
        }
    }
}

/// Of a resource, every event up to this revision is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Floor {
    pub resource: Resource,
    pub revision: Revision,
}

/// The history does not reach back to the wanted revision; `oldest` is the oldest one it still serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired {
    pub oldest: Revision,
}

#[derive(Debug, Default)]
struct Table {
    objects: BTreeMap<Place, Object>,
    history: VecDeque<Event>,
    /// The newest event that has been dropped.
    floor: Revision,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Store {
    limits: Limits,
    revision: Revision,
    /// No history reaches further back than this: where a backup was restored.
    floor: Revision,
    tables: BTreeMap<Resource, Table>,
}

impl Store {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.tables
            .get(&key.resource)?
            .objects
            .get(&key.place)
            .map(|object| &**object)
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
            .map(|(place, object)| (place, &**object))
            .take_while(move |(place, _)| namespace.is_none_or(|wanted| place.namespace == wanted))
    }

    /// Every object there is.
    pub(crate) fn all(&self) -> Vec<(Key, Object)> {
        let of = |(resource, table): (&Resource, &Table)| -> Vec<(Key, Object)> {
            let key = |place: &Place| Key {
                resource: resource.clone(),
                place: place.clone(),
            };
            let objects = table.objects.iter();
            objects.map(|(place, object)| (key(place), object.clone())).collect()
        };
        self.tables.iter().flat_map(of).collect()
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
    pub(crate) fn events_after<'a>(
        &'a self,
        resource: &Resource,
        after: Revision,
        upto: Revision,
    ) -> Result<impl Iterator<Item = &'a Event> + use<'a>, Expired> {
        self.check_reach(resource, after)?;
        let history = self.tables.get(resource).map(|table| &table.history);
        let start = history.map_or(0, |history| history.partition_point(|event| event.revision <= after));
        let events = history.into_iter().flat_map(move |history| history.range(start..));
        Ok(events.take_while(move |event| event.revision <= upto))
    }

    /// Makes staged changes visible, in order.
    pub(crate) fn commit(&mut self, changes: &[Change], now: Timestamp) {
        for change in changes {
            self.apply(change, now);
        }
    }

    fn apply(&mut self, change: &Change, now: Timestamp) {
        debug_assert!(change.revision > self.revision, "revisions only grow");
        self.revision = change.revision;
        let table = self.tables.entry(change.key.resource.clone()).or_default();
        let place = &change.key.place;
        let object = Object::from(Arc::clone(&change.object));
        let previous = if change.deleted {
            table.objects.remove(place)
        } else {
            table.objects.insert(place.clone(), object.clone())
        };
        let kind = match (&previous, change.deleted) {
            (_, true) => EventKind::Deleted,
            (Some(_), false) => EventKind::Modified,
            (None, false) => EventKind::Added,
        };
        table.history.push_back(Event {
            revision: change.revision,
            at: now,
            kind,
            place: place.clone(),
            object,
            previous,
        });
    }

    /// Drops the events that are too many or too old, but none after `safe`: those may still have to be taken back.
    pub(crate) fn compact(&mut self, now: Timestamp, safe: Revision) -> Vec<(Floor, Vec<Revision>)> {
        let limits = self.limits;
        let too_old = |at: Timestamp| now.duration_since(at) > limits.age;
        let mut dropped = Vec::new();
        for (resource, table) in &mut self.tables {
            let mut revisions = Vec::new();
            while let Some(event) = table.history.front()
                && event.revision <= safe
                && (table.history.len() > limits.events || too_old(event.at))
            {
                table.floor = event.revision;
                revisions.push(event.revision);
                table.history.pop_front();
            }
            if !revisions.is_empty() {
                let floor = Floor {
                    resource: resource.clone(),
                    revision: table.floor,
                };
                dropped.push((floor, revisions));
            }
        }
        dropped
    }

    /// Takes back every change after `to`.
    pub(crate) fn roll_back(&mut self, to: Revision) {
        for table in self.tables.values_mut() {
            while table.history.back().is_some_and(|event| event.revision > to)
                && let Some(event) = table.history.pop_back()
            {
                match event.previous {
                    Some(before) => table.objects.insert(event.place, before),
                    None => table.objects.remove(&event.place),
                };
            }
        }
        self.revision = self.revision.min(to);
    }

    fn check_reach(&self, resource: &Resource, revision: Revision) -> Result<(), Expired> {
        let dropped = self.tables.get(resource).map(|table| table.floor).unwrap_or_default();
        let oldest = dropped.max(self.floor);
        if revision < oldest {
            Err(Expired { oldest })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;

//! Filling a store from what was kept of it.
//!
//! Kept are the objects as they are now and, for each event, what it replaced. Walking the events from the newest to the
//! oldest, the object *after* an event is what the next newer event of the same place replaced, or the object as it is now.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Event, EventKind, Floor, Key, Object, Revision, Store};

/// One event as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    pub revision: Revision,
    pub at: Timestamp,
    pub key: Key,
    /// What it replaced.
    pub previous: Option<Object>,
    /// The last state, if it was a deletion.
    pub last: Option<Object>,
}

impl Store {
    /// Puts an object in place, without an event.
    pub(crate) fn load(&mut self, key: Key, object: Object) {
        let table = self.tables.entry(key.resource).or_default();
        table.objects.insert(key.place, object);
    }

    /// Adds the events, given from the newest to the oldest, once all objects are in place. An event without a state after it
    /// is impossible in what [`super::Txn`] writes; its revision is returned.
    pub(crate) fn load_history(&mut self, newest_first: impl IntoIterator<Item = Past>) -> Result<(), Revision> {
        let mut replaced: HashMap<Key, Option<Object>> = HashMap::new();
        for past in newest_first {
            let table = self.tables.entry(past.key.resource.clone()).or_default();
            let kind = match (&past.previous, &past.last) {
                (_, Some(_)) => EventKind::Deleted,
                (Some(_), None) => EventKind::Modified,
                (None, None) => EventKind::Added,
            };
            let after = match replaced.insert(past.key.clone(), past.previous.clone()) {
                Some(after) => after,
                None => table.objects.get(&past.key.place).cloned(),
            };
            let event = Event {
                revision: past.revision,
                at: past.at,
                kind,
                place: past.key.place,
                object: past.last.or(after).ok_or(past.revision)?,
                previous: past.previous,
            };
            table.history.push_front(event);
        }
        Ok(())
    }

    /// Declares everything loaded, as of `revision`; no history reaches back beyond `floor`, nor that of a resource beyond its own.
    pub(crate) fn loaded(&mut self, revision: Revision, floor: Revision, floors: impl IntoIterator<Item = Floor>) {
        self.revision = revision;
        self.floor = floor;
        for floor in floors {
            self.tables.entry(floor.resource).or_default().floor = floor.revision;
        }
    }
}

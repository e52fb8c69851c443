//! Staged writes on top of a store.

use std::sync::Arc;

use serde_json::Value;

use super::{Key, Place, Resource, Revision, Store};
use crate::object::{METADATA_ORDER, Object as _, ObjectMut as _, order};

/// One staged or logged change.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub revision: Revision,
    pub key: Key,
    pub deleted: bool,
    /// The new state, or the last state of a deleted object; its resourceVersion is `revision`.
    pub object: Arc<Value>,
}

/// Reads the store with its own staged changes on top. Nothing is visible to others before [`Store::commit`].
#[derive(Debug)]
pub(crate) struct Txn<'a> {
    store: &'a Store,
    staged: Vec<Change>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(store: &'a Store) -> Self {
        Self {
            store,
            staged: Vec::new(),
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.staged
            .last()
            .map_or(self.store.revision(), |change| change.revision)
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<Value>> {
        match self.staged.iter().rev().find(|change| change.key == *key) {
            Some(change) => (!change.deleted).then(|| Arc::clone(&change.object)),
            None => self.store.get(key).cloned(),
        }
    }

    pub(crate) fn list(&self, resource: &Resource, namespace: Option<&str>) -> Vec<(Place, Arc<Value>)> {
        let mut found: std::collections::BTreeMap<Place, Arc<Value>> = self
            .store
            .list(resource, namespace)
            .map(|(place, object)| (place.clone(), Arc::clone(object)))
            .collect();
        for change in self.staged.iter().filter(|change| change.key.resource == *resource) {
            let place = &change.key.place;
            if change.deleted {
                found.remove(place);
            } else if namespace.is_none_or(|wanted| place.namespace == wanted) {
                found.insert(place.clone(), Arc::clone(&change.object));
            }
        }
        found.into_iter().collect()
    }

    /// The same objects, staged ones last, for whoever looks for one.
    pub(crate) fn objects<'b>(
        &'b self,
        resource: &'b Resource,
        namespace: Option<&'b str>,
    ) -> impl Iterator<Item = &'b Arc<Value>> {
        let staged = |place: &Place| {
            let mut newest_first = self.staged.iter().rev();
            newest_first.find(|change| change.key.resource == *resource && change.key.place == *place)
        };
        let stored = self.store.list(resource, namespace);
        let untouched = stored.filter(move |(place, _)| staged(place).is_none());
        let changed = self.staged.iter().filter(move |change| {
            let place = &change.key.place;
            !change.deleted
                && namespace.is_none_or(|wanted| place.namespace == wanted)
                && staged(place).is_some_and(|newest| newest.revision == change.revision)
        });
        untouched
            .map(|(_, object)| object)
            .chain(changed.map(|change| &change.object))
    }

    /// Every resource that may hold an object, staged ones included.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        let mut all: Vec<Resource> = self.store.resources().cloned().collect();
        all.extend(self.staged.iter().map(|change| change.key.resource.clone()));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Stages a new state and returns it with its resourceVersion.
    pub(crate) fn put(&mut self, key: Key, object: Value) -> Arc<Value> {
        self.stage(key, object, false)
    }

    /// Stages a removal; `last` is the state that watchers are shown.
    pub(crate) fn delete(&mut self, key: Key, last: Value) -> Arc<Value> {
        self.stage(key, last, true)
    }

    /// What has been removed so far.
    pub(crate) fn removed(&self) -> Vec<Key> {
        self.staged
            .iter()
            .filter(|change| change.deleted)
            .map(|change| change.key.clone())
            .collect()
    }

    pub(crate) fn into_changes(self) -> Vec<Change> {
        self.staged
    }

    fn stage(&mut self, key: Key, mut object: Value, deleted: bool) -> Arc<Value> {
        let revision = self.revision().next();
        let is_new = object.resource_version().is_empty();
        object.set_meta("resourceVersion", revision.to_string());
        if is_new && let Some(metadata) = object.get_mut("metadata") {
            order(metadata, &METADATA_ORDER);
        }
        let object = Arc::new(object);
        self.staged.push(Change {
            revision,
            key,
            deleted,
            object: Arc::clone(&object),
        });
        object
    }
}

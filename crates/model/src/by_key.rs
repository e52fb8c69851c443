use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Something that says itself what it is known by.
pub trait Keyed {
    /// What it is known by.
    type Key<'a>: Ord + Copy
    where
        Self: 'a;

    /// What this one is known by.
    fn key(&self) -> Self::Key<'_>;

    /// How what this one is known by stands to another key.
    fn compare(&self, key: Self::Key<'_>) -> Ordering;
}

/// Things in the order of their keys, of each key one. There may be thousands: a copy costs nothing, and one with a few changes
/// shares all the rest.
pub struct ByKey<T>(Arc<Vec<Arc<T>>>);

impl<T: Keyed> ByKey<T> {
    /// The one that is known by this.
    pub fn get(&self, key: T::Key<'_>) -> Option<&Arc<T>> {
        self.from(key).first().filter(|found| found.compare(key).is_eq())
    }

    /// All of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<T>> {
        self.0.iter()
    }

    /// Those that do not come before this.
    pub fn from(&self, key: T::Key<'_>) -> &[Arc<T>] {
        &self.0[self.0.partition_point(|one| one.compare(key).is_lt())..]
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one, in the place of the one of the same key.
    pub fn insert(&mut self, one: impl Into<Arc<T>>) {
        let one = one.into();
        *self = self.after([], [&one]);
    }

    /// Takes the one that is known by this out.
    pub fn remove(&mut self, key: T::Key<'_>) {
        if let Some(found) = self.get(key).cloned() {
            *self = self.after([&found], []);
        }
    }

    /// What there is after some are gone, and then some have come, each in the place of the one of the same key.
    #[must_use]
    pub fn after<'a>(
        &self,
        gone: impl IntoIterator<Item = &'a Arc<T>>,
        come: impl IntoIterator<Item = &'a Arc<T>>,
    ) -> Self
    where
        T: 'a,
    {
        let mut changes: BTreeMap<T::Key<'a>, Option<&Arc<T>>> = BTreeMap::new();
        changes.extend(gone.into_iter().map(|one| (one.key(), None)));
        changes.extend(come.into_iter().map(|one| (one.key(), Some(one))));
        if changes.is_empty() {
            return self.clone();
        }
        let mut all = Vec::with_capacity(self.len() + changes.len());
        let mut rest = self.0.as_slice();
        for (key, one) in changes {
            let (before, after) = rest.split_at(rest.partition_point(|one| one.compare(key).is_lt()));
            all.extend_from_slice(before);
            rest = match after.split_first() {
                Some((same, others)) if same.compare(key).is_eq() => others,
                _ => after,
            };
            all.extend(one.cloned());
        }
        all.extend_from_slice(rest);
        Self(Arc::new(all))
    }

    /// The same without those that `is_kept` refuses.
    pub fn retain(&mut self, is_kept: impl Fn(&T) -> bool) {
        if !self.iter().all(|one| is_kept(one)) {
            Arc::make_mut(&mut self.0).retain(|one| is_kept(one));
        }
    }

    /// All of them, to be changed in place; what they are known by has to stay.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T>
    where
        T: Clone,
    {
        Arc::make_mut(&mut self.0).iter_mut().map(Arc::make_mut)
    }
}

impl<T> Clone for ByKey<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for ByKey<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Eq> PartialEq for ByKey<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Eq> Eq for ByKey<T> {}

impl<T: fmt::Debug> fmt::Debug for ByKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter()).finish()
    }
}

impl<T: Keyed> FromIterator<Arc<T>> for ByKey<T> {
    fn from_iter<I: IntoIterator<Item = Arc<T>>>(all: I) -> Self {
        let all: Vec<Arc<T>> = all.into_iter().collect();
        Self::default().after([], &all)
    }
}

impl<'a, T> IntoIterator for &'a ByKey<T> {
    type Item = &'a Arc<T>;
    type IntoIter = std::slice::Iter<'a, Arc<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// As a list, because they say themselves what they are known by.
impl<T: Serialize> Serialize for ByKey<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(Arc::as_ref))
    }
}

impl<'de, T: Keyed + Deserialize<'de>> Deserialize<'de> for ByKey<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Vec::<T>::deserialize(from)?.into_iter().map(Arc::new).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Thing(String, u8);

    impl Keyed for Thing {
        type Key<'a> = &'a str;

        fn key(&self) -> &str {
            &self.0
        }

        fn compare(&self, key: &str) -> Ordering {
            self.key().cmp(key)
        }
    }

    fn things() -> impl Strategy<Value = Vec<Arc<Thing>>> {
        vec(
            ("[a-d]{1,2}", any::<u8>()).prop_map(|(name, value)| Arc::new(Thing(name, value))),
            0..12,
        )
    }

    proptest! {
        #[test]
        fn it_is_what_a_map_is((first, gone, come) in (things(), things(), things())) {
            let mut map: BTreeMap<String, Arc<Thing>> = BTreeMap::new();
            map.extend(first.iter().map(|one| (one.0.clone(), Arc::clone(one))));
            let before: ByKey<Thing> = first.iter().cloned().collect();
            prop_assert!(before.iter().eq(map.values()));
            gone.iter().for_each(|one| drop(map.remove(&one.0)));
            map.extend(come.iter().map(|one| (one.0.clone(), Arc::clone(one))));
            let after = before.after(&gone, &come);
            prop_assert!(after.iter().eq(map.values()));
            prop_assert_eq!(after.len(), map.len());
            for name in ["a", "b", "cc", "dd"] {
                prop_assert_eq!(after.get(name), map.get(name));
                prop_assert!(after.from(name).iter().eq(map.range(name.to_owned()..).map(|(_, one)| one)));
            }
            let kept = after.iter().filter(|one| before.iter().any(|other| Arc::ptr_eq(one, other)));
            let expected = first.iter().filter(|one| after.get(&one.0).is_some_and(|now| Arc::ptr_eq(now, one)));
            prop_assert_eq!(kept.count(), expected.count());
        }
    }

    #[test]
    fn what_does_not_change_is_not_copied() {
        let all: ByKey<Thing> = ["a", "b"]
            .map(|name| Arc::new(Thing(name.to_owned(), 1)))
            .into_iter()
            .collect();
        let mut same = all.after([], []);
        same.retain(|_| true);
        assert!(Arc::ptr_eq(&all.0, &same.0));
        same.retain(|thing| thing.0 == "b");
        assert_eq!((all.len(), same.len()), (2, 1));
    }
}

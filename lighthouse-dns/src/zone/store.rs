//! Byte strings by name, in buckets of which only those are made anew in which something changes.
//!
//! ```text
//!  hash of the name ─▶ bucket: │ count │ tag … │ place … │ length of the name │ length of the content │ name │ content │ …
//! ```
//!
//! A bucket is one piece of memory for some dozen names, which all copies of a store share. Finding a name touches the pointer to its
//! bucket, the tags there, which are parts of hashes, and the name with its content beside it: little memory, and little of that
//! far apart. A change costs its bucket and a pointer for every other, however many names there are.

use std::sync::Arc;

use super::batch::Batch;

#[derive(Debug, Clone)]
pub(super) struct Store {
    /// In the order of the hashes in them.
    buckets: Vec<Arc<[u8]>>,
    count: usize,
    hasher: ahash::RandomState,
}

/// What a bucket has of a name.
#[derive(Debug, Clone, Copy)]
struct Entry<'a> {
    tag: u32,
    name: &'a [u8],
    content: &'a [u8],
}

impl Default for Store {
    fn default() -> Self {
        Self {
            buckets: vec![write(&[])],
            count: 0,
            hasher: ahash::RandomState::new(),
        }
    }
}

impl Store {
    /// Makes the changes, of which the last one of a name counts. `tell` is told of each that changes anything: what the name had,
    /// and what it has.
    pub(super) fn make(&mut self, batch: &Batch, mut tell: impl FnMut(Option<&[u8]>, Option<&[u8]>)) {
        self.grow(self.count + batch.len());
        let hashed = batch
            .changes()
            .map(|(name, content)| (self.hasher.hash_one(name), name, content));
        let mut changes: Vec<_> = hashed.collect();
        changes.sort_by_key(|(hash, ..)| *hash);
        let place = place_among(self.buckets.len());
        for changes in changes.chunk_by(|one, other| place(one.0) == place(other.0)) {
            let place = place(changes[0].0);
            let bucket = Arc::clone(&self.buckets[place]);
            let mut entries: Vec<Entry> = read(&bucket).collect();
            let mut is_changed = false;
            for &(hash, name, content) in changes {
                let tag = tag(hash);
                let known = entries.iter().position(|entry| entry.tag == tag && entry.name == name);
                let before = known.map(|known| entries[known].content);
                if before == content {
                    continue;
                }
                is_changed = true;
                tell(before, content);
                match (known, content) {
                    (Some(known), Some(content)) => entries[known].content = content,
                    (Some(known), None) => drop(entries.swap_remove(known)),
                    (None, Some(content)) => entries.push(Entry { tag, name, content }),
                    (None, None) => {}
                }
                self.count = self.count + usize::from(content.is_some()) - usize::from(before.is_some());
            }
            if is_changed {
                self.buckets[place] = write(&entries);
            }
        }
    }

    /// The content of a name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&[u8]> {
        let hash = self.hasher.hash_one(name);
        let bucket = Bucket::of(&self.buckets[place_among(self.buckets.len())(hash)]);
        let tag = tag(hash).to_ne_bytes();
        let candidates = bucket.tags.iter().enumerate().filter(|(_, known)| **known == tag);
        candidates
            .map(|(number, _)| bucket.entry(number))
            .find(|(known, _)| *known == name)
            .map(|(_, content)| content)
    }

    /// Makes room for so many names.
    fn grow(&mut self, count: usize) {
        let wanted = (count / NAMES).next_power_of_two();
        let times = wanted / self.buckets.len();
        if times <= 1 {
            return;
        }
        let place = place_among(wanted);
        let mut buckets = Vec::with_capacity(wanted);
        for (number, bucket) in self.buckets.iter().enumerate() {
            let mut parts = vec![Vec::new(); times];
            for entry in read(bucket) {
                parts[place(self.hasher.hash_one(entry.name)) - number * times].push(entry);
            }
            buckets.extend(parts.iter().map(|part| write(part)));
        }
        self.buckets = buckets;
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let buckets = self.buckets.iter().map(|bucket| bucket.len() + size_of_val(bucket));
        buckets.sum()
    }
}

/// Which of so many buckets a hash is in.
fn place_among(buckets: usize) -> impl Fn(u64) -> usize {
    move |hash| ((u128::from(hash) * buckets as u128) >> u64::BITS) as usize
}

/// The bits that do not say which bucket it is, unless there are billions.
fn tag(hash: u64) -> u32 {
    hash as u32
}

/// A bucket as it is read.
struct Bucket<'a> {
    tags: &'a [[u8; 4]],
    places: &'a [[u8; 4]],
    entries: &'a [u8],
}

impl<'a> Bucket<'a> {
    fn of(bucket: &'a [u8]) -> Self {
        let (count, rest) = number(bucket);
        let (numbers, entries) = rest.split_at(8 * count);
        let (tags, places) = numbers.as_chunks().0.split_at(count);
        Self { tags, places, entries }
    }

    /// Name and content.
    fn entry(&self, number_of: usize) -> (&'a [u8], &'a [u8]) {
        let entry = &self.entries[u32::from_ne_bytes(self.places[number_of]) as usize..];
        let (name, rest) = entry.split_first().expect("the length of the name comes first");
        let (content, rest) = number(rest);
        let (name, rest) = rest.split_at(usize::from(*name));
        (name, &rest[..content])
    }
}

fn read(bucket: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let bucket = Bucket::of(bucket);
    (0..bucket.tags.len()).map(move |number| {
        let (name, content) = bucket.entry(number);
        Entry {
            tag: u32::from_ne_bytes(bucket.tags[number]),
            name,
            content,
        }
    })
}

fn write(entries: &[Entry]) -> Arc<[u8]> {
    let sizes = entries
        .iter()
        .map(|entry| 1 + 4 + entry.name.len() + entry.content.len());
    let mut bucket = Vec::with_capacity(4 + 8 * entries.len() + sizes.clone().sum::<usize>());
    bucket.extend(length(entries.len()));
    bucket.extend(entries.iter().flat_map(|entry| entry.tag.to_ne_bytes()));
    let mut place = 0;
    for size in sizes {
        bucket.extend(length(place));
        place += size;
    }
    for entry in entries {
        bucket.push(u8::try_from(entry.name.len()).expect("a name has 255 bytes at most"));
        bucket.extend(length(entry.content.len()));
        bucket.extend_from_slice(entry.name);
        bucket.extend_from_slice(entry.content);
    }
    bucket.into()
}

/// Appends what `write` does, after its length; [`split`] takes it off again.
pub(super) fn append(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend(length(0));
    write(bytes);
    let written = length(bytes.len() - start - 4);
    bytes[start..start + 4].copy_from_slice(&written);
}

/// What [`append`] wrote first, and the rest.
pub(super) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = number(bytes);
    rest.split_at(length)
}

fn length(number: usize) -> [u8; 4] {
    u32::try_from(number).expect("less than 4 GiB").to_ne_bytes()
}

/// The number that comes first, and the rest.
fn number(bytes: &[u8]) -> (usize, &[u8]) {
    let (number, rest) = bytes.split_first_chunk().expect("a number comes first");
    (u32::from_ne_bytes(*number) as usize, rest)
}

/// Names in a bucket, at most on average.
const NAMES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_says_what_a_map_says(
            batches in vec(vec((0u16..300, proptest::option::weighted(0.7, vec(any::<u8>(), 0..20))), 0..200), 1..6),
        ) {
            let (mut store, mut map) = (Store::default(), HashMap::new());
            for changes in batches {
                let (before, old) = (store.clone(), map.clone());
                let mut batch = Batch::default();
                for (name, content) in changes {
                    let name = name.to_string();
                    if let Some(content) = content {
                        batch.put(name.as_bytes(), |to| to.extend(&content));
                        map.insert(name, content);
                    } else {
                        batch.remove(name.as_bytes());
                        map.remove(&name);
                    }
                }
                store.make(&batch, |_, _| ());
                prop_assert_eq!(store.count, map.len());
                for (store, map) in [(&store, &map), (&before, &old)] {
                    for name in (0..300).map(|name: u16| name.to_string()) {
                        prop_assert_eq!(store.find(name.as_bytes()), map.get(&name).map(Vec::as_slice));
                    }
                }
            }
        }

        #[test]
        fn what_was_appended_is_split_off_in_turn(parts in vec(vec(any::<u8>(), 0..20), 0..10)) {
            let mut bytes = Vec::new();
            for part in &parts {
                append(&mut bytes, |bytes| bytes.extend(part));
            }
            let mut rest = bytes.as_slice();
            for part in &parts {
                let (first, after) = split(rest);
                prop_assert_eq!(first, part.as_slice());
                rest = after;
            }
            prop_assert!(rest.is_empty());
        }
    }

    #[test]
    fn only_what_differs_is_told_and_made_anew() {
        let put = |batch: &mut Batch, name: u32, content: u8| {
            batch.put(&name.to_ne_bytes(), |to| to.push(content));
        };
        let (mut store, mut batch) = (Store::default(), Batch::default());
        (0..10_000).for_each(|name| put(&mut batch, name, 1));
        store.make(&batch, |_, _| ());
        let before = store.clone();
        let mut batch = Batch::default();
        (0..5_000).for_each(|name| put(&mut batch, name, 1));
        put(&mut batch, 7, 2);
        let mut told = Vec::new();
        store.make(&batch, |old, new| {
            told.push((old.map(<[u8]>::to_vec), new.map(<[u8]>::to_vec)));
        });
        assert_eq!(told, [(Some(vec![1]), Some(vec![2]))]);
        let both = store.buckets.iter().zip(&before.buckets);
        assert_eq!(both.filter(|(one, other)| !Arc::ptr_eq(one, other)).count(), 1);
    }
}

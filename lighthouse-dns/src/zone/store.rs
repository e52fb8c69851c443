//! Byte strings by name, one after the other in one piece of memory.
//!
//! ```text
//!  hash of the name ─▶ places ─▶ bytes   … │ length of the content │ length of the name │ name │ content │ …
//! ```
//!
//! Finding a name touches the tags of the hash table, a place of four bytes, and the name with its content beside it: little memory,
//! and little of that far apart.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    bytes: Vec<u8>,
    places: HashTable<u32>,
    hasher: ahash::RandomState,
}

/// The same names with the same content came in the same order.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Store {
    /// Adds a name of at most 255 bytes with the content that `write` appends, unless the name is there already.
    pub(super) fn insert(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let Self { bytes, places, hasher } = self;
        let is_name = |place: &u32| read(bytes, *place).0 == name;
        let hash = |place: &u32| hasher.hash_one(read(bytes, *place).0);
        let Entry::Vacant(vacant) = places.entry(hasher.hash_one(name), is_name, hash) else {
            return;
        };
        vacant.insert(u32::try_from(bytes.len()).expect("all names have less than 4 GiB"));
        let start = bytes.len();
        bytes.extend([0; LENGTH]);
        bytes.push(u8::try_from(name.len()).expect("a name has 255 bytes at most"));
        bytes.extend_from_slice(name);
        let content = bytes.len();
        write(bytes);
        put_length(bytes, start, content);
    }

    /// The content of a name.
    pub(super) fn find(&self, name: &[u8]) -> Option<&[u8]> {
        let is_name = |place: &u32| read(&self.bytes, *place).0 == name;
        let place = self.places.find(self.hasher.hash_one(name), is_name)?;
        Some(read(&self.bytes, *place).1)
    }

    /// Gives back memory that was taken for more to come.
    pub(super) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.places.allocation_size()
    }
}

/// Appends what `write` does, after its length; [`split`] takes it off again.
pub(super) fn append(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; LENGTH]);
    write(bytes);
    put_length(bytes, start, start + LENGTH);
}

/// What [`append`] wrote first, and the rest.
pub(super) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = bytes.split_first_chunk().expect("a length comes first");
    rest.split_at(u32::from_ne_bytes(*length) as usize)
}

/// The name and the content at a place.
fn read(bytes: &[u8], place: u32) -> (&[u8], &[u8]) {
    let (length, rest) = bytes[place as usize..]
        .split_first_chunk()
        .expect("a length comes first");
    let (name, rest) = rest.split_first().expect("the length of the name comes next");
    let (name, rest) = rest.split_at(usize::from(*name));
    (name, &rest[..u32::from_ne_bytes(*length) as usize])
}

/// Writes down at `place` how much was appended from `start`.
fn put_length(bytes: &mut [u8], place: usize, start: usize) {
    let length = u32::try_from(bytes.len() - start).expect("less than 4 GiB");
    bytes[place..place + LENGTH].copy_from_slice(&length.to_ne_bytes());
}

/// Bytes of a length.
const LENGTH: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn it_says_what_a_map_says(
            entries in vec((vec(0u8..3, 0..5), vec(any::<u8>(), 0..20)), 0..100),
            asked in vec(0u8..3, 0..5),
        ) {
            let (mut store, mut map) = (Store::default(), HashMap::new());
            for (name, content) in &entries {
                store.insert(name, |bytes| bytes.extend(content));
                map.entry(name.clone()).or_insert(content.clone());
            }
            for name in map.keys().chain([&asked]) {
                prop_assert_eq!(store.find(name), map.get(name).map(Vec::as_slice));
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
}

//! Changes of a [`Store`](super::store::Store) that are made together, in one piece of memory.

use std::ops::Range;

#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    changes: Vec<(Range<usize>, Option<Range<usize>>)>,
}

impl Batch {
    /// A name of at most 255 bytes has the content that `write` appends.
    pub(super) fn put(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let name = self.append(|to| to.extend_from_slice(name));
        let content = self.append(write);
        self.changes.push((name, Some(content)));
    }

    /// A name is gone.
    pub(super) fn remove(&mut self, name: &[u8]) {
        let name = self.append(|to| to.extend_from_slice(name));
        self.changes.push((name, None));
    }

    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Names and contents, in the order in which they came.
    pub(super) fn changes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let of = |range: &Range<usize>| &self.bytes[range.clone()];
        self.changes
            .iter()
            .map(move |(name, content)| (of(name), content.as_ref().map(of)))
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
    }

    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        write(&mut self.bytes);
        start..self.bytes.len()
    }
}

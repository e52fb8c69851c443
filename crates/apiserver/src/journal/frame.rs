//! A file of self-checking records: `LLLLLLLL CCCCCCCCCCCCCCCC payload\n`, with the payload's length and the first eight bytes of its
//! SHA-256, both in hexadecimal. Payloads are JSON, so the file can be read with a pager.

use sha2::{Digest as _, Sha256};

/// One whole record in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// Offset of the record's first byte, and of the byte after its last.
    pub start: u64,
    pub end: u64,
    pub payload: &'a [u8],
}

/// Appends one record.
pub(crate) fn write(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(format!("{:08x} {} ", payload.len(), checksum(payload)).as_bytes());
    out.extend_from_slice(payload);
    out.push(b'\n');
}

/// The records of a file up to the first that is incomplete or does not match its checksum.
pub(crate) fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let payload = first(&bytes[at..])?;
        let start = at;
        at += HEADER + payload.len() + 1;
        Some(Frame {
            start: start as u64,
            end: at as u64,
            payload,
        })
    })
}

fn first(bytes: &[u8]) -> Option<&[u8]> {
    let header = std::str::from_utf8(bytes.get(..HEADER)?).ok()?;
    if header.as_bytes()[8] != b' ' || header.as_bytes()[HEADER - 1] != b' ' {
        return None;
    }
    let length = usize::from_str_radix(header.get(..8)?, 16).ok()?;
    let payload = bytes.get(HEADER..HEADER.checked_add(length)?)?;
    let whole = bytes.get(HEADER + length) == Some(&b'\n') && header.get(9..25)? == checksum(payload);
    whole.then_some(payload)
}

fn checksum(payload: &[u8]) -> String {
    Sha256::digest(payload)[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Bytes before the payload.
const HEADER: usize = 8 + 1 + 16 + 1;

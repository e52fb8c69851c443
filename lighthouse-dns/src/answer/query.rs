//! A query's bytes, read once, without copying.

/// A query that is whole: its counts agree with its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    /// Absent only beside a cookie (RFC 7873 §5.4).
    pub(super) question: Option<Question<'a>>,
    pub(super) edns: Option<Edns<'a>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// In wire form with the root, letters as they were sent.
    pub(super) name: &'a [u8],
    pub(super) kind: u16,
    pub(super) class: u16,
    /// Name, type and class, to be given back.
    pub(super) bytes: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Edns<'a> {
    pub(super) payload: u16,
    pub(super) version: u8,
    pub(super) flags: [u8; 2],
    pub(super) cookie: Option<Cookie<'a>>,
}

/// A client's cookie, and the server cookie that it was given; empty when it was given none (RFC 7873 §4).
pub(super) type Cookie<'a> = (&'a [u8; 8], &'a [u8]);

/// The message is not a query that can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Query<'a> {
    /// Reads what follows a header; there must be at least a header.
    pub(super) fn parse(message: &'a [u8]) -> Result<Self, Malformed> {
        let count = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
        let mut rest = &message[HEADER..];
        let question = match count(4) {
            0 => None,
            1 => Some(question(&mut rest)?),
            _ => return Err(Malformed),
        };
        let others = u32::from(count(6)) + u32::from(count(8));
        let mut edns = None;
        for number in 0..others + u32::from(count(10)) {
            // Every record takes bytes, so that a large count ends where the message does.
            if let Some(found) = record(&mut rest)?
                && (edns.replace(found).is_some() || number < others)
            {
                return Err(Malformed);
            }
        }
        let is_cookie_alone = || edns.is_some_and(|edns| edns.cookie.is_some());
        if !rest.is_empty() || (question.is_none() && !is_cookie_alone()) {
            return Err(Malformed);
        }
        Ok(Self { question, edns })
    }
}

fn question<'a>(rest: &mut &'a [u8]) -> Result<Question<'a>, Malformed> {
    let all = *rest;
    let name = name(rest)?;
    let [t0, t1, c0, c1] = *take(rest)?;
    Ok(Question {
        name,
        kind: u16::from_be_bytes([t0, t1]),
        class: u16::from_be_bytes([c0, c1]),
        bytes: &all[..name.len() + 4],
    })
}

/// A name without compression, which has nothing to point to in a query's first name.
fn name<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let all = *rest;
    let mut length = 0;
    loop {
        let label = usize::from(*all.get(length).ok_or(Malformed)?);
        if label > 63 {
            return Err(Malformed);
        }
        length += 1 + label;
        if length > crate::zone::wire::MAX_NAME {
            return Err(Malformed);
        }
        if label == 0 {
            break;
        }
    }
    *rest = &all[length..];
    Ok(&all[..length])
}

/// Steps over a record; gives back EDNS if it is that.
fn record<'a>(rest: &mut &'a [u8]) -> Result<Option<Edns<'a>>, Malformed> {
    let is_root = rest.first() == Some(&0);
    skip_name(rest)?;
    let [t0, t1, p0, p1, _, version, f0, f1, l0, l1] = *take(rest)?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let data = rest.get(..length).ok_or(Malformed)?;
    *rest = &rest[length..];
    if u16::from_be_bytes([t0, t1]) != OPT {
        return Ok(None);
    }
    if !is_root {
        return Err(Malformed);
    }
    Ok(Some(Edns {
        payload: u16::from_be_bytes([p0, p1]),
        version,
        flags: [f0, f1],
        cookie: cookie(data)?,
    }))
}

/// A name that may end in a pointer. What it points to does not matter.
fn skip_name(rest: &mut &[u8]) -> Result<(), Malformed> {
    loop {
        let [length] = *take(rest)?;
        match length {
            0 => return Ok(()),
            1..64 => *rest = rest.get(usize::from(length)..).ok_or(Malformed)?,
            192.. => return take::<1>(rest).map(|_| ()),
            _ => return Err(Malformed),
        }
    }
}

fn cookie(mut options: &[u8]) -> Result<Option<Cookie<'_>>, Malformed> {
    let mut cookie = None;
    while !options.is_empty() {
        let [c0, c1, l0, l1] = *take(&mut options)?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let data = options.get(..length).ok_or(Malformed)?;
        options = &options[length..];
        if u16::from_be_bytes([c0, c1]) == COOKIE && cookie.is_none() {
            let (client, server) = data.split_first_chunk().ok_or(Malformed)?;
            if !server.is_empty() && !(8..=32).contains(&server.len()) {
                return Err(Malformed);
            }
            cookie = Some((client, server));
        }
    }
    Ok(cookie)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], Malformed> {
    let (taken, left) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = left;
    Ok(taken)
}

pub(super) const HEADER: usize = 12;
pub(super) const OPT: u16 = 41;
/// Option code of cookies.
pub(super) const COOKIE: u16 = 10;

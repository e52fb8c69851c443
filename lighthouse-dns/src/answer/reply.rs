//! A response's bytes, written front to back into the caller's buffer.
//!
//! Room for the OPT record is kept from the start. An answer that does not fit is left out whole and the response is marked as
//! cut (RFC 2181 §9); what is only a help, such as the addresses of SRV targets, is left out in silence.

use super::outcome::Outcome;
use super::query::{COOKIE, HEADER, OPT, Question};
use super::{A, AAAA, CLASS_IN, MAX_UDP_PAYLOAD, SOA, SRV, TXT, V4, V6};
use crate::zone::{Entry, Origin};

/// A response that is being written.
pub(super) struct Reply<'a> {
    out: &'a mut Vec<u8>,
    /// How many bytes there may be before the OPT record.
    limit: usize,
    has_edns: bool,
    cookie: Option<(&'a [u8; 8], [u8; 16])>,
    /// Where the answer section starts.
    body: usize,
    answers: u16,
    authorities: u16,
    additionals: u16,
    is_cut: bool,
}

impl<'a> Reply<'a> {
    /// A response to `query` that is `limit` bytes at most.
    pub(super) fn start(
        out: &'a mut Vec<u8>,
        query: &[u8],
        question: Option<&Question>,
        limit: usize,
        has_edns: bool,
        cookie: Option<(&'a [u8; 8], [u8; 16])>,
    ) -> Self {
        out.clear();
        // QR, and of the query's flags the opcode and RD.
        out.extend([query[0], query[1], 0x80 | query[2] & 0x79, 0]);
        out.extend([0, u8::from(question.is_some()), 0, 0, 0, 0, 0, 0]);
        if let Some(question) = question {
            out.extend_from_slice(question.bytes);
        }
        let opt = match (has_edns, cookie) {
            (false, _) => 0,
            (true, None) => OPT_SIZE,
            (true, Some(_)) => OPT_SIZE + COOKIE_SIZE,
        };
        Self {
            body: out.len(),
            out,
            limit: limit - opt,
            has_edns,
            cookie,
            answers: 0,
            authorities: 0,
            additionals: 0,
            is_cut: false,
        }
    }

    /// Whether nothing was answered, not even what did not fit.
    pub(super) fn is_empty(&self) -> bool {
        self.answers == 0 && !self.is_cut
    }

    /// Address records: `first`, then `rest`, each address of `size` bytes.
    pub(super) fn addresses(&mut self, kind: u16, ttl: u32, (first, rest): (&[u8], &[u8]), size: usize) {
        if self.has_room((first.len() + rest.len()) / size * (RECORD + size)) {
            self.answers += self.push_addresses(ASKED, kind, ttl, first, rest, size);
        } else {
            self.cut();
        }
    }

    /// An SRV record; gives back where its target stands.
    pub(super) fn service(&mut self, ttl: u32, port: u16, target: &[u8], origin: &[u8]) -> Option<u16> {
        let length = 6 + target.len() + origin.len();
        if !self.answer(SRV, CLASS_IN, ttl, length) {
            return None;
        }
        let [p0, p1] = port.to_be_bytes();
        self.out.extend([0, 0, 0, WEIGHT, p0, p1]);
        let place = u16::try_from(self.out.len()).ok();
        // RFC 2782: the target is not compressed.
        self.out.extend_from_slice(target);
        self.out.extend_from_slice(origin);
        place.filter(|place| *place < POINTER)
    }

    /// Addresses of a name that stands at `place`, as a help; tells whether they fitted.
    pub(super) fn help(&mut self, place: u16, entry: &Entry, ttl: u32, turn: usize) -> bool {
        for (kind, sets, size) in [(A, entry.v4, V4), (AAAA, entry.v6, V6)] {
            let (first, rest) = sets.take(turn, size);
            if self.is_cut || !self.has_room((first.len() + rest.len()) / size * (RECORD + size)) {
                return false;
            }
            self.additionals += self.push_addresses(POINTER | place, kind, ttl, first, rest, size);
        }
        true
    }

    /// A record whose RDATA is one name, in two parts.
    pub(super) fn name(&mut self, kind: u16, ttl: u32, name: &[u8], origin: &[u8]) {
        if self.answer(kind, CLASS_IN, ttl, name.len() + origin.len()) {
            self.out.extend_from_slice(name);
            self.out.extend_from_slice(origin);
        }
    }

    /// A TXT record of one short string.
    pub(super) fn text(&mut self, class: u16, ttl: u32, text: &str) {
        let length = u8::try_from(text.len()).expect("our texts are shorter than 256 bytes");
        if self.answer(TXT, class, ttl, text.len() + 1) {
            self.out.push(length);
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    /// The zone's SOA as an answer.
    pub(super) fn soa(&mut self, origin: &Origin, serial: u32, ttl: u32) {
        if self.answer(SOA, CLASS_IN, ttl, soa_length(origin)) {
            self.push_soa(origin, serial, ttl);
        }
    }

    /// The zone's SOA as the authority of a denial, which may be kept for `ttl` seconds (RFC 2308 §3). `owner` is the name of the
    /// zone when it is not the origin's.
    pub(super) fn deny(&mut self, origin: &Origin, owner: Option<&[u8]>, serial: u32, ttl: u32) {
        let owner = owner.unwrap_or(&origin.name);
        if !self.has_room(owner.len() + RECORD - 2 + soa_length(origin)) {
            return;
        }
        self.out.extend_from_slice(owner);
        self.record(SOA, CLASS_IN, ttl, soa_length(origin));
        self.push_soa(origin, serial, ttl);
        self.authorities += 1;
    }

    /// Writes what stands before and after the records.
    pub(super) fn finish(self, outcome: Outcome) {
        let out = self.out;
        if self.has_edns {
            let [k0, k1] = OPT.to_be_bytes();
            let [s0, s1] = MAX_UDP_PAYLOAD.to_be_bytes();
            out.extend([0, k0, k1, s0, s1, outcome.extended_rcode(), 0, 0, 0]);
            if let Some((client, server)) = &self.cookie {
                let [c0, c1] = COOKIE.to_be_bytes();
                out.extend([0, COOKIE_SIZE as u8, c0, c1, 0, COOKIE_SIZE as u8 - 4]);
                out.extend_from_slice(*client);
                out.extend_from_slice(server);
            } else {
                out.extend([0, 0]);
            }
        }
        out[2] |= u8::from(outcome.is_authoritative()) << 2 | u8::from(self.is_cut) << 1;
        out[3] = outcome.rcode();
        out[6..8].copy_from_slice(&self.answers.to_be_bytes());
        out[8..10].copy_from_slice(&self.authorities.to_be_bytes());
        let additionals = self.additionals + u16::from(self.has_edns);
        out[10..12].copy_from_slice(&additionals.to_be_bytes());
    }

    /// Starts a record of the answer section, if all of it fits; otherwise the answer is cut.
    fn answer(&mut self, kind: u16, class: u16, ttl: u32, length: usize) -> bool {
        if !self.has_room(RECORD + length) {
            self.cut();
        }
        if self.is_cut {
            return false;
        }
        self.out.extend(ASKED.to_be_bytes());
        self.record(kind, class, ttl, length);
        self.answers += 1;
        true
    }

    fn push_addresses(&mut self, owner: u16, kind: u16, ttl: u32, first: &[u8], rest: &[u8], size: usize) -> u16 {
        let mut count = 0;
        for address in first.chunks_exact(size).chain(rest.chunks_exact(size)) {
            self.out.extend(owner.to_be_bytes());
            self.record(kind, CLASS_IN, ttl, size);
            self.out.extend_from_slice(address);
            count += 1;
        }
        count
    }

    /// What stands between the owner's name and the RDATA.
    fn record(&mut self, kind: u16, class: u16, ttl: u32, length: usize) {
        let ([k0, k1], [c0, c1]) = (kind.to_be_bytes(), class.to_be_bytes());
        let [t0, t1, t2, t3] = ttl.to_be_bytes();
        let length = u16::try_from(length).expect("RDATA of a few names at most");
        let [l0, l1] = length.to_be_bytes();
        self.out.extend([k0, k1, c0, c1, t0, t1, t2, t3, l0, l1]);
    }

    fn push_soa(&mut self, origin: &Origin, serial: u32, minimum: u32) {
        self.out.extend_from_slice(&origin.server);
        self.out.extend_from_slice(&origin.mailbox);
        for number in [serial, REFRESH, RETRY, EXPIRE, minimum] {
            self.out.extend(number.to_be_bytes());
        }
    }

    fn has_room(&self, length: usize) -> bool {
        self.out.len() + length <= self.limit
    }

    fn cut(&mut self) {
        self.out.truncate(self.body);
        self.answers = 0;
        self.is_cut = true;
    }
}

/// Empties a response and marks it as cut.
pub(super) fn cut_short(response: &mut Vec<u8>) {
    if response.len() < HEADER {
        return;
    }
    let mut end = HEADER;
    if response[5] != 0 {
        while let Some(length) = response.get(end).copied().filter(|length| *length != 0) {
            end += 1 + usize::from(length);
        }
        end += 5;
    }
    response.truncate(end);
    response[2] |= 0x02;
    response[6..HEADER].fill(0);
}

fn soa_length(origin: &Origin) -> usize {
    origin.server.len() + origin.mailbox.len() + 20
}

/// A pointer is this and the place of the name in the message (RFC 1035 §4.1.4).
const POINTER: u16 = 0xc000;
/// Points to the name that was asked.
const ASKED: u16 = POINTER | 12;
/// Bytes of a record with a pointer for a name, without its RDATA.
const RECORD: usize = 12;
const OPT_SIZE: usize = 11;
const COOKIE_SIZE: usize = 28;
/// The same for all, so that clients spread evenly (RFC 2782).
const WEIGHT: u8 = 1;
const REFRESH: u32 = 7200;
const RETRY: u32 = 1800;
const EXPIRE: u32 = 86_400;

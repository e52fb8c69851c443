//! From a query to its response: a pure function of the bytes, the zone, who asks, and a turn counter.
//!
//! What the zone holds is decided in [`clusterset::dns`]; here is only what DNS makes of it: RFC 1034/1035 answers and
//! negative answers with the zone's SOA (RFC 2308), RFC 8020 (nothing exists below a name that does not), one record set for ANY
//! (RFC 8482), EDNS (RFC 6891), cookies (RFC 7873, 9018), and truncation by the size that the client can take. The question's
//! letters come back as they were asked.
//!
//! ```text
//!  bytes ─ query::Query::parse ─▶ judge: which zone, which entry ─▶ reply::Reply: bytes into the caller's buffer
//! ```
//!
//! Nothing is allocated for a query: names are compared in a buffer on the stack, and records are copied as they lie in the
//! table. Queries are read by hand rather than with a DNS library, because that is several times faster; the tests compare every
//! response with what an independent library reads and would say.

mod cookie;
mod outcome;
mod query;
mod relay;
mod reply;

use std::net::IpAddr;

pub use cookie::CookieSecret;
pub use outcome::Outcome;
pub(crate) use relay::{asked_name, brief, homeward, is_answer, onward};

use crate::zone::{Entry, Origin, Services, Zone, wire};
use query::{HEADER, Query, Question};
use reply::Reply;

/// How the query came, which bounds the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// At most 512 bytes, or what EDNS offers, up to [`MAX_UDP_PAYLOAD`].
    Udp,
    /// At most 65,535 bytes.
    Tcp,
}

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// How the query came.
    pub transport: Transport,
    /// Where from.
    pub address: IpAddr,
    /// Seconds since 1970; only cookies depend on it.
    pub now: u32,
    /// What cookies are made with.
    pub secret: &'a CookieSecret,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// What happened.
    pub outcome: Outcome,
    /// The client brought a cookie of ours back, so its address is not forged.
    pub is_verified: bool,
}

/// Largest response over UDP: what passes any path without fragments (DNS flag day 2020).
pub const MAX_UDP_PAYLOAD: u16 = 1232;

/// Answers a query into `response`, whose former content goes. `turn` grows by one a query, so that answers rotate. `None` means
/// that nothing is to be sent: the datagram is too short to be answered, or is itself a response.
pub fn answer(query: &[u8], zone: &Zone, asker: &Asker, turn: usize, response: &mut Vec<u8>) -> Option<Answered> {
    if query.len() < HEADER || query[2] & IS_RESPONSE != 0 {
        return None;
    }
    let opcode = query[2] >> 3 & 15;
    let parsed = Query::parse(query).ok();
    let edns = parsed.and_then(|parsed| parsed.edns);
    let limit = match asker.transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => edns.map_or(512, |edns| edns.payload.clamp(512, MAX_UDP_PAYLOAD)),
    };
    let client = edns.and_then(|edns| edns.cookie);
    let is_verified = client.is_some_and(|(client, server)| {
        !server.is_empty() && asker.secret.is_valid(client, server, asker.address, asker.now)
    });
    let cookie = client.map(|(client, _)| (client, asker.secret.issue(client, asker.address, asker.now)));
    let question = parsed.and_then(|parsed| parsed.question);
    let mut reply = Reply::start(response, query, question.as_ref(), limit.into(), edns.is_some(), cookie);
    let outcome = match (&question, edns) {
        _ if opcode != 0 => Outcome::NotImp,
        _ if parsed.is_none() => Outcome::FormErr,
        (_, Some(edns)) if edns.version > 0 => Outcome::BadVers,
        // A cookie was asked for, and nothing else.
        (None, _) => Outcome::NoData,
        (Some(question), _) => judge(question, zone, turn, &mut reply),
    };
    reply.finish(outcome);
    Some(Answered { outcome, is_verified })
}

/// Empties a response and marks it as cut, so that the client comes again over TCP, where its address cannot be forged.
pub fn cut_short(response: &mut Vec<u8>) {
    reply::cut_short(response);
}

fn judge(question: &Question, zone: &Zone, turn: usize, reply: &mut Reply) -> Outcome {
    let mut buffer = [0; wire::MAX_NAME];
    let name = &mut buffer[..question.name.len()];
    name.copy_from_slice(question.name);
    // Lengths are at most 63, which is no letter.
    name.make_ascii_lowercase();
    match question.class {
        CLASS_IN | CLASS_ANY if is_transfer(question.kind) => Outcome::Refused,
        CLASS_IN | CLASS_ANY => match zone.find(name) {
            Some((origin, below)) => judge_in_zone(question.kind, &name[..below], origin, zone, turn, reply),
            None => judge_reverse(question.kind, name, zone, reply),
        },
        CLASS_CH if VERSION_NAMES.contains(&&*name) => {
            if is_or_any(question.kind, TXT) {
                reply.text(CLASS_CH, 0, VERSION);
                Outcome::Answered
            } else {
                Outcome::NoData
            }
        }
        _ => Outcome::Refused,
    }
}

fn judge_in_zone(kind: u16, labels: &[u8], origin: &Origin, zone: &Zone, turn: usize, reply: &mut Reply) -> Outcome {
    if labels == DNS_VERSION_NAME {
        if is_or_any(kind, TXT) {
            reply.text(CLASS_IN, zone.ttl, DNS_VERSION);
            return Outcome::Answered;
        }
        reply.deny(origin, None, zone.serial, zone.ttl);
        return Outcome::NoData;
    }
    let Some(table) = &zone.table else {
        return Outcome::ServFail;
    };
    let Some(entry) = table.name(labels) else {
        reply.deny(origin, None, zone.serial, zone.ttl);
        return Outcome::NxDomain;
    };
    if entry.is_dead {
        reply.deny(origin, None, zone.serial, DEAD_TTL.min(zone.ttl));
        return Outcome::NxDomain;
    }
    let is_apex = labels.is_empty();
    match kind {
        SOA if is_apex => reply.soa(origin, zone.serial, zone.ttl),
        NS if is_apex => reply.name(NS, zone.ttl, &origin.server, &[]),
        ANY if is_apex => reply.soa(origin, zone.serial, zone.ttl),
        A | AAAA | SRV => records(kind, &entry, origin, zone, turn, reply),
        // One set is enough (RFC 8482 §4.1).
        ANY => {
            let has = [(A, !entry.v4.is_empty()), (AAAA, !entry.v6.is_empty()), (SRV, true)];
            let first = has.into_iter().find(|(_, is_there)| *is_there);
            records(first.map_or(SRV, |(kind, _)| kind), &entry, origin, zone, turn, reply);
        }
        _ => {}
    }
    if reply.is_empty() {
        reply.deny(origin, None, zone.serial, zone.ttl);
        Outcome::NoData
    } else {
        Outcome::Answered
    }
}

fn records(kind: u16, entry: &Entry, origin: &Origin, zone: &Zone, turn: usize, reply: &mut Reply) {
    match kind {
        A => reply.addresses(A, zone.ttl, entry.v4.take(turn, V4), V4),
        AAAA => reply.addresses(AAAA, zone.ttl, entry.v6.take(turn, V6), V6),
        _ => services(entry.services, origin, zone, turn, reply),
    }
}

/// SRV records, and beside them the addresses of their targets.
fn services(services: Services, origin: &Origin, zone: &Zone, turn: usize, reply: &mut Reply) {
    let mut targets = [None; MAX_TARGETS];
    let mut count = 0;
    for service in services.take(turn) {
        let place = reply.service(zone.ttl, service.port, service.target, &origin.name);
        if let Some(place) = place
            && count < MAX_TARGETS
            && targets[..count]
                .iter()
                .flatten()
                .all(|(_, known)| *known != service.target)
        {
            targets[count] = Some((place, service.target));
            count += 1;
        }
    }
    for (place, target) in targets.into_iter().flatten() {
        let entry = zone.table.as_ref().and_then(|table| table.name(target));
        if entry.is_some_and(|entry| !reply.help(place, &entry, zone.ttl, turn)) {
            break;
        }
    }
}

/// The name of a clusterset IP. Each such name is a zone of its own; all others are not ours.
fn judge_reverse(kind: u16, name: &[u8], zone: &Zone, reply: &mut Reply) -> Outcome {
    let target = zone.table.as_ref().and_then(|table| table.reverse(name));
    let (Some(target), Some(origin)) = (target, zone.origins.first()) else {
        return Outcome::Refused;
    };
    if is_or_any(kind, PTR) {
        reply.name(PTR, zone.ttl, target, &origin.name);
        return Outcome::Answered;
    }
    reply.deny(origin, Some(name), zone.serial, zone.ttl);
    Outcome::NoData
}

fn is_or_any(kind: u16, wanted: u16) -> bool {
    kind == wanted || kind == ANY
}

/// IXFR and AXFR: the zone is not given away as a whole.
fn is_transfer(kind: u16) -> bool {
    matches!(kind, 251 | 252)
}

const IS_RESPONSE: u8 = 0x80;
const CLASS_IN: u16 = 1;
const CLASS_CH: u16 = 3;
const CLASS_ANY: u16 = 255;
const A: u16 = 1;
const NS: u16 = 2;
const SOA: u16 = 6;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const ANY: u16 = 255;
const V4: usize = 4;
const V6: usize = 16;
/// SRV targets whose addresses are looked for; more would not fit a datagram.
const MAX_TARGETS: usize = 32;

/// Seconds for which a name is denied whose endpoints may be back at any moment.
const DEAD_TTL: u32 = 1;
const DNS_VERSION_NAME: &[u8] = b"\x0bdns-version";
/// The schema of the clusterset zone (KEP-1645 DNS specification).
const DNS_VERSION: &str = "1.0.0";
const VERSION_NAMES: [&[u8]; 2] = [b"\x07version\x04bind\x00", b"\x07version\x06server\x00"];
const VERSION: &str = concat!("tombolo-lighthouse-dns ", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod differential;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod tests;

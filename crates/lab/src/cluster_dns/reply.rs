//! A DNS answer as plugins handle it, and its way to and from the wire.

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::message_builder::PushError;
use domain::base::name::FlattenInto;
use domain::base::{Message, MessageBuilder, Name, ParsedName, Record, ToName, Ttl};
use domain::rdata::ZoneRecordData;

/// A record that owns what it says.
pub(super) type OwnedRecord = Record<Name<Vec<u8>>, ZoneRecordData<Vec<u8>, Name<Vec<u8>>>>;

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    /// Compares without regard to case.
    pub(super) name: Name<Vec<u8>>,
    pub(super) rtype: Rtype,
    pub(super) class: Class,
}

/// What to say.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) rcode: Rcode,
    pub(super) is_authoritative: bool,
    pub(super) answer: Vec<OwnedRecord>,
    pub(super) authority: Vec<OwnedRecord>,
    /// Without the OPT record, which belongs to one hop.
    pub(super) additional: Vec<OwnedRecord>,
}

impl Reply {
    /// An answer that says nothing but its code.
    pub(super) fn of(rcode: Rcode) -> Self {
        Self {
            rcode,
            is_authoritative: false,
            answer: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
        }
    }

    /// The name may exist, but nothing was found under it.
    pub(super) fn is_denial(&self) -> bool {
        self.rcode == Rcode::NXDOMAIN || (self.rcode == Rcode::NOERROR && self.answer.is_empty())
    }

    pub(super) fn set_ttl(&mut self, seconds: u32) {
        for record in self
            .answer
            .iter_mut()
            .chain(&mut self.authority)
            .chain(&mut self.additional)
        {
            record.set_ttl(Ttl::from_secs(seconds));
        }
    }
}

/// The question of a query, or nothing when it is not one that can be answered.
pub(super) fn question(query: &Message<[u8]>) -> Option<Question> {
    let question = query.sole_question().ok()?;
    Some(Question {
        name: question.qname().to_name(),
        rtype: question.qtype(),
        class: question.qclass(),
    })
}

/// Reads an upstream's answer. A record that does not parse makes the whole of it unusable.
pub(super) fn read(message: &Message<[u8]>) -> Option<Reply> {
    let mut reply = Reply::of(message.header().rcode());
    let (_, answer, authority, additional) = message.sections().ok()?;
    for (section, into) in [
        (answer, &mut reply.answer),
        (authority, &mut reply.authority),
        (additional, &mut reply.additional),
    ] {
        for record in section {
            let record = record.ok()?;
            if record.rtype() == Rtype::OPT {
                continue;
            }
            let record: Record<ParsedName<_>, ZoneRecordData<_, ParsedName<_>>> = record.to_record().ok()??;
            into.push(record.try_flatten_into().ok()?);
        }
    }
    Some(reply)
}

/// Writes the answer to `query` in at most `limit` bytes: what does not fit is left out, and the answer says that it is truncated.
pub(super) fn write(query: &Message<[u8]>, reply: &Reply, limit: usize) -> Vec<u8> {
    let has_opt = query.opt().is_some();
    match compose(query, reply, limit, has_opt) {
        Ok(octets) => octets,
        Err(_) => {
            let truncated = Reply {
                answer: Vec::new(),
                authority: Vec::new(),
                additional: Vec::new(),
                ..reply.clone()
            };
            let mut octets = compose(query, &truncated, usize::MAX, has_opt).unwrap_or_default();
            if octets.len() > TC_BYTE {
                octets[TC_BYTE] |= TC_BIT;
            }
            octets
        }
    }
}

fn compose(query: &Message<[u8]>, reply: &Reply, limit: usize, has_opt: bool) -> Result<Vec<u8>, PushError> {
    let mut builder = MessageBuilder::from_target(domain::base::StaticCompressor::new(Vec::new()))
        .map_err(|_| PushError::ShortBuf)?;
    builder.set_push_limit(limit);
    let mut answer = builder.start_answer(query, reply.rcode)?;
    answer.header_mut().set_aa(reply.is_authoritative);
    answer.header_mut().set_ra(true);
    for record in &reply.answer {
        answer.push(record)?;
    }
    let mut authority = answer.authority();
    for record in &reply.authority {
        authority.push(record)?;
    }
    let mut additional = authority.additional();
    for record in &reply.additional {
        additional.push(record)?;
    }
    if has_opt {
        additional.opt(|opt| {
            opt.set_udp_payload_size(EDNS_SIZE);
            Ok(())
        })?;
    }
    Ok(additional.finish().into_target())
}

/// How much a client takes in one datagram.
pub(super) fn datagram_limit(query: &Message<[u8]>) -> usize {
    let offered = query.opt().map_or(PLAIN_SIZE, |opt| opt.udp_payload_size());
    usize::from(offered.clamp(PLAIN_SIZE, EDNS_SIZE))
}

/// Without EDNS: RFC 1035 §2.3.4.
const PLAIN_SIZE: u16 = 512;
/// The largest that no path fragments.
const EDNS_SIZE: u16 = 1232;
/// Where the header holds the TC bit: RFC 1035 §4.1.1.
const TC_BYTE: usize = 2;
const TC_BIT: u8 = 0b10;

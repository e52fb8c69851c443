//! What a query and its response become on their way through us, when another server answers: pure functions of their bytes.
//!
//! EDNS holds between two neighbours only (RFC 6891 §6.1.1), cookies above all (RFC 7873 §5), so the question goes on alone, with
//! EDNS of our own where the client spoke it. The response comes back as it is, cut or not.

use super::query::{HEADER, OPT, Query};
use super::reply::Reply;
use super::{Answered, CLASS_IN, IS_RESPONSE, MAX_UDP_PAYLOAD, Outcome, is_transfer};
use crate::zone::wire::MAX_NAME;

/// The name that a query asks for, in lower case, if it is one that another server may be asked: an ordinary question of class IN.
pub(crate) fn asked_name<'a>(query: &[u8], buffer: &'a mut [u8; MAX_NAME]) -> Option<&'a [u8]> {
    if query.len() < HEADER || query[2] & (IS_RESPONSE | OPCODE) != 0 {
        return None;
    }
    let parsed = Query::parse(query).ok()?;
    let question = parsed.question?;
    let is_ordinary = question.class == CLASS_IN && !is_transfer(question.kind);
    if !is_ordinary || parsed.edns.is_some_and(|edns| edns.version > 0) {
        return None;
    }
    let name = &mut buffer[..question.name.len()];
    name.copy_from_slice(question.name);
    name.make_ascii_lowercase();
    Some(name)
}

/// The query that goes on, under an id that the client did not choose.
pub(crate) fn onward(query: &[u8], id: u16) -> Option<Vec<u8>> {
    let parsed = Query::parse(query).ok()?;
    let question = parsed.question?;
    let [i0, i1] = id.to_be_bytes();
    let has_edns = parsed.edns.is_some();
    // RD is the client's wish, AD and CD speak of DNSSEC; everything else is between neighbours.
    let mut message = vec![
        i0,
        i1,
        query[2] & RD,
        query[3] & (AD | CD),
        0,
        1,
        0,
        0,
        0,
        0,
        0,
        u8::from(has_edns),
    ];
    message.extend_from_slice(question.bytes);
    if let Some(edns) = parsed.edns {
        let [k0, k1] = OPT.to_be_bytes();
        let [s0, s1] = edns.payload.clamp(512, MAX_UDP_PAYLOAD).to_be_bytes();
        message.extend([0, k0, k1, s0, s1, 0, 0, edns.flags[0] & DO, 0, 0, 0]);
    }
    Some(message)
}

/// Whether a message answers what was sent on: its id, and the question with its letters.
pub(crate) fn is_answer(onward: &[u8], response: &[u8]) -> bool {
    let is_echo = |question: &[u8]| response[HEADER..].starts_with(question);
    response.len() >= HEADER
        && response[..2] == onward[..2]
        && response[2] & IS_RESPONSE != 0
        && response[4..6] == onward[4..6]
        && Query::parse(onward).is_ok_and(|query| query.question.is_some_and(|question| is_echo(question.bytes)))
}

/// Puts the client's id back.
pub(crate) fn homeward(query: &[u8], response: &mut [u8]) {
    response[..2].copy_from_slice(&query[..2]);
}

/// A response with this code and nothing else. `None` means that nothing is to be sent.
pub(crate) fn brief(query: &[u8], outcome: Outcome, response: &mut Vec<u8>) -> Option<Answered> {
    if query.len() < HEADER || query[2] & IS_RESPONSE != 0 {
        return None;
    }
    let parsed = Query::parse(query).ok();
    let question = parsed.and_then(|parsed| parsed.question);
    let has_edns = parsed.is_some_and(|parsed| parsed.edns.is_some());
    Reply::start(response, query, question.as_ref(), 512, has_edns, None).finish(outcome);
    Some(Answered {
        outcome,
        is_verified: false,
    })
}

const OPCODE: u8 = 0x78;
const RD: u8 = 0x01;
const AD: u8 = 0x20;
const CD: u8 = 0x10;
/// The client takes DNSSEC records (RFC 3225), in the first of the two bytes of EDNS flags.
const DO: u8 = 0x80;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::query;
    use hickory_proto::op::{Message, ResponseCode};
    use hickory_proto::rr::RecordType;
    use proptest::prelude::*;

    #[test]
    fn the_question_goes_on_alone_under_another_id() {
        let mut asked = query("A.West.lan.", RecordType::AAAA, Some(4000));
        asked[2] |= RD;
        // A client's cookie, which is for us alone.
        let cookie = [0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8];
        let place = asked.len() - 1;
        asked[place] = 12;
        asked.extend(cookie);
        let sent = Message::from_vec(&onward(&asked, 0xabcd).unwrap()).unwrap();
        assert_eq!(sent.metadata.id, 0xabcd);
        assert!(sent.metadata.recursion_desired);
        assert_eq!(sent.queries[0].name().to_ascii(), "A.West.lan.");
        let edns = sent.edns.unwrap();
        assert_eq!(
            (edns.max_payload(), edns.options().as_ref().len()),
            (MAX_UDP_PAYLOAD, 0)
        );
        let plain = onward(&query("a.west.lan.", RecordType::A, None), 1).unwrap();
        assert!(Message::from_vec(&plain).unwrap().edns.is_none());
    }

    #[test]
    fn only_the_answer_to_what_was_asked_is_one() {
        let asked = onward(&query("a.west.lan.", RecordType::A, None), 7).unwrap();
        let mut response = asked.clone();
        response[2] |= IS_RESPONSE;
        assert!(is_answer(&asked, &response));
        assert!(!is_answer(&asked, &asked), "it is no response");
        for place in [0, 1, 5, HEADER + 1, asked.len() - 1] {
            let mut other = response.clone();
            other[place] ^= 1;
            assert!(!is_answer(&asked, &other), "byte {place}");
        }
        assert!(!is_answer(&asked, &response[..HEADER - 1]));
        homeward(&query("a.west.lan.", RecordType::A, None), &mut response);
        assert_eq!(Message::from_vec(&response).unwrap().metadata.id, 4711);
    }

    #[test]
    fn transfers_and_other_classes_are_nobody_elses() {
        let mut buffer = [0; MAX_NAME];
        assert!(
            asked_name(&query("A.lan.", RecordType::A, None), &mut buffer)
                .is_some_and(|name| name == b"\x01a\x03lan\x00")
        );
        assert_eq!(asked_name(&query("a.lan.", RecordType::AXFR, None), &mut buffer), None);
        let mut chaos = query("a.lan.", RecordType::A, None);
        *chaos.last_mut().unwrap() = 3;
        assert_eq!(asked_name(&chaos, &mut buffer), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_answered_briefly_or_not_at_all(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut response = Vec::new();
            if brief(&bytes, Outcome::Refused, &mut response).is_some() {
                let read = Message::from_vec(&response);
                if let Ok(read) = read {
                    prop_assert_eq!(read.metadata.response_code, ResponseCode::Refused);
                }
                prop_assert!(response.len() <= bytes.len().max(HEADER) + 11);
            }
            let mut buffer = [0; MAX_NAME];
            if asked_name(&bytes, &mut buffer).is_some() {
                let sent = onward(&bytes, 7).unwrap();
                prop_assert!(Query::parse(&sent).is_ok());
            }
        }
    }
}

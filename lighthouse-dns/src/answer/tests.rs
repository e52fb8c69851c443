//! Responses are read back with an independent implementation (hickory-proto).

use super::{DNS_VERSION, MAX_UDP_PAYLOAD, Outcome, Transport, cut_short};
use crate::fixture::{TTL, answer, query, zone};
use crate::zone::Zone;
use hickory_proto::op::{Message as Oracle, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use proptest::prelude::*;

fn ask(name: &str, kind: RecordType) -> (Oracle, Outcome) {
    let (bytes, answered) = answer(&query(name, kind, Some(1232)), &zone(), Transport::Udp, 0).unwrap();
    (Oracle::from_vec(&bytes).unwrap(), answered.outcome)
}

fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| record.data.to_string()).collect()
}

#[test]
fn service_records_bring_their_targets_addresses_along() {
    let (response, _) = ask("_http._tcp.vip.shop.svc.Clusterset.local.", RecordType::SRV);
    assert_eq!(texts(&response.answers), ["0 1 80 vip.shop.svc.clusterset.local."]);
    let mut help = texts(&response.additionals);
    help.sort();
    assert_eq!(help, ["243.0.0.7", "fd43::7"]);
    assert_eq!(
        response.additionals[0].name.to_ascii(),
        "vip.shop.svc.clusterset.local."
    );
    let (response, _) = ask("vip.shop.svc.corp.example.", RecordType::SRV);
    let mut both = texts(&response.answers);
    both.sort();
    assert_eq!(
        both,
        [
            "0 1 80 vip.shop.svc.corp.example.",
            "0 1 9090 vip.shop.svc.corp.example."
        ]
    );
    assert_eq!(response.additionals.len(), 2);
}

#[test]
fn headless_service_records_lead_to_each_endpoint() {
    let (response, _) = ask("_http._tcp.few.shop.svc.clusterset.local.", RecordType::SRV);
    let mut targets = texts(&response.answers);
    targets.sort();
    assert_eq!(
        targets,
        [
            "0 1 80 10-1-0-0.east.few.shop.svc.clusterset.local.",
            "0 1 80 10-1-0-1.east.few.shop.svc.clusterset.local.",
            "0 1 80 fd01--1.east.few.shop.svc.clusterset.local."
        ]
    );
    let (response, _) = ask("fd01--1.east.few.shop.svc.clusterset.local.", RecordType::AAAA);
    assert_eq!(texts(&response.answers), ["fd01::1"]);
    let (_, outcome) = ask("_tcp.few.shop.svc.clusterset.local.", RecordType::SRV);
    assert_eq!(outcome, Outcome::NoData);
}

#[test]
fn a_clusterset_ip_has_its_name_and_other_addresses_are_not_ours() {
    let (response, _) = ask("7.0.0.243.IN-ADDR.arpa.", RecordType::PTR);
    assert_eq!(texts(&response.answers), ["vip.shop.svc.clusterset.local."]);
    let (response, outcome) = ask("7.0.0.243.in-addr.arpa.", RecordType::A);
    assert_eq!(outcome, Outcome::NoData);
    assert_eq!(response.authorities[0].name.to_ascii(), "7.0.0.243.in-addr.arpa.");
    assert_eq!(ask("8.0.0.243.in-addr.arpa.", RecordType::PTR).1, Outcome::Refused);
    let v6 = format!("7.{}3.4.d.f.ip6.arpa.", "0.".repeat(27));
    assert_eq!(
        texts(&ask(&v6, RecordType::PTR).0.answers),
        ["vip.shop.svc.clusterset.local."]
    );
}

#[test]
fn any_is_one_record_set() {
    let (response, _) = ask("vip.shop.svc.clusterset.local.", RecordType::ANY);
    assert_eq!(texts(&response.answers), ["243.0.0.7"]);
    let (response, _) = ask("_http._tcp.vip.shop.svc.clusterset.local.", RecordType::ANY);
    assert_eq!(response.answers[0].record_type(), RecordType::SRV);
    assert_eq!(ask("shop.svc.clusterset.local.", RecordType::ANY).1, Outcome::NoData);
}

#[test]
fn the_apex_says_who_serves_it() {
    let (response, _) = ask("clusterset.local.", RecordType::SOA);
    let RData::SOA(soa) = &response.answers[0].data else {
        panic!("no SOA")
    };
    assert_eq!(soa.serial, 7);
    let (response, _) = ask("clusterset.local.", RecordType::NS);
    assert_eq!(texts(&response.answers), ["ns.dns.clusterset.local."]);
    assert_eq!(ask("ns.dns.clusterset.local.", RecordType::A).1, Outcome::NoData);
    assert_eq!(ask("clusterset.local.", RecordType::A).1, Outcome::NoData);
    for transfer in [RecordType::AXFR, RecordType::IXFR] {
        assert_eq!(ask("clusterset.local.", transfer).1, Outcome::Refused);
    }
}

#[test]
fn answers_rotate() {
    let asked = query("few.shop.svc.clusterset.local.", RecordType::A, None);
    let first = |turn| {
        let (bytes, _) = answer(&asked, &zone(), Transport::Udp, turn).unwrap();
        texts(&Oracle::from_vec(&bytes).unwrap().answers).swap_remove(0)
    };
    assert_ne!(first(0), first(1));
    assert_eq!(first(0), first(2));
}

#[test]
fn the_version_of_the_program_is_told_in_class_chaos() {
    let mut message = Oracle::from_vec(&query("version.bind.", RecordType::TXT, None)).unwrap();
    message.queries[0].set_query_class(DNSClass::CH);
    let (bytes, answered) = answer(&message.to_vec().unwrap(), &zone(), Transport::Udp, 0).unwrap();
    let response = Oracle::from_vec(&bytes).unwrap();
    assert_eq!(answered.outcome, Outcome::Answered);
    assert_eq!(response.answers[0].dns_class, DNSClass::CH);
    assert!(response.answers[0].data.to_string().contains("tombolo-lighthouse-dns"));
}

fn with_cookie(cookie: &[u8]) -> Vec<u8> {
    let mut message = Oracle::from_vec(&query("cart.shop.svc.clusterset.local.", RecordType::A, Some(1232))).unwrap();
    let options = message.edns.as_mut().unwrap().options_mut();
    options.insert(EdnsOption::Unknown(10, cookie.to_vec()));
    message.to_vec().unwrap()
}

fn cookie_of(bytes: &[u8]) -> Vec<u8> {
    let response = Oracle::from_vec(bytes).unwrap();
    let Some(EdnsOption::Unknown(10, cookie)) = response.edns.unwrap().option(EdnsCode::Cookie).cloned() else {
        panic!("no cookie")
    };
    cookie
}

#[test]
fn a_cookie_that_comes_back_proves_the_address() {
    let (bytes, answered) = answer(&with_cookie(b"clientid"), &zone(), Transport::Udp, 0).unwrap();
    assert!(!answered.is_verified);
    let cookie = cookie_of(&bytes);
    assert_eq!((cookie.len(), &cookie[..8]), (24, &b"clientid"[..]));
    let (bytes, answered) = answer(&with_cookie(&cookie), &zone(), Transport::Udp, 0).unwrap();
    assert!(answered.is_verified);
    assert_eq!(cookie_of(&bytes), cookie);
    let mut forged = cookie;
    forged[20] ^= 1;
    let (bytes, answered) = answer(&with_cookie(&forged), &zone(), Transport::Udp, 0).unwrap();
    assert!(!answered.is_verified && answered.outcome == Outcome::Answered);
    assert_ne!(cookie_of(&bytes), forged);
}

#[test]
fn cookies_of_impossible_sizes_are_malformed_and_one_without_a_question_is_answered() {
    for size in [0, 7, 9, 15, 41] {
        let (_, answered) = answer(&with_cookie(&vec![1; size]), &zone(), Transport::Udp, 0).unwrap();
        assert_eq!(answered.outcome, Outcome::FormErr, "{size}");
    }
    let mut alone = with_cookie(b"clientid");
    alone[5] = 0;
    let question = "cart.shop.svc.clusterset.local.".len() + 1 + 4;
    alone.drain(12..12 + question);
    let (bytes, answered) = answer(&alone, &zone(), Transport::Udp, 0).unwrap();
    assert_eq!(answered.outcome, Outcome::NoData);
    assert_eq!(cookie_of(&bytes).len(), 24);
}

#[test]
fn a_response_that_is_cut_short_keeps_its_question() {
    let (mut bytes, _) = answer(
        &query("cart.shop.svc.clusterset.local.", RecordType::A, Some(1232)),
        &zone(),
        Transport::Udp,
        0,
    )
    .unwrap();
    cut_short(&mut bytes);
    let response = Oracle::from_vec(&bytes).unwrap();
    assert!(response.metadata.truncation && response.answers.is_empty() && response.edns.is_none());
    assert_eq!(response.queries[0].name().to_ascii(), "cart.shop.svc.clusterset.local.");
    let mut refused = answer(&[0; 12], &zone(), Transport::Udp, 0).unwrap().0;
    cut_short(&mut refused);
    assert_eq!(refused.len(), 12);
}

#[test]
fn zones_of_one_server_have_the_same_names_and_the_longest_name_wins() {
    let view = crate::fixture::view();
    let nested = Zone::new(["example", "corp.example"], Some(&view), 1, TTL).unwrap();
    let asked = query("cart.shop.svc.corp.example.", RecordType::A, None);
    assert_eq!(
        answer(&asked, &nested, Transport::Udp, 0).unwrap().1.outcome,
        Outcome::Answered
    );
    assert!(Zone::new(["a..b"], None, 1, TTL).is_err());
    assert!(Zone::new(["."], None, 1, TTL).is_err());
}

#[test]
fn an_exported_service_has_its_address() {
    let (response, outcome) = ask("cart.shop.svc.clusterset.local.", RecordType::A);
    assert_eq!(outcome, Outcome::Answered);
    assert_eq!(response.metadata.id, 4711);
    assert!(response.metadata.authoritative);
    assert_eq!(response.answers.len(), 1);
    assert_eq!(response.answers[0].ttl, 5);
    assert_eq!(response.answers[0].data, RData::A("10.101.0.7".parse().unwrap()));
}

#[test]
fn letters_do_not_matter_and_come_back_as_asked() {
    let (response, outcome) = ask("CaRt.sHoP.svc.ClusterSet.LOCAL.", RecordType::A);
    assert_eq!(outcome, Outcome::Answered);
    assert_eq!(response.queries[0].name().to_ascii(), "CaRt.sHoP.svc.ClusterSet.LOCAL.");
}

#[test]
fn the_table_of_negative_answers() {
    for (name, kind, code, negative_ttl) in [
        (
            "cart.shop.svc.clusterset.local.",
            RecordType::AAAA,
            ResponseCode::NoError,
            5,
        ),
        (
            "cart.shop.svc.clusterset.local.",
            RecordType::MX,
            ResponseCode::NoError,
            5,
        ),
        ("shop.svc.clusterset.local.", RecordType::A, ResponseCode::NoError, 5),
        ("svc.clusterset.local.", RecordType::A, ResponseCode::NoError, 5),
        (
            "nobody.shop.svc.clusterset.local.",
            RecordType::A,
            ResponseCode::NXDomain,
            5,
        ),
        (
            "below.cart.shop.svc.clusterset.local.",
            RecordType::A,
            ResponseCode::NXDomain,
            5,
        ),
        (
            "gone.shop.svc.clusterset.local.",
            RecordType::A,
            ResponseCode::NXDomain,
            1,
        ),
    ] {
        let (response, _) = ask(name, kind);
        assert_eq!(response.metadata.response_code, code, "{name}");
        assert!(response.answers.is_empty(), "{name}");
        let RData::SOA(soa) = &response.authorities[0].data else {
            panic!("{name}: no SOA")
        };
        assert_eq!(
            (soa.minimum, response.authorities[0].ttl),
            (negative_ttl, negative_ttl),
            "{name}"
        );
        assert_eq!(response.authorities[0].name.to_ascii(), "clusterset.local.");
    }
}

#[test]
fn other_zones_are_refused() {
    for name in [
        "example.com.",
        "local.",
        "cart.shop.svc.cluster.local.",
        "xclusterset.local.",
    ] {
        assert_eq!(ask(name, RecordType::A).1, Outcome::Refused, "{name}");
    }
}

#[test]
fn the_version_of_the_schema_is_told_even_without_a_view() {
    let blank = Zone::new(["clusterset.local"], None, 1, 5).unwrap();
    let version = query("dns-version.clusterset.local.", RecordType::TXT, None);
    let (bytes, _) = answer(&version, &blank, Transport::Udp, 0).unwrap();
    let response = Oracle::from_vec(&bytes).unwrap();
    assert_eq!(response.answers[0].data.to_string().trim_matches('"'), DNS_VERSION);
    let cart = query("cart.shop.svc.clusterset.local.", RecordType::A, None);
    assert_eq!(
        answer(&cart, &blank, Transport::Udp, 0).unwrap().1.outcome,
        Outcome::ServFail
    );
}

#[test]
fn large_answers_are_cut_over_udp_and_whole_over_tcp() {
    for (transport, edns, is_cut) in [
        (Transport::Udp, None, true),
        (Transport::Udp, Some(1232), true),
        (Transport::Udp, Some(65_000), true),
        (Transport::Tcp, None, false),
    ] {
        let asked = query("many.shop.svc.clusterset.local.", RecordType::A, edns);
        let (bytes, _) = answer(&asked, &zone(), transport, 0).unwrap();
        let response = Oracle::from_vec(&bytes).unwrap();
        assert_eq!(response.metadata.truncation, is_cut, "{transport:?} {edns:?}");
        assert_eq!(response.answers.len(), if is_cut { 0 } else { 200 });
        assert_eq!(response.edns.is_some(), edns.is_some());
        assert!(transport == Transport::Tcp || bytes.len() <= usize::from(edns.unwrap_or(512).clamp(512, 1232)));
    }
}

#[test]
fn unknown_edns_versions_and_opcodes_are_told_so() {
    let mut message = Oracle::from_vec(&query("cart.shop.svc.clusterset.local.", RecordType::A, Some(1232))).unwrap();
    message.edns.as_mut().unwrap().set_version(1);
    let (bytes, answered) = answer(&message.to_vec().unwrap(), &zone(), Transport::Udp, 0).unwrap();
    assert_eq!(answered.outcome, Outcome::BadVers);
    let code = Oracle::from_vec(&bytes).unwrap().metadata.response_code;
    assert_eq!(u16::from(code), u16::from(ResponseCode::BADVERS));
    let mut notify = query("cart.shop.svc.clusterset.local.", RecordType::A, Some(1232));
    notify[2] |= 4 << 3;
    let (bytes, answered) = answer(&notify, &zone(), Transport::Udp, 0).unwrap();
    assert_eq!(answered.outcome, Outcome::NotImp);
    // Who speaks EDNS is answered with it, whatever was asked (RFC 6891 §7).
    let response = Oracle::from_vec(&bytes).unwrap();
    assert!(response.edns.is_some() && response.queries.len() == 1);
    // Another opcode's message need not look like a query.
    let (bytes, answered) = answer(&notify[..notify.len() - 1], &zone(), Transport::Udp, 0).unwrap();
    assert_eq!((answered.outcome, bytes.len()), (Outcome::NotImp, 12));
}

#[test]
fn other_classes_are_refused_and_responses_are_not_answered() {
    let mut message = Oracle::from_vec(&query("cart.shop.svc.clusterset.local.", RecordType::A, None)).unwrap();
    message.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(
        answer(&message.to_vec().unwrap(), &zone(), Transport::Udp, 0)
            .unwrap()
            .1
            .outcome,
        Outcome::Refused
    );
    let mut response = query("cart.shop.svc.clusterset.local.", RecordType::A, None);
    response[2] |= 0x80;
    assert!(answer(&response, &zone(), Transport::Udp, 0).is_none());
}

proptest! {
    /// Whatever comes, nothing panics, and what is sent back can be read and fits.
    #[test]
    fn any_datagram_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Some((response, _)) = answer(&bytes, &zone(), Transport::Udp, 0) {
            prop_assert!(Oracle::from_vec(&response).is_ok());
            prop_assert!(response.len() <= usize::from(MAX_UDP_PAYLOAD));
        }
    }

    /// The same for queries that are nearly right.
    #[test]
    fn damaged_queries_are_survived(position in 0usize..64, value: u8, cut in 12usize..80) {
        let mut bytes = query("cart.shop.svc.clusterset.local.", RecordType::A, Some(4096));
        let position = position % bytes.len();
        bytes[position] = value;
        bytes.truncate(cut);
        if let Some((response, _)) = answer(&bytes, &zone(), Transport::Udp, 0) {
            prop_assert!(Oracle::from_vec(&response).is_ok());
        }
    }
}

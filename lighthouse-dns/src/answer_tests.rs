//! Responses are read back with an independent implementation (hickory-proto).

use super::*;
use hickory_proto::op::{Edns, Message as Oracle, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name as OracleName, RData, RecordType};
use model::{
    Cluster, ClusterState, ExportedService, ImportKind, PrefixSet, ProtocolRange, ReadyEndpoint, ServiceKey,
    SessionAffinity, Snapshot,
};
use proptest::prelude::*;

/// A zone in which `cart.shop` has one IPv4 address, `many.shop` is headless with 200, and `gone.shop` has no ready endpoint.
fn zone() -> Zone {
    let mut snapshot = Snapshot::empty("east".parse().unwrap());
    snapshot.clusters.insert(
        "east".parse().unwrap(),
        Cluster {
            id: "east".parse().unwrap(),
            pod_prefixes: PrefixSet::default(),
            service_prefixes: PrefixSet::default(),
            protocol: ProtocolRange { min: 1, max: 1 },
            state: ClusterState::Active,
            created: (0, String::new()),
        },
    );
    let mut add = |name: &str, kind, count: u32| {
        let endpoints = (0..count).map(|i| ReadyEndpoint {
            address: std::net::Ipv4Addr::from(0x0a01_0000 + i).into(),
            hostname: None,
            ports: vec![],
        });
        let export = ExportedService {
            cluster: "east".parse().unwrap(),
            key: ServiceKey::new("shop", name),
            kind,
            ports: vec![],
            ip_families: vec![Family::V4],
            session_affinity: SessionAffinity::None,
            exported_at: 0,
            service_ips: vec!["10.101.0.7".parse().unwrap()],
            endpoints: endpoints.collect(),
            ready_count: count,
        };
        snapshot
            .exports
            .insert((export.key.clone(), export.cluster.clone()), export);
    };
    add("cart", ImportKind::ClusterSetIP, 2);
    add("many", ImportKind::Headless, 200);
    add("gone", ImportKind::ClusterSetIP, 0);
    Zone::new("clusterset.local", Some(clusterset::dns::zone_view(&snapshot)), 7, 5).unwrap()
}

fn query(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Oracle::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(OracleName::from_ascii(name).unwrap(), kind));
    if let Some(size) = edns {
        let mut options = Edns::new();
        options.set_max_payload(size);
        message.edns = Some(options);
    }
    message.to_vec().unwrap()
}

fn ask(name: &str, kind: RecordType) -> (Oracle, Outcome) {
    let (bytes, outcome) = answer(&query(name, kind, Some(1232)), &zone(), Transport::Udp, 0).unwrap();
    (Oracle::from_vec(&bytes).unwrap(), outcome)
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
    let blank = Zone::new("clusterset.local", None, 1, 5).unwrap();
    let version = query("dns-version.clusterset.local.", RecordType::TXT, None);
    let (bytes, _) = answer(&version, &blank, Transport::Udp, 0).unwrap();
    let response = Oracle::from_vec(&bytes).unwrap();
    assert_eq!(response.answers[0].data.to_string().trim_matches('"'), "1.0.0");
    let cart = query("cart.shop.svc.clusterset.local.", RecordType::A, None);
    assert_eq!(answer(&cart, &blank, Transport::Udp, 0).unwrap().1, Outcome::ServFail);
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
    let (bytes, outcome) = answer(&message.to_vec().unwrap(), &zone(), Transport::Udp, 0).unwrap();
    assert_eq!(outcome, Outcome::BadVers);
    let code = Oracle::from_vec(&bytes).unwrap().metadata.response_code;
    assert_eq!(u16::from(code), u16::from(ResponseCode::BADVERS));
    let mut notify = query("cart.shop.svc.clusterset.local.", RecordType::A, None);
    notify[2] |= 4 << 3;
    assert_eq!(answer(&notify, &zone(), Transport::Udp, 0).unwrap().1, Outcome::NotImp);
}

#[test]
fn other_classes_are_refused_and_responses_are_not_answered() {
    let mut message = Oracle::from_vec(&query("cart.shop.svc.clusterset.local.", RecordType::A, None)).unwrap();
    message.queries[0].set_query_class(DNSClass::CH);
    assert_eq!(
        answer(&message.to_vec().unwrap(), &zone(), Transport::Udp, 0)
            .unwrap()
            .1,
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

//! What is done with a DNS query, and what must hold.

use std::net::IpAddr;
use std::sync::LazyLock;

use clusterset::dns::{ClusterNames, zone_view};
use lighthouse_dns::Zone;
use lighthouse_dns::answer::{Asker, CookieSecret, MAX_UDP_PAYLOAD, Outcome, Transport, answer, cut_short};
use model::{
    Cluster, ClusterState, ExportedService, ImportKind, PrefixSet, ProtocolRange, ReadyEndpoint, ServiceKey,
    SessionAffinity, Snapshot,
};

/// A byte that says how it came, then a message. The name server survives it, stays within bounds, says the same twice, and
/// speaks of nothing but what was asked.
pub(crate) fn query(input: &[u8]) {
    let Some((how, query)) = input.split_first() else {
        return;
    };
    let transport = if how & 1 == 0 { Transport::Udp } else { Transport::Tcp };
    let secret = CookieSecret::new([7; 16]);
    let asker = Asker {
        transport,
        address: IpAddr::from([192, 0, 2, 1]),
        now: 43_200,
        secret: &secret,
    };
    let turn = usize::from(how >> 1);
    let (mut response, mut again) = (Vec::new(), b"left from before".to_vec());
    let answered = answer(query, &ZONE, &asker, turn, &mut response);
    assert_eq!(answered, answer(query, &ZONE, &asker, turn, &mut again));
    let Some(answered) = answered else {
        assert!(query.len() < 12 || query[2] & 0x80 != 0, "a query was not answered");
        return;
    };
    assert_eq!(response, again);
    let largest = match transport {
        Transport::Udp => MAX_UDP_PAYLOAD,
        Transport::Tcp => u16::MAX,
    };
    assert!(response.len() <= usize::from(largest));
    assert!(response[..2] == query[..2] && response[2] & 0x80 != 0);
    if response[5] == 1 && answered.outcome != Outcome::FormErr {
        let name = question_len(&query[12..]);
        assert_eq!(response[12..12 + name], query[12..12 + name], "another question");
    }
    cut_short(&mut response);
    assert!(response[2] & 0x02 != 0 && response[6..12] == [0; 6]);
    assert!(
        response.len() <= query.len().max(12),
        "a response that was cut amplifies"
    );
}

/// Bytes of a name without pointers, a type and a class.
fn question_len(mut rest: &[u8]) -> usize {
    let all = rest.len();
    while let Some((label, after)) = rest.split_first() {
        rest = &after[usize::from(*label)..];
        if *label == 0 {
            break;
        }
    }
    all - rest.len() + 4
}

/// `few` is headless with three endpoints, `many` with 200.
static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let own: model::ClusterId = "east".parse().expect("an id");
    let mut snapshot = Snapshot::empty(own.clone());
    let cluster = Cluster {
        id: own.clone(),
        pod_prefixes: PrefixSet::default(),
        service_prefixes: PrefixSet::default(),
        protocol: ProtocolRange { min: 1, max: 1 },
        state: ClusterState::Active,
        created: (0, String::new()),
    };
    snapshot.clusters.insert(own.clone(), cluster);
    for (name, count) in [("few", 3u8), ("many", 200)] {
        let key = ServiceKey::new("shop", name);
        let endpoints = (0..count).map(|number| ReadyEndpoint {
            address: IpAddr::from([10, 1, 0, number]),
            hostname: None,
            ports: vec![],
        });
        let export = ExportedService {
            cluster: own.clone(),
            key: key.clone(),
            kind: ImportKind::Headless,
            ports: vec![],
            ip_families: vec![],
            session_affinity: SessionAffinity::None,
            exported_at: 0,
            service_ips: vec![],
            endpoints: endpoints.collect(),
            ready_count: count.into(),
        };
        snapshot.exports.insert(export);
    }
    let view = zone_view(&snapshot, ClusterNames::Answered);
    Zone::new(["clusterset.local", "corp.example"], Some(&view), 7, 5).expect("names of zones")
});

//! A small clusterset for tests, and queries made by an independent implementation (hickory-proto).

use std::net::{IpAddr, Ipv4Addr};

use clusterset::dns::{ClusterNames, ZoneView, zone_view};
use hickory_proto::op::{Edns, Message as Oracle, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use model::{
    Cluster, ClusterState, ExportedPort, ExportedService, Family, ImportKind, ImportedService, Preference, PrefixSet,
    Protocol, ProtocolRange, ReadyEndpoint, ServiceKey, SessionAffinity, Snapshot,
};

use crate::answer::{Asker, CookieSecret, Transport};
use crate::zone::Zone;

pub(crate) const ZONES: [&str; 2] = ["clusterset.local", "corp.example"];
pub(crate) const TTL: u32 = 5;
pub(crate) const SECRET: [u8; 16] = [9; 16];

/// The own cluster, east, exporting nothing yet.
pub(crate) fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot::empty("east".parse().unwrap());
    let cluster = Cluster {
        id: "east".parse().unwrap(),
        pod_prefixes: PrefixSet::default(),
        service_prefixes: PrefixSet::default(),
        protocol: ProtocolRange { min: 1, max: 1 },
        state: ClusterState::Active,
        created: (0, String::new()),
    };
    snapshot.clusters.insert("east".parse().unwrap(), cluster);
    snapshot
}

/// Adds an export of east's with two ports.
pub(crate) fn export(snapshot: &mut Snapshot, name: &str, kind: ImportKind, addresses: &[IpAddr]) {
    let key = ServiceKey::new("shop", name);
    let port = |name: &str, port| ExportedPort {
        name: name.to_owned(),
        protocol: Protocol::Tcp,
        port,
        app_protocol: None,
    };
    let endpoints = addresses.iter().map(|address| ReadyEndpoint {
        address: *address,
        hostname: None,
        ports: vec![],
    });
    let export = ExportedService {
        cluster: "east".parse().unwrap(),
        key: key.clone(),
        kind,
        ports: vec![port("http", 80), port("metrics", 9090)],
        ip_families: vec![Family::V4],
        session_affinity: SessionAffinity::None,
        exported_at: 0,
        service_ips: vec!["10.101.0.7".parse().unwrap()],
        endpoints: endpoints.collect(),
        ready_count: u32::try_from(addresses.len()).unwrap(),
    };
    snapshot.exports.insert(export);
}

/// Gives an exported service clusterset IPs.
pub(crate) fn import(snapshot: &mut Snapshot, name: &str, ips: &[IpAddr]) {
    let key = ServiceKey::new("shop", name);
    let export = snapshot.exports_of(&key).next().unwrap();
    let import = ImportedService {
        key: key.clone(),
        kind: ImportKind::ClusterSetIP,
        ips: ips.to_vec(),
        ports: export.ports.clone(),
        session_affinity: SessionAffinity::None,
        preference: Preference::Local,
        internal_traffic_policy: None,
        traffic_distribution: None,
    };
    snapshot.imports.insert(import);
}

pub(crate) fn addresses(count: u32) -> Vec<IpAddr> {
    (0..count).map(|i| Ipv4Addr::from(0x0a01_0000 + i).into()).collect()
}

/// `cart` has one address, `vip` a clusterset IP of each family, `few` is headless with three endpoints, `many` with 200, and
/// `gone` has no ready endpoint.
pub(crate) fn view() -> ZoneView {
    let mut snapshot = snapshot();
    export(&mut snapshot, "cart", ImportKind::ClusterSetIP, &addresses(2));
    export(&mut snapshot, "vip", ImportKind::ClusterSetIP, &addresses(2));
    import(
        &mut snapshot,
        "vip",
        &["243.0.0.7".parse().unwrap(), "fd43::7".parse().unwrap()],
    );
    let mut few = addresses(2);
    few.push("fd01::1".parse().unwrap());
    export(&mut snapshot, "few", ImportKind::Headless, &few);
    export(&mut snapshot, "many", ImportKind::Headless, &addresses(200));
    export(&mut snapshot, "gone", ImportKind::ClusterSetIP, &[]);
    zone_view(&snapshot, ClusterNames::Answered)
}

pub(crate) fn zone() -> Zone {
    Zone::new(ZONES, Some(&view()), 7, TTL).unwrap()
}

pub(crate) fn query(name: &str, kind: RecordType, edns: Option<u16>) -> Vec<u8> {
    let mut message = Oracle::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    if let Some(size) = edns {
        let mut options = Edns::new();
        options.set_max_payload(size);
        message.edns = Some(options);
    }
    message.to_vec().unwrap()
}

/// What is answered at noon to 192.0.2.1.
pub(crate) fn answer(
    query: &[u8],
    zone: &Zone,
    transport: Transport,
    turn: usize,
) -> Option<(Vec<u8>, crate::answer::Answered)> {
    let secret = CookieSecret::new(SECRET);
    let asker = Asker {
        transport,
        address: "192.0.2.1".parse().unwrap(),
        now: 43_200,
        secret: &secret,
    };
    let mut response = b"left from before".to_vec();
    let answered = crate::answer::answer(query, zone, &asker, turn, &mut response)?;
    Some((response, answered))
}

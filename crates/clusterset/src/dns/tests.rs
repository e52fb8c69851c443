use super::*;
use crate::fixture;
use model::{
    Cluster, Connection, ConnectionState, ExportedPort, Family, Gateway, GatewayId, ImportedService, Preference,
    PrefixSet, ProbeMode, Protocol, ProtocolRange, PublicKey, ServiceKey, SessionAffinity,
};

fn id(text: &str) -> ClusterId {
    text.parse().unwrap()
}

/// East's view, with cables to these clusters in these states.
pub(super) fn snapshot(cables: &[(&str, ConnectionState)]) -> Snapshot {
    let mut snapshot = Snapshot::empty(id("east"));
    for name in ["east", "west", "north"] {
        let cluster = Cluster {
            id: id(name),
            pod_prefixes: PrefixSet::default(),
            service_prefixes: PrefixSet::default(),
            protocol: ProtocolRange { min: 1, max: 1 },
            state: ClusterState::Active,
            created: (0, String::new()),
        };
        snapshot.clusters.insert(id(name), cluster);
    }
    let gateway = GatewayId {
        cluster: id("east"),
        node: "gw1".parse().unwrap(),
    };
    let connection =
        |(cluster, state): &(&str, ConnectionState)| Connection::new(fixture::gateway(cluster, "gw1").id, *state);
    let gateway = Gateway {
        id: gateway.clone(),
        public_key: PublicKey::from_bytes([1; 32]),
        addresses: vec![],
        port: 4510,
        lanes: 1,
        priority: 0,
        active: true,
        epoch: 1,
        probe: ProbeMode::Tombolo,
        underlay_mtu: 1500,
        connections: cables.iter().map(connection).collect(),
    };
    snapshot.gateways.insert(gateway.id.clone(), gateway);
    snapshot
}

fn export(snapshot: &mut Snapshot, cluster: &str, age: i64, kind: ImportKind, addresses: &[&str]) {
    export_of(snapshot, ServiceKey::new("shop", "cart"), cluster, age, kind, addresses);
}

pub(super) fn export_of(
    snapshot: &mut Snapshot,
    key: ServiceKey,
    cluster: &str,
    age: i64,
    kind: ImportKind,
    addresses: &[&str],
) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
    let is_headless = kind == ImportKind::Headless;
    let export = ExportedService {
        cluster: id(cluster),
        key,
        kind,
        ports: vec![],
        ip_families: vec![],
        session_affinity: SessionAffinity::None,
        exported_at: age,
        service_ips: if is_headless { vec![] } else { addresses.clone() },
        endpoints: addresses
            .iter()
            .map(|address| ReadyEndpoint {
                address: *address,
                hostname: None,
                ports: vec![],
            })
            .collect(),
        ready_count: u32::try_from(addresses.len()).unwrap(),
    };
    snapshot.exports.insert(export);
}

fn v4(view: &ZoneView, name: &str, turn: usize) -> Vec<String> {
    let records = view.lookup(name).unwrap_or_else(|| panic!("no {name}"));
    records
        .addresses(Family::V4, turn)
        .iter()
        .map(ToString::to_string)
        .collect()
}

pub(super) const USABLE: ConnectionState = ConnectionState::Connected;

#[test]
fn the_own_cluster_comes_first() {
    let mut snapshot = snapshot(&[("west", USABLE)]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    export(&mut snapshot, "east", 2, ImportKind::ClusterSetIP, &["10.1.0.1"]);
    let view = zone_view(&snapshot, ClusterNames::Answered);
    for turn in 0..4 {
        assert_eq!(v4(&view, "cart.shop.svc", turn), ["10.1.0.1"]);
    }
    assert_eq!(v4(&view, "west.cart.shop.svc", 0), ["10.2.0.1"]);
}

#[test]
fn remote_clusters_take_turns_and_dead_ones_are_out() {
    let mut snapshot = snapshot(&[("west", USABLE), ("north", USABLE)]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    export(&mut snapshot, "north", 2, ImportKind::ClusterSetIP, &["10.3.0.1"]);
    let view = zone_view(&snapshot, ClusterNames::Answered);
    assert_ne!(v4(&view, "cart.shop.svc", 0), v4(&view, "cart.shop.svc", 1));
    let gateway = snapshot.gateways.values_mut().next().unwrap();
    gateway.connections[0].state = ConnectionState::Error;
    let view = zone_view(&snapshot, ClusterNames::Answered);
    for turn in 0..4 {
        assert_eq!(v4(&view, "cart.shop.svc", turn), ["10.3.0.1"]);
    }
    assert_eq!(view.lookup("west.cart.shop.svc"), Some(&Records::Dead));
}

#[test]
fn a_service_without_a_ready_endpoint_anywhere_is_dead() {
    let mut snapshot = snapshot(&[("west", USABLE)]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    for export in snapshot.exports.iter_mut() {
        export.ready_count = 0;
    }
    assert_eq!(
        zone_view(&snapshot, ClusterNames::Answered).lookup("cart.shop.svc"),
        Some(&Records::Dead)
    );
}

#[test]
fn headless_names_have_the_endpoints_of_all_live_clusters() {
    let mut snapshot = snapshot(&[("west", USABLE)]);
    export(
        &mut snapshot,
        "west",
        1,
        ImportKind::Headless,
        &["10.2.0.1", "10.2.0.2", "fd02::1"],
    );
    export(&mut snapshot, "north", 2, ImportKind::Headless, &["10.3.0.1"]);
    let view = zone_view(&snapshot, ClusterNames::Answered);
    let mut all = v4(&view, "cart.shop.svc", 1);
    all.sort();
    assert_eq!(all, ["10.2.0.1", "10.2.0.2"]);
    assert_eq!(v4(&view, "10-2-0-2.west.cart.shop.svc", 0), ["10.2.0.2"]);
}

#[test]
fn names_above_a_service_exist_without_records() {
    let mut snapshot = snapshot(&[]);
    export(&mut snapshot, "east", 1, ImportKind::ClusterSetIP, &["10.1.0.1"]);
    let view = zone_view(&snapshot, ClusterNames::Answered);
    for name in ["", "svc", "shop.svc"] {
        assert_eq!(view.lookup(name), Some(&Records::NonTerminal), "{name}");
    }
    assert_eq!(view.lookup("other.svc"), None);
    assert_eq!(view.len(), 2);
}

#[test]
fn the_oldest_export_says_the_kind() {
    let mut snapshot = snapshot(&[("west", USABLE)]);
    export(&mut snapshot, "east", 2, ImportKind::Headless, &["10.1.0.1"]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    assert_eq!(
        v4(&zone_view(&snapshot, ClusterNames::Answered), "cart.shop.svc", 0),
        ["10.2.0.1"]
    );
}

fn port(name: &str, protocol: Protocol, port: u16) -> ExportedPort {
    ExportedPort {
        name: name.to_owned(),
        protocol,
        port,
        app_protocol: None,
    }
}

fn srv(view: &ZoneView, name: &str) -> Vec<String> {
    let one = |service: &ServiceAddress| format!("{} {}", service.port, service.target);
    view.services(name).iter().map(one).collect()
}

fn import(snapshot: &mut Snapshot, ips: &[&str], ports: Vec<ExportedPort>) {
    import_of(snapshot, ServiceKey::new("shop", "cart"), ips, ports);
}

pub(super) fn import_of(snapshot: &mut Snapshot, key: ServiceKey, ips: &[&str], ports: Vec<ExportedPort>) {
    let import = ImportedService {
        key,
        kind: ImportKind::ClusterSetIP,
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        ports,
        session_affinity: SessionAffinity::None,
        preference: Preference::Local,
        internal_traffic_policy: None,
        traffic_distribution: None,
    };
    snapshot.imports.insert(import);
}

#[test]
fn a_clusterset_ip_is_answered_even_when_nothing_is_live() {
    let mut snapshot = snapshot(&[]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    import(&mut snapshot, &["243.0.0.7"], vec![port("http", Protocol::Tcp, 80)]);
    let view = zone_view(&snapshot, ClusterNames::Answered);
    assert_eq!(v4(&view, "cart.shop.svc", 0), ["243.0.0.7"]);
    assert_eq!(view.lookup("west.cart.shop.svc"), Some(&Records::Dead));
    assert_eq!(view.name_of("243.0.0.7".parse().unwrap()), Some("cart.shop.svc"));
    assert_eq!(srv(&view, "_http._tcp.cart.shop.svc"), ["80 cart.shop.svc"]);
    assert_eq!(view.lookup("_tcp.cart.shop.svc"), Some(&Records::NonTerminal));
}

#[test]
fn equal_service_records_are_one_and_unnamed_ports_are_at_the_bare_name_only() {
    let mut snapshot = snapshot(&[("west", USABLE)]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    let ports = vec![
        port("tcp", Protocol::Tcp, 42),
        port("udp", Protocol::Udp, 42),
        port("", Protocol::Tcp, 43),
    ];
    import(&mut snapshot, &["243.0.0.7"], ports);
    let view = zone_view(&snapshot, ClusterNames::Answered);
    assert_eq!(srv(&view, "cart.shop.svc"), ["42 cart.shop.svc", "43 cart.shop.svc"]);
    assert_eq!(srv(&view, "_udp._udp.cart.shop.svc"), ["42 cart.shop.svc"]);
    assert_eq!(view.lookup("_._tcp.cart.shop.svc"), None);
}

#[test]
fn headless_service_records_lead_to_each_endpoint_and_the_port_it_listens_on() {
    let mut snapshot = snapshot(&[("west", USABLE)]);
    export(&mut snapshot, "west", 1, ImportKind::Headless, &["10.2.0.1", "fd02::2"]);
    for export in snapshot.exports.iter_mut() {
        export.ports = vec![port("redis", Protocol::Tcp, 6379)];
        export.endpoints[0].hostname = Some("Redis-0".to_owned());
        export.endpoints[0].ports = vec![("redis".to_owned(), 16379)];
    }
    let view = zone_view(&snapshot, ClusterNames::Reserved);
    let expected = ["16379 redis-0.west.cart.shop.svc", "6379 fd02--2.west.cart.shop.svc"];
    assert_eq!(srv(&view, "cart.shop.svc"), expected);
    assert_eq!(srv(&view, "_redis._tcp.cart.shop.svc"), expected);
    assert_eq!(v4(&view, "redis-0.west.cart.shop.svc", 0), ["10.2.0.1"]);
}

#[test]
fn reserved_cluster_names_have_no_records() {
    let mut snapshot = snapshot(&[("west", USABLE), ("north", USABLE)]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    export(&mut snapshot, "north", 2, ImportKind::Headless, &["10.3.0.1"]);
    let view = zone_view(&snapshot, ClusterNames::Reserved);
    assert_eq!(view.lookup("west.cart.shop.svc"), None);
    assert_eq!(view.lookup("north.cart.shop.svc"), Some(&Records::NonTerminal));
    assert_eq!(v4(&view, "cart.shop.svc", 0), ["10.2.0.1"]);
}

#[test]
fn a_dead_name_above_a_live_one_is_not_denied() {
    let mut snapshot = snapshot(&[("north", USABLE)]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    export(&mut snapshot, "north", 2, ImportKind::Headless, &["10.3.0.1"]);
    let view = zone_view(&snapshot, ClusterNames::Answered);
    assert_eq!(view.lookup("cart.shop.svc"), Some(&Records::NonTerminal));
    assert_eq!(view.lookup("west.cart.shop.svc"), Some(&Records::Dead));
}

#[test]
fn rule_18_the_bare_name_has_one_service_record_for_ports_of_one_number() {
    let mut snapshot = snapshot(&[("west", USABLE)]);
    export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
    let ports = vec![port("tcp", Protocol::Tcp, 42), port("udp", Protocol::Udp, 42)];
    import(&mut snapshot, &["243.0.0.7"], ports);
    let view = zone_view(&snapshot, ClusterNames::Reserved);
    assert_eq!(srv(&view, "cart.shop.svc"), ["42 cart.shop.svc"]);
}

#[test]
fn rule_22_a_headless_name_has_one_service_record_for_each_endpoint() {
    let mut snapshot = snapshot(&[("west", USABLE)]);
    export(
        &mut snapshot,
        "west",
        1,
        ImportKind::Headless,
        &["10.2.0.1", "10.2.0.2"],
    );
    for export in snapshot.exports.iter_mut() {
        export.ports = vec![port("tcp", Protocol::Tcp, 42), port("udp", Protocol::Udp, 42)];
        export.endpoints[0].hostname = Some("web-0".to_owned());
    }
    let view = zone_view(&snapshot, ClusterNames::Reserved);
    let expected = ["42 web-0.west.cart.shop.svc", "42 10-2-0-2.west.cart.shop.svc"];
    assert_eq!(srv(&view, "cart.shop.svc"), expected);
}

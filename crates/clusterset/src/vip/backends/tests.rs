use model::{Connection, ConnectionState, Gateway, PrefixSet, Rtt, ServiceKey};

use super::*;
use crate::choice::Way;
use crate::fixture;

const VIP: &str = "244.174.0.9";

fn id(text: &str) -> ClusterId {
    text.parse().unwrap()
}

fn http(port: u16) -> ExportedPort {
    ExportedPort {
        name: "http".into(),
        protocol: Protocol::Tcp,
        port,
        app_protocol: None,
    }
}

/// One export with so many endpoints, `10.<n>.0.1` and on.
fn export(cluster: &str, n: u8, endpoints: u8) -> ExportedService {
    let endpoint = |host| ReadyEndpoint {
        address: [10, n, 0, host].into(),
        hostname: None,
        ports: vec![("http".into(), 8080)],
    };
    ExportedService {
        cluster: id(cluster),
        key: ServiceKey::new("shop", "cart"),
        kind: ImportKind::ClusterSetIP,
        ports: vec![http(80)],
        ip_families: vec![Family::V4],
        session_affinity: SessionAffinity::None,
        exported_at: 0,
        service_ips: vec![[10, 100 + n, 0, 1].into()],
        endpoints: (1..=endpoints).map(endpoint).collect(),
        ready_count: endpoints.into(),
    }
}

/// East's view: it is connected to west (1 ms away) and north (40 ms away), and imports the cart that these export.
fn snapshot(exports: Vec<ExportedService>) -> Snapshot {
    let mut snapshot = Snapshot::empty(id("east"));
    for name in ["east", "west", "north"] {
        let cluster = fixture::cluster(name, "10.0.0.0/8");
        snapshot.clusters.insert(cluster.id.clone(), cluster);
    }
    let connection = |cluster: &str, p50_us| Connection {
        rtt: Some(Rtt {
            last_us: p50_us,
            p50_us,
            p95_us: p50_us,
            p99_us: p50_us,
        }),
        ..Connection::new(fixture::gateway(cluster, "gw1").id, ConnectionState::Connected)
    };
    let gateway = Gateway {
        connections: vec![connection("west", 1_000), connection("north", 40_000)],
        ..fixture::gateway("east", "gw1")
    };
    snapshot.gateways.insert(gateway.id.clone(), gateway);
    let import = ImportedService {
        key: ServiceKey::new("shop", "cart"),
        kind: ImportKind::ClusterSetIP,
        ips: vec![VIP.parse().unwrap()],
        ports: vec![http(80)],
        session_affinity: SessionAffinity::None,
        preference: Preference::Local,
        internal_traffic_policy: None,
        traffic_distribution: None,
    };
    snapshot.imports.insert(import);
    exports.into_iter().for_each(|export| snapshot.exports.insert(export));
    snapshot.clusterset_range = PrefixSet::parse(["244.174.0.0/16"]).unwrap();
    snapshot
}

fn import(snapshot: &mut Snapshot) -> &mut ImportedService {
    snapshot.imports.iter_mut().next().unwrap()
}

/// A node of east whose pods are `10.1.0.0/30`.
fn node() -> Node {
    Node {
        name: "w1".parse().unwrap(),
        uid: "uid-w1".into(),
        addresses: vec![],
        pod_prefixes: PrefixSet::parse(["10.1.0.0/30"]).unwrap(),
        is_gateway: false,
        is_ready: true,
    }
}

/// Everything that a port of the clusterset IP leads to.
fn leads_to(snapshot: &Snapshot, port: u16) -> BTreeSet<String> {
    let elements = vips(snapshot, &node(), &Ways::new()).elements;
    let backends = elements.backends(&vip_port(VIP.parse().unwrap(), &http(port)));
    backends.iter().map(ToString::to_string).collect()
}

fn texts(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn the_own_clusters_pods_come_first_and_all_others_stand_in() {
    let mut world = snapshot(vec![export("east", 1, 1), export("west", 2, 1), export("north", 3, 1)]);
    assert_eq!(leads_to(&world, 80), texts(&["10.1.0.1:8080"]));
    let own = world
        .exports
        .iter_mut()
        .find(|export| export.cluster == id("east"))
        .unwrap();
    own.endpoints.clear();
    own.ready_count = 0;
    assert_eq!(leads_to(&world, 80), texts(&["10.2.0.1:8080", "10.3.0.1:8080"]));
}

#[test]
fn only_a_port_with_several_backends_takes_slots() {
    let elements = |world: &Snapshot| vips(world, &node(), &Ways::new()).elements;
    let one = elements(&snapshot(vec![export("west", 2, 1)]));
    assert_eq!((one.sole.len(), one.slots.len()), (1, 0));
    let two = elements(&snapshot(vec![export("west", 2, 1), export("north", 3, 1)]));
    assert_eq!((two.sole.len(), two.slots.len()), (0, 1));
}

#[test]
fn the_preference_decides_among_clusters() {
    let mut world = snapshot(vec![export("west", 2, 1), export("north", 3, 1)]);
    import(&mut world).preference = Preference::Nearest;
    assert_eq!(leads_to(&world, 80), texts(&["10.2.0.1:8080"]), "a millisecond away");
    let mut world = snapshot(vec![export("east", 1, 1), export("west", 2, 1)]);
    import(&mut world).preference = Preference::Spread;
    assert_eq!(leads_to(&world, 80), texts(&["10.1.0.1:8080", "10.2.0.1:8080"]));
}

#[test]
fn dead_clusters_and_those_that_leave_get_nothing() {
    let mut world = snapshot(vec![export("west", 2, 1), export("north", 3, 1)]);
    let gateway = world.gateways.values_mut().next().unwrap();
    gateway.connections[0].state = ConnectionState::Error;
    assert_eq!(leads_to(&world, 80), texts(&["10.3.0.1:8080"]));
    world.clusters.get_mut(&id("north")).unwrap().state = ClusterState::Leaving;
    assert_eq!(leads_to(&world, 80), texts(&[]));
    let known = vips(&world, &node(), &Ways::new()).elements.known;
    assert_eq!(known.len(), 1, "a connect is refused, not lost");
}

#[test]
fn what_the_node_finds_itself_holds_against_what_it_is_told() {
    let mut world = snapshot(vec![export("west", 2, 1), export("north", 3, 1)]);
    world.gateways.values_mut().next().unwrap().connections[1].state = ConnectionState::Error;
    assert_eq!(leads_to(&world, 80), texts(&["10.2.0.1:8080"]));
    let way = Way {
        gateway: "gw1".parse().unwrap(),
        mtu: None,
    };
    let ways = Ways::from([(id("west"), None), (id("north"), Some(way))]);
    let elements = vips(&world, &node(), &ways).elements;
    let backends = elements.sole.values().map(ToString::to_string);
    assert_eq!(backends.collect::<BTreeSet<_>>(), texts(&["10.3.0.1:8080"]));
}

#[test]
fn a_port_leads_only_to_clusters_that_expose_it() {
    let mut other = export("north", 3, 1);
    other.ports = vec![http(4242)];
    let mut world = snapshot(vec![export("west", 2, 1), other]);
    import(&mut world).ports = vec![http(80), http(4242)];
    assert_eq!(leads_to(&world, 80), texts(&["10.2.0.1:8080"]));
    assert_eq!(leads_to(&world, 4242), texts(&["10.3.0.1:8080"]));
}

#[test]
fn endpoints_that_cannot_be_told_are_behind_the_services_own_ip() {
    let mut partly = export("west", 2, 1);
    partly.ready_count = 3;
    assert_eq!(
        leads_to(&snapshot(vec![partly]), 80),
        texts(&["10.2.0.1:8080", "10.102.0.1:80"])
    );
    let mut own = export("east", 1, 0);
    own.ready_count = 3;
    assert_eq!(
        leads_to(&snapshot(vec![own]), 80),
        texts(&[]),
        "nobody would translate it again"
    );
}

#[test]
fn a_cluster_weighs_as_much_as_it_has_endpoints() {
    // A hundred are told, and there are three hundred.
    let mut large = export("west", 2, 100);
    large.ready_count = 300;
    let world = snapshot(vec![large, export("north", 3, 100)]);
    let me = node();
    let here = Here::of(&world, &me, &Ways::new());
    let weight = |export: &ExportedService| -> f64 {
        let backends = here.of_cluster(export, &http(80), Family::V4);
        backends.iter().map(|backend| backend.weight).sum()
    };
    let weights: BTreeMap<&str, f64> = world
        .exports
        .iter()
        .map(|export| (export.cluster.as_str(), weight(export).round()))
        .collect();
    assert_eq!(weights, BTreeMap::from([("north", 100.0), ("west", 300.0)]));
}

#[test]
fn policies_of_the_service_keep_to_the_node() {
    let mut world = snapshot(vec![export("east", 1, 9)]);
    import(&mut world).traffic_distribution = Some("PreferSameNode".into());
    let on_node = texts(&["10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"]);
    assert_eq!(leads_to(&world, 80), on_node);
    import(&mut world).traffic_distribution = None;
    import(&mut world).internal_traffic_policy = Some("Local".into());
    assert_eq!(leads_to(&world, 80), on_node);

    // None on this node: the one is content with others, the other is not.
    let mut world = snapshot(vec![export("west", 2, 1)]);
    import(&mut world).traffic_distribution = Some("PreferSameNode".into());
    assert_eq!(leads_to(&world, 80).len(), 1);
    import(&mut world).internal_traffic_policy = Some("Local".into());
    assert!(leads_to(&world, 80).is_empty());
}

#[test]
fn affinity_and_hairpin_are_told() {
    let mut world = snapshot(vec![export("east", 1, 9)]);
    import(&mut world).session_affinity = SessionAffinity::ClientIp { timeout_seconds: 9 };
    let elements = vips(&world, &node(), &Ways::new()).elements;
    assert_eq!(elements.affine.len(), 1);
    let pods: Vec<String> = elements.hairpin.iter().map(ToString::to_string).collect();
    assert_eq!(pods, ["10.1.0.1", "10.1.0.2", "10.1.0.3"], "only this node's own");
}

#[test]
fn an_address_outside_the_range_is_not_translated() {
    let mut world = snapshot(vec![export("west", 2, 1)]);
    import(&mut world).ips = vec!["10.9.9.9".parse().unwrap()];
    assert!(vips(&world, &node(), &Ways::new()).elements.is_empty());
}

#[test]
fn round_trips_that_hardly_differ_are_one_class() {
    assert_eq!(rtt_class(300), rtt_class(1_400));
    assert!(rtt_class(1_000) < rtt_class(5_000));
    assert!(rtt_class(20_000) < rtt_class(40_000));
}

#[test]
fn rule_17_the_name_has_the_clusterset_ips_whatever_is_live() {
    let mut world = snapshot(vec![export("west", 2, 1)]);
    let second = "fd74:6f6d:626f:6c6f::9".parse().unwrap();
    import(&mut world).ips.push(second);
    let answers = |world: &Snapshot| {
        let view = crate::dns::zone_view(world, crate::dns::ClusterNames::Answered);
        let records = view.lookup("cart.shop.svc").expect("the name exists").clone();
        [Family::V4, Family::V6].map(|family| records.addresses(family, 0))
    };
    let expected = [vec![VIP.parse().unwrap()], vec![second]];
    assert_eq!(answers(&world), expected);
    world.gateways.values_mut().next().unwrap().connections.clear();
    assert_eq!(
        answers(&world),
        expected,
        "the client's node refuses what leads nowhere"
    );
}

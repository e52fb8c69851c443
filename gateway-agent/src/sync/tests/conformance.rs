//! The rules of the MCS API's conformance suite that are about objects and about where connections go, by their number in
//! `docs/mcs-conformance.md`. East exports first, so it is the older exporter.

use std::collections::BTreeSet;

use clusterset::choice::Ways;
use model::{Family, ImportedService, Node, PrefixSet, Snapshot};
use serde_json::{Value, json};

use super::simulation::{Simulation, add_service, service_export};

const SHOP: Option<&str> = Some("shop");
const CART: (&str, &str) = ("shop", "cart");
const BOTH: [&str; 2] = ["east", "west"];

/// East exports its cart, after `change` to its objects.
fn exported(change: impl FnOnce(&mut Simulation)) -> Simulation {
    let mut simulation = Simulation::of(&BOTH);
    add_service(simulation.member("east"), 1);
    change(&mut simulation);
    simulation.member("east").put(service_export());
    simulation.settle();
    simulation
}

/// West exports as well, after `change` to its objects.
fn exported_by_both(change: impl FnOnce(&mut Simulation)) -> Simulation {
    let mut simulation = exported(|_| {});
    add_service(simulation.member("west"), 2);
    change(&mut simulation);
    // Younger by more than a second, as objects are created in real clusters.
    for _ in 0..5 {
        simulation
            .member("west")
            .put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}));
    }
    simulation.member("west").put(service_export());
    simulation.settle();
    simulation
}

fn unexport(simulation: &mut Simulation, cluster: &str) {
    simulation.member(cluster).remove("ServiceExport", SHOP, "cart");
    simulation.settle();
}

fn service<'a>(simulation: &'a mut Simulation, cluster: &str) -> &'a mut Value {
    &mut simulation.member(cluster).get_mut("Service", SHOP, "cart")["spec"]
}

fn export_spec<'a>(simulation: &'a mut Simulation, cluster: &str) -> &'a mut Value {
    &mut simulation.member(cluster).get_mut("ServiceExport", SHOP, "cart")["spec"]
}

/// The import in each cluster; none where there is none.
fn imports(simulation: &Simulation) -> Vec<Option<Value>> {
    let import = |cluster: &&str| simulation.members[*cluster].get("ServiceImport", SHOP, "cart").cloned();
    BOTH.iter().map(import).collect()
}

/// A field of the import's spec, which every cluster has alike.
fn everywhere(simulation: &Simulation, field: &str) -> Value {
    let specs = imports(simulation)
        .into_iter()
        .map(|import| import.expect("imported")["spec"][field].clone());
    let specs: Vec<Value> = specs.collect();
    assert!(specs.windows(2).all(|pair| pair[0] == pair[1]), "{field}: {specs:?}");
    specs[0].clone()
}

fn is_gone(simulation: &Simulation) -> bool {
    imports(simulation).iter().all(Option::is_none)
}

/// All exporters are told.
fn assert_conflict(simulation: &Simulation, reason: &str) {
    for cluster in BOTH {
        let conflict = simulation.condition(cluster, "ServiceExport", CART, "Conflict");
        assert_eq!(conflict, format!("True {reason}"), "{cluster}");
    }
}

fn headless(simulation: &mut Simulation, cluster: &str) {
    let spec = service(simulation, cluster);
    spec["clusterIP"] = json!("None");
    spec["clusterIPs"] = json!(["None"]);
}

#[test]
fn rule_01_an_import_exists_only_while_a_cluster_exports() {
    let mut simulation = exported_by_both(|_| {});
    unexport(&mut simulation, "east");
    assert!(imports(&simulation).iter().all(Option::is_some));
    unexport(&mut simulation, "west");
    assert!(is_gone(&simulation));
}

#[test]
fn rule_02_only_exported_labels_and_annotations_reach_the_import() {
    let mut simulation = exported(|s| {
        let metadata = &mut s.member("east").get_mut("Service", SHOP, "cart")["metadata"];
        metadata["labels"] = json!({"dummy-svc": "dummy"});
        metadata["annotations"] = json!({"dummy-svc": "dummy"});
    });
    *export_spec(&mut simulation, "east") = json!({
        "exportedLabels": {"tier": "gold"}, "exportedAnnotations": {"owner": "shop"},
    });
    simulation.settle();
    for import in imports(&simulation).into_iter().flatten() {
        let metadata = &import["metadata"];
        assert_eq!(
            metadata["labels"],
            json!({"app.kubernetes.io/managed-by": "tombolo", "tier": "gold"})
        );
        assert_eq!(metadata["annotations"], json!({"owner": "shop"}));
    }
}

#[test]
fn rule_03_conflicting_labels_and_annotations_are_the_oldests() {
    let mut simulation = exported_by_both(|_| {});
    for (cluster, tier) in [("east", "gold"), ("west", "silver")] {
        *export_spec(&mut simulation, cluster) =
            json!({"exportedLabels": {"tier": tier}, "exportedAnnotations": {cluster: "1"}});
    }
    simulation.settle();
    assert_conflict(&simulation, "AnnotationsConflict,LabelsConflict");
    for import in imports(&simulation).into_iter().flatten() {
        assert_eq!(import["metadata"]["labels"]["tier"], "gold");
        assert_eq!(import["metadata"]["annotations"], json!({"east": "1"}));
    }
}

#[test]
fn rule_04_an_exported_cluster_ip_is_valid_imported_and_goes_again() {
    let mut simulation = exported(|_| {});
    assert_eq!(
        simulation.condition("east", "ServiceExport", CART, "Valid"),
        "True Valid"
    );
    assert_eq!(everywhere(&simulation, "type"), "ClusterSetIP");
    unexport(&mut simulation, "east");
    assert!(is_gone(&simulation));
}

#[test]
fn rule_05_session_affinity_is_the_services() {
    let config = json!({"clientIP": {"timeoutSeconds": 10}});
    let simulation = exported(|s| {
        let spec = service(s, "east");
        spec["sessionAffinity"] = json!("ClientIP");
        spec["sessionAffinityConfig"] = config.clone();
    });
    assert_eq!(everywhere(&simulation, "sessionAffinity"), "ClientIP");
    assert_eq!(everywhere(&simulation, "sessionAffinityConfig"), config);
}

#[test]
fn rule_06_internal_traffic_policy_is_the_services() {
    let simulation = exported(|s| service(s, "east")["internalTrafficPolicy"] = json!("Cluster"));
    assert_eq!(everywhere(&simulation, "internalTrafficPolicy"), "Cluster");
}

#[test]
fn rule_07_traffic_distribution_is_the_services() {
    let simulation = exported(|s| service(s, "east")["trafficDistribution"] = json!("PreferClose"));
    assert_eq!(everywhere(&simulation, "trafficDistribution"), "PreferClose");
}

#[test]
fn rule_08_ips_are_of_the_families_in_their_order() {
    for families in [json!(["IPv4"]), json!(["IPv6", "IPv4"]), json!(["IPv4", "IPv6"])] {
        let simulation = exported(|s| service(s, "east")["ipFamilies"] = families.clone());
        assert_eq!(everywhere(&simulation, "ipFamilies"), families);
        for import in imports(&simulation).into_iter().flatten() {
            let ips = import["spec"]["ips"].as_array().unwrap().iter();
            let of: Vec<String> = ips
                .map(|ip| Family::of(ip.as_str().unwrap().parse().unwrap()).to_string())
                .collect();
            assert_eq!(json!(of), families);
        }
    }
}

#[test]
fn rule_09_ports_are_the_services() {
    let ports = json!([
        {"name": "tcp", "port": 42, "protocol": "TCP", "appProtocol": "h2c"},
        {"name": "udp", "port": 42, "protocol": "UDP"},
    ]);
    let simulation = exported(|s| service(s, "east")["ports"] = ports.clone());
    assert_eq!(everywhere(&simulation, "ports"), ports);
}

fn port(name: &str, number: u16) -> Value {
    json!([{"name": name, "port": number, "protocol": "TCP", "targetPort": 8080}])
}

#[test]
fn rule_10_different_ports_are_united_and_a_conflict() {
    let simulation = exported_by_both(|s| service(s, "west")["ports"] = port("other", 4242));
    assert_conflict(&simulation, "PortConflict");
    let ports = everywhere(&simulation, "ports");
    let numbers: BTreeSet<u64> = ports
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["port"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, BTreeSet::from([80, 4242]));
}

#[test]
fn rule_11_one_name_with_two_numbers_is_the_oldests_and_a_conflict() {
    let simulation = exported_by_both(|s| service(s, "west")["ports"] = port("http", 4242));
    assert_conflict(&simulation, "PortConflict");
    assert_eq!(
        everywhere(&simulation, "ports"),
        json!([{"name": "http", "port": 80, "protocol": "TCP"}])
    );
}

#[test]
fn rule_12_an_exported_headless_service_is_imported_and_goes_again() {
    let mut simulation = exported(|s| headless(s, "east"));
    assert_eq!(everywhere(&simulation, "type"), "Headless");
    unexport(&mut simulation, "east");
    assert!(is_gone(&simulation));
}

#[test]
fn rule_13_a_headless_import_has_no_ips() {
    let simulation = exported(|s| headless(s, "east"));
    assert_eq!(everywhere(&simulation, "ips"), Value::Null);
}

#[test]
fn rule_14_an_external_name_is_not_valid_and_not_imported() {
    let simulation = exported(|s| *service(s, "east") = json!({"type": "ExternalName", "externalName": "example.org"}));
    let valid = simulation.condition("east", "ServiceExport", CART, "Valid");
    assert_eq!(valid, "False InvalidServiceType");
    assert!(is_gone(&simulation));
}

#[test]
fn rule_15_of_two_types_the_oldests_holds_and_it_is_a_conflict() {
    let simulation = exported_by_both(|s| headless(s, "west"));
    assert_conflict(&simulation, "TypeConflict");
    assert_eq!(everywhere(&simulation, "type"), "ClusterSetIP");
}

#[test]
fn rule_16_endpoint_slices_are_labelled_ours_and_go_with_the_export() {
    let slices = |simulation: &Simulation| {
        BOTH.map(|cluster| {
            simulation.members[cluster]
                .get("EndpointSlice", SHOP, "cart.east.ipv4.0")
                .cloned()
        })
    };
    let mut simulation = exported(|_| {});
    for slice in slices(&simulation) {
        let slice = slice.expect("a slice of the family");
        let labels = &slice["metadata"]["labels"];
        assert_eq!(labels["multicluster.kubernetes.io/service-name"], "cart");
        assert_eq!(labels["multicluster.kubernetes.io/source-cluster"], "east");
        assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "tombolo.dev");
        assert_eq!(
            (&slice["addressType"], &slice["endpoints"][0]["addresses"]),
            (&json!("IPv4"), &json!(["10.1.0.7"]))
        );
    }
    unexport(&mut simulation, "east");
    assert_eq!(slices(&simulation), [None, None]);
}

/// The pods that a port of the clusterset IP leads to, for a client in `cluster`; none where there is no such address.
fn leads_to(simulation: &Simulation, cluster: &str, port: u16) -> Option<BTreeSet<String>> {
    let world = simulation.world(cluster);
    let mut snapshot = Snapshot::empty(cluster.parse().unwrap());
    snapshot.clusters = world.members();
    snapshot.clusterset_range = k8s_api::clusterset_range(world.own_cluster().unwrap()).unwrap();
    for export in &world.local.exported {
        let export = model::ExportedService::try_from(export.as_ref()).unwrap();
        snapshot.exports.insert(export);
    }
    for import in &world.local.imports {
        let import = ImportedService::try_from(import.as_ref()).unwrap();
        snapshot.imports.insert(import);
    }
    // Every other member is connected.
    let mut gateway: model::Gateway = world.local.gateways[0].as_ref().try_into().unwrap();
    gateway.id.cluster = snapshot.cluster.clone();
    let others = BOTH.iter().filter(|other| **other != cluster);
    gateway.connections = others.map(|other| connection(other)).collect();
    snapshot.gateways.insert(gateway.id.clone(), gateway);

    let node = Node {
        name: "gw1".parse().unwrap(),
        uid: "uid".into(),
        addresses: vec![],
        pod_prefixes: PrefixSet::default(),
        is_gateway: true,
        is_ready: true,
    };
    let elements = clusterset::vip::vips(&snapshot, &node, &Ways::new()).elements;
    if elements.known.is_empty() {
        return None;
    }
    let ports = elements.slots.keys().chain(elements.sole.keys());
    let backends = ports
        .filter(|key| key.port == port)
        .flat_map(|key| elements.backends(key));
    Some(backends.map(|backend| backend.ip().to_string()).collect())
}

fn connection(cluster: &str) -> model::Connection {
    let remote = model::GatewayId {
        cluster: cluster.parse().unwrap(),
        node: "gw1".parse().unwrap(),
    };
    model::Connection::new(remote, model::ConnectionState::Connected)
}

fn pods(addresses: &[&str]) -> Option<BTreeSet<String>> {
    Some(addresses.iter().map(|address| (*address).to_owned()).collect())
}

const EAST_POD: &str = "10.1.0.7";
const WEST_POD: &str = "10.2.0.7";

#[test]
fn rule_23_what_is_not_exported_is_reached_from_nowhere() {
    let mut simulation = Simulation::of(&BOTH);
    add_service(simulation.member("east"), 1);
    simulation.settle();
    assert!(is_gone(&simulation));
    assert!(BOTH.iter().all(|cluster| leads_to(&simulation, cluster, 80).is_none()));
}

#[test]
fn rule_24_an_exported_cluster_ip_is_reached_from_all_clusters() {
    let simulation = exported(|_| {});
    for cluster in BOTH {
        assert_eq!(leads_to(&simulation, cluster, 80), pods(&[EAST_POD]), "{cluster}");
    }
}

#[test]
fn rule_25_of_a_service_in_both_only_the_exported_one_is_reached() {
    let simulation = exported(|s| add_service(s.member("west"), 2));
    for cluster in BOTH {
        assert_eq!(leads_to(&simulation, cluster, 80), pods(&[EAST_POD]), "{cluster}");
    }
}

#[test]
fn rule_26_a_conflicting_port_leads_only_to_the_winner() {
    let simulation = exported_by_both(|s| service(s, "west")["ports"] = port("http", 4242));
    for cluster in BOTH {
        assert_eq!(leads_to(&simulation, cluster, 80), pods(&[EAST_POD]), "{cluster}");
        assert_eq!(leads_to(&simulation, cluster, 4242), pods(&[]), "{cluster}");
    }
}

#[test]
fn rule_27_each_port_leads_only_to_the_cluster_that_exposes_it() {
    let simulation = exported_by_both(|s| {
        service(s, "west")["ports"] = port("other", 4242);
        s.member("west").get_mut("EndpointSlice", SHOP, "cart-x7z")["ports"][0]["name"] = json!("other");
    });
    for cluster in BOTH {
        assert_eq!(leads_to(&simulation, cluster, 80), pods(&[EAST_POD]), "{cluster}");
        assert_eq!(leads_to(&simulation, cluster, 4242), pods(&[WEST_POD]), "{cluster}");
    }
}

#[test]
fn a_service_that_is_deleted_takes_its_import_along() {
    let mut simulation = exported(|_| {});
    simulation.member("east").remove("Service", SHOP, "cart");
    simulation.settle();
    assert!(is_gone(&simulation));
    assert_eq!(
        simulation.condition("east", "ServiceExport", CART, "Valid"),
        "False NoService"
    );
}

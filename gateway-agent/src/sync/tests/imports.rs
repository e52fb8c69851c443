use serde_json::json;

use super::simulation::{Simulation, add_service, cluster, service_export};

const SYSTEM: Option<&str> = Some("tombolo-system");
const SHOP: Option<&str> = Some("shop");

fn exporting() -> Simulation {
    let mut simulation = Simulation::of(&["east", "west"]);
    add_service(simulation.member("east"), 1);
    simulation.member("east").put(service_export());
    simulation.settle();
    simulation
}

#[test]
fn an_export_is_told_mirrored_and_imported_everywhere() {
    let simulation = exporting();
    let told = simulation
        .broker
        .get("ExportedService", Some("tombolo-m-east"), "cart.shop")
        .expect("told");
    assert_eq!(told["spec"]["serviceIps"], json!(["10.101.0.9"]));
    assert_eq!(told["spec"]["readyCount"], 1);
    for member in ["east", "west"] {
        let table = &simulation.members[member];
        assert!(
            table.get("ExportedService", SYSTEM, "east.cart.shop").is_some(),
            "{member}"
        );
        let import = table.get("ServiceImport", SHOP, "cart").expect("imported");
        assert_eq!(import["spec"]["type"], "ClusterSetIP");
        assert_eq!(import["spec"]["ipFamilies"], json!(["IPv4"]));
        assert_eq!(import["spec"]["ports"][0]["port"], 80);
        assert_eq!(import["status"]["clusters"], json!([{"cluster": "east"}]));
        assert_eq!(
            simulation.condition(member, "ServiceImport", ("shop", "cart"), "Ready"),
            "True Ready"
        );
        let slice = table.get("EndpointSlice", SHOP, "cart.east.ipv4.0").expect("a slice");
        let labels = &slice["metadata"]["labels"];
        assert_eq!(labels["multicluster.kubernetes.io/service-name"], "cart");
        assert_eq!(labels["multicluster.kubernetes.io/source-cluster"], "east");
        assert_eq!(labels["endpointslice.kubernetes.io/managed-by"], "tombolo.dev");
        assert!(
            labels.get("kubernetes.io/service-name").is_none(),
            "kube-proxy must not take it for its own"
        );
        assert_eq!(
            slice["metadata"]["ownerReferences"][0]["uid"],
            import["metadata"]["uid"]
        );
        assert_eq!(slice["endpoints"][0]["addresses"], json!(["10.1.0.7"]));
    }
    let export = ("shop", "cart");
    assert_eq!(
        simulation.condition("east", "ServiceExport", export, "Valid"),
        "True Valid"
    );
    assert_eq!(
        simulation.condition("east", "ServiceExport", export, "Ready"),
        "True Exported"
    );
    assert_eq!(
        simulation.condition("east", "ServiceExport", export, "Conflict"),
        "False NoConflicts"
    );
}

#[test]
fn an_import_has_a_clusterset_ip_of_its_clusters_range_and_keeps_it() {
    let mut simulation = exporting();
    let ips = |simulation: &Simulation, member: &str| {
        simulation.members[member]
            .get("ServiceImport", SHOP, "cart")
            .expect("imported")["spec"]["ips"]
            .clone()
    };
    let first = ips(&simulation, "west");
    let texts: Vec<&str> = first
        .as_array()
        .unwrap()
        .iter()
        .map(|ip| ip.as_str().unwrap())
        .collect();
    assert!(matches!(texts[..], [ip] if ip.starts_with("244.174.")), "{texts:?}");

    // Another exporter, another leader, other imports: it stays.
    add_service(simulation.member("west"), 2);
    simulation.member("west").put(service_export());
    simulation.settle();
    simulation.member("east").remove("ServiceExport", SHOP, "cart");
    simulation.settle();
    assert_eq!(ips(&simulation, "west"), first);

    // Another range moves it, in this cluster only.
    let in_east = ips(&simulation, "east");
    simulation.member("west").get_mut("Cluster", SYSTEM, "west")["spec"]["clustersetIpRanges"] =
        json!(["100.99.0.0/16"]);
    simulation.settle();
    assert!(ips(&simulation, "west")[0].as_str().unwrap().starts_with("100.99."));
    assert_eq!(ips(&simulation, "east"), in_east);
    let told = simulation
        .broker
        .get("Cluster", Some("tombolo-m-west"), "west")
        .unwrap();
    assert!(
        told["spec"].get("clustersetIpRanges").is_none(),
        "nobody else's business"
    );
}

#[test]
fn an_import_of_a_family_without_a_range_says_so() {
    let mut simulation = exporting();
    simulation.member("west").get_mut("Cluster", SYSTEM, "west")["spec"]["clustersetIpRanges"] = json!(["fd99::/112"]);
    simulation.settle();
    let import = simulation.members["west"].get("ServiceImport", SHOP, "cart").unwrap();
    assert_eq!(
        (&import["spec"]["ips"], &import["spec"]["ipFamilies"]),
        (&json!([]), &json!([]))
    );
    let ready = simulation.condition("west", "ServiceImport", ("shop", "cart"), "Ready");
    assert_eq!(ready, "False Pending");
}

#[test]
fn the_end_of_an_export_cleans_up_everywhere() {
    let mut simulation = exporting();
    simulation.member("east").remove("ServiceExport", SHOP, "cart");
    simulation.settle();
    assert!(simulation.broker.names("ExportedService").is_empty());
    for member in ["east", "west"] {
        let table = &simulation.members[member];
        assert!(
            table.names("ServiceImport").is_empty() && table.names("ExportedService").is_empty(),
            "{member}"
        );
        assert!(
            table.get("EndpointSlice", SHOP, "cart.east.ipv4.0").is_none(),
            "{member}"
        );
    }
    assert!(
        simulation.members["east"]
            .get("EndpointSlice", SHOP, "cart-x7z")
            .is_some(),
        "not ours"
    );
}

#[test]
fn an_import_stays_while_another_cluster_exports() {
    let mut simulation = exporting();
    add_service(simulation.member("west"), 2);
    simulation.member("west").put(service_export());
    simulation.settle();
    let clusters = &simulation.members["east"].get("ServiceImport", SHOP, "cart").unwrap()["status"]["clusters"];
    assert_eq!(*clusters, json!([{"cluster": "east"}, {"cluster": "west"}]));
    simulation.member("east").remove("ServiceExport", SHOP, "cart");
    simulation.settle();
    let clusters = &simulation.members["east"].get("ServiceImport", SHOP, "cart").unwrap()["status"]["clusters"];
    assert_eq!(*clusters, json!([{"cluster": "west"}]));
}

#[test]
fn exporters_that_disagree_are_all_told() {
    let mut simulation = exporting();
    add_service(simulation.member("west"), 2);
    simulation.member("west").get_mut("Service", SHOP, "cart")["spec"]["ports"][0]["port"] = json!(8080);
    simulation.member("west").put(service_export());
    simulation.settle();
    for member in ["east", "west"] {
        let conflict = simulation.condition(member, "ServiceExport", ("shop", "cart"), "Conflict");
        assert_eq!(conflict, "True PortConflict", "{member}");
    }
}

#[test]
fn a_service_that_cannot_be_exported_has_a_reason() {
    let mut simulation = Simulation::of(&["east"]);
    simulation.member("east").put(service_export());
    simulation.settle();
    let condition = |s: &Simulation, kind| s.condition("east", "ServiceExport", ("shop", "cart"), kind);
    assert_eq!(condition(&simulation, "Valid"), "False NoService");
    assert_eq!(condition(&simulation, "Ready"), "False Failed");
    add_service(simulation.member("east"), 1);
    simulation.member("east").get_mut("Service", SHOP, "cart")["spec"] =
        json!({"type": "ExternalName", "externalName": "example.org"});
    simulation.settle();
    assert_eq!(condition(&simulation, "Valid"), "False InvalidServiceType");
    assert!(simulation.members["east"].names("ServiceImport").is_empty());
}

#[test]
fn an_import_waits_for_its_namespace() {
    let mut simulation = exporting();
    let namespace = simulation.members["west"]
        .get("Namespace", None, "shop")
        .unwrap()
        .clone();
    simulation.member("west").remove("Namespace", None, "shop");
    simulation.member("west").remove("ServiceImport", SHOP, "cart");
    simulation
        .member("west")
        .remove("EndpointSlice", SHOP, "cart.east.ipv4.0");
    simulation.settle();
    assert!(simulation.members["west"].names("ServiceImport").is_empty());
    simulation.member("west").put(namespace);
    simulation.settle();
    assert_eq!(simulation.members["west"].names("ServiceImport"), ["shop/cart"]);
}

#[test]
fn exported_labels_reach_the_import_and_leave_it_again() {
    let mut simulation = exporting();
    let export = simulation.member("east").get_mut("ServiceExport", SHOP, "cart");
    export["spec"] = json!({"exportedLabels": {"tier": "gold", "app.kubernetes.io/managed-by": "nobody"}});
    simulation.settle();
    let labels =
        |s: &Simulation| s.members["west"].get("ServiceImport", SHOP, "cart").unwrap()["metadata"]["labels"].clone();
    assert_eq!(
        labels(&simulation),
        json!({"app.kubernetes.io/managed-by": "tombolo", "tier": "gold"})
    );
    simulation.member("east").get_mut("ServiceExport", SHOP, "cart")["spec"] = json!({});
    simulation.settle();
    assert_eq!(labels(&simulation), json!({"app.kubernetes.io/managed-by": "tombolo"}));
}

#[test]
fn local_exports_resolve_without_the_broker() {
    let mut simulation = exporting();
    simulation.is_broker_away = true;
    add_service(simulation.member("west"), 2);
    simulation.member("west").put(service_export());
    simulation.settle();
    let west = &simulation.members["west"];
    assert!(west.get("ExportedService", SYSTEM, "west.cart.shop").is_some());
    assert!(west.get("EndpointSlice", SHOP, "cart.west.ipv4.0").is_some());
    assert!(
        west.get("EndpointSlice", SHOP, "cart.east.ipv4.0").is_some(),
        "what was known stays"
    );
    let ready = |s: &Simulation, member| s.condition(member, "ServiceExport", ("shop", "cart"), "Ready");
    assert_eq!(ready(&simulation, "west"), "False Pending");
    assert_eq!(ready(&simulation, "east"), "True Exported");
    simulation.is_broker_away = false;
    simulation.settle();
    assert_eq!(ready(&simulation, "west"), "True Exported");
}

/// A host-network pod: the own cluster's nodes reach it, the others use the service's own IP.
#[test]
fn endpoints_outside_the_pod_prefixes_are_told_at_home_only() {
    let mut simulation = exporting();
    let slice = simulation.member("east").get_mut("EndpointSlice", SHOP, "cart-x7z");
    slice["endpoints"] = json!([{"addresses": ["192.0.2.1"]}]);
    simulation.settle();
    let home = simulation.members["east"]
        .get("ExportedService", SYSTEM, "east.cart.shop")
        .unwrap();
    assert_eq!(home["spec"]["endpoints"][0]["address"], "192.0.2.1");
    let told = simulation.members["west"]
        .get("ExportedService", SYSTEM, "east.cart.shop")
        .unwrap();
    assert_eq!(
        (&told["spec"]["endpoints"], &told["spec"]["readyCount"]),
        (&json!([]), &json!(1))
    );
}

#[test]
fn addresses_outside_a_members_claims_are_not_believed() {
    let mut simulation = exporting();
    let told = simulation
        .broker
        .get_mut("ExportedService", Some("tombolo-m-east"), "cart.shop");
    told["spec"]["endpoints"] = json!([{"address": "10.2.0.66"}, {"address": "10.1.0.7"}]);
    told["spec"]["serviceIps"] = json!(["10.102.0.1"]);
    simulation.step("west", &Default::default());
    let mirror = simulation.members["west"]
        .get("ExportedService", SYSTEM, "east.cart.shop")
        .unwrap();
    assert_eq!(mirror["spec"]["endpoints"].as_array().unwrap().len(), 1);
    assert_eq!(mirror["spec"]["serviceIps"], json!([]));
}

#[test]
fn a_younger_claim_of_the_same_prefix_is_refused_on_both_sides() {
    let mut simulation = exporting();
    let west = simulation.member("west").get_mut("Cluster", SYSTEM, "west");
    west["spec"]["podPrefixes"] = cluster("x", "x", 1)["spec"]["podPrefixes"].clone();
    simulation.settle();
    for member in ["east", "west"] {
        let condition = |of| simulation.condition(member, "Cluster", ("tombolo-system", of), "Accepted");
        assert_eq!(condition("west"), "False PrefixOverlap", "{member}");
        assert_eq!(condition("east"), "True PrefixOverlap", "{member}");
    }
}

#[test]
fn without_the_mcs_api_exports_and_imports_are_left_alone() {
    let mut simulation = exporting();
    simulation.is_mcs_absent = true;
    for (member, kind, name) in [("east", "ServiceExport", "cart"), ("east", "ServiceImport", "cart")] {
        simulation.member(member).remove(kind, SHOP, name);
    }
    simulation.settle();
    assert!(
        simulation
            .broker
            .get("ExportedService", Some("tombolo-m-east"), "cart.shop")
            .is_some()
    );
    assert!(
        simulation.members["east"]
            .get("EndpointSlice", SHOP, "cart.east.ipv4.0")
            .is_some()
    );
}

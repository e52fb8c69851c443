use std::collections::BTreeSet;

use serde_json::json;

use super::simulation::{Simulation, add_service, cluster, gateway, node, service_export};
use crate::sync::round::Patience;

const SYSTEM: Option<&str> = Some("tombolo-system");
const EAST: Option<&str> = Some("tombolo-m-east");

fn joined() -> Simulation {
    let mut simulation = Simulation::of(&["east", "west"]);
    add_service(simulation.member("east"), 1);
    simulation.member("east").put(service_export());
    simulation.settle();
    simulation
}

#[test]
fn members_know_each_other_with_the_age_that_the_broker_gives() {
    let simulation = joined();
    for member in ["east", "west"] {
        let table = &simulation.members[member];
        assert_eq!(
            table.names("Gateway"),
            ["tombolo-system/east.gw1", "tombolo-system/west.gw1"]
        );
        for of in ["east", "west"] {
            let source = simulation
                .broker
                .get("Cluster", Some(&format!("tombolo-m-{of}")), of)
                .unwrap();
            let mirror = table.get("Cluster", SYSTEM, of).unwrap();
            assert_eq!(mirror["spec"]["claimedAt"], source["metadata"]["creationTimestamp"]);
            assert_eq!(mirror["spec"]["claimUid"], source["metadata"]["uid"]);
            assert!(source["spec"].get("claimedAt").is_none(), "age is the broker's to tell");
            assert_eq!(
                simulation.condition(member, "Cluster", ("tombolo-system", of), "Accepted"),
                "True Accepted"
            );
        }
    }
}

#[test]
fn a_node_that_is_no_gateway_any_more_has_no_gateway_object() {
    let mut simulation = joined();
    simulation.member("east").put(node("gw2"));
    simulation
        .member("east")
        .put(gateway("tombolo-system", "east.gw2", "east", "gw2"));
    simulation.settle();
    assert!(simulation.members["west"].get("Gateway", SYSTEM, "east.gw2").is_some());
    simulation.member("east").get_mut("Node", None, "gw2")["metadata"]["labels"] = json!({});
    simulation.settle();
    assert!(simulation.broker.get("Gateway", EAST, "gw2").is_none());
    for member in ["east", "west"] {
        assert!(
            simulation.members[member].get("Gateway", SYSTEM, "east.gw2").is_none(),
            "{member}"
        );
    }
}

#[test]
fn malformed_objects_are_named_and_everything_else_goes_on() {
    let mut simulation = joined();
    let mut bad = cluster("tombolo-m-south", "south", 3);
    bad["spec"]["podPrefixes"] = json!(["10.3.0.1/16"]);
    simulation.broker.put(bad);
    simulation.broker.put(gateway("tombolo-m-west", "liar", "east", "liar"));
    simulation.broker.put(gateway("tombolo-m-west", "other", "west", "gw9"));
    let own = simulation.broker.get_mut("Gateway", EAST, "gw1");
    own["spec"]["publicKey"] = json!("nope");
    let round = simulation.step(
        "west",
        &Patience {
            may_prune: true,
            ..Patience::default()
        },
    );
    assert!(
        round
            .rejected
            .iter()
            .any(|why| why.contains("Gateway tombolo-m-east/gw1") && why.contains("publicKey"))
    );
    assert!(
        simulation.members["west"].get("Gateway", SYSTEM, "east.gw1").is_some(),
        "the last good one stays"
    );
    let rounds = simulation.settle();
    let rejected = rounds["east"].rejected.join("\n");
    assert_eq!(rounds["east"].rejected.len(), 3, "{rejected}");
    for text in [
        "tombolo-m-south/south",
        "write 10.3.0.0/16",
        "believed only for itself",
        "its name must be \"gw9\"",
    ] {
        assert!(rejected.contains(text), "{text} is not in: {rejected}");
    }
    assert!(simulation.members["east"].get("Gateway", SYSTEM, "west.gw9").is_none());
    assert!(simulation.members["east"].get("Gateway", SYSTEM, "west.gw1").is_some());
}

#[test]
fn an_evicted_member_falls_silent_and_the_others_drop_it() {
    let mut simulation = joined();
    simulation.broker.get_mut("Cluster", EAST, "east")["spec"]["state"] = json!("Evicted");
    simulation.settle();
    let west = &simulation.members["west"];
    assert_eq!(west.get("Cluster", SYSTEM, "east").unwrap()["spec"]["state"], "Evicted");
    assert_eq!(west.names("Gateway"), ["tombolo-system/west.gw1"]);
    assert!(west.names("ServiceImport").is_empty() && west.names("ExportedService").is_empty());
    assert_eq!(
        simulation.condition("east", "Cluster", ("tombolo-system", "east"), "Accepted"),
        "False Evicted"
    );
    assert_eq!(
        simulation.condition("east", "ServiceExport", ("shop", "cart"), "Ready"),
        "False Failed"
    );
    let state = &simulation.broker.get("Cluster", EAST, "east").unwrap()["spec"]["state"];
    assert_eq!(state, "Evicted", "the member does not write over the eviction");
}

#[test]
fn a_member_that_leaves_tells_only_that() {
    let mut simulation = joined();
    simulation.member("east").get_mut("Cluster", SYSTEM, "east")["spec"]["state"] = json!("Leaving");
    simulation.settle();
    assert_eq!(
        simulation.broker.get("Cluster", EAST, "east").unwrap()["spec"]["state"],
        "Leaving"
    );
    assert!(simulation.broker.get("Gateway", EAST, "gw1").is_none());
    assert!(simulation.broker.names("ExportedService").is_empty());
    let east = &simulation.members["east"];
    assert_eq!(east.names("Cluster"), ["tombolo-system/east"]);
    assert!(east.names("ServiceImport").is_empty() && east.names("ExportedService").is_empty());
    let west = &simulation.members["west"];
    assert!(west.names("ServiceImport").is_empty());
    assert_eq!(west.names("Gateway"), ["tombolo-system/west.gw1"]);
}

#[test]
fn a_tombstone_that_is_swept_takes_its_mirror_along() {
    let mut simulation = joined();
    simulation.broker.get_mut("Cluster", EAST, "east")["spec"]["state"] = json!("Evicted");
    simulation.settle();
    simulation.members.remove("east");
    simulation.broker.remove("Cluster", EAST, "east");
    simulation.settle();
    assert_eq!(simulation.members["west"].names("Cluster"), ["tombolo-system/west"]);
}

#[test]
fn absence_is_not_removal() {
    let mut simulation = joined();
    simulation.members.remove("east");
    for (kind, name) in [
        ("Cluster", "east"),
        ("Gateway", "gw1"),
        ("ExportedService", "cart.shop"),
    ] {
        simulation.broker.remove(kind, EAST, name);
    }
    let rounds = simulation.settle();
    let east: BTreeSet<_> = ["east".parse().unwrap()].into();
    assert_eq!(rounds["west"].gone, east);
    let west = &simulation.members["west"];
    assert!(west.get("Gateway", SYSTEM, "east.gw1").is_some());
    assert!(west.get("ServiceImport", Some("shop"), "cart").is_some());

    simulation.member("west").get_mut("Gateway", SYSTEM, "west.gw1")["status"] = json!({
        "connections": [{"clusterId": "east", "node": "gw1", "state": "connected"}],
    });
    assert!(
        simulation.settle()["west"].gone.is_empty(),
        "a live cable is a sign of life"
    );

    simulation.settle_with(&Patience {
        may_prune: true,
        removed: east,
    });
    let west = &simulation.members["west"];
    assert_eq!(west.names("Cluster"), ["tombolo-system/west"]);
    assert!(west.names("ServiceImport").is_empty());
}

#[test]
fn what_a_person_put_there_is_never_touched() {
    let mut simulation = joined();
    let east = simulation.member("east");
    east.put(cluster("tombolo-system", "stock", 9));
    east.put(gateway("tombolo-system", "stock.peer", "stock", "peer"));
    east.put(json!({
        "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceImport",
        "metadata": {"name": "theirs", "namespace": "shop"}, "spec": {"type": "Headless", "ports": []},
    }));
    simulation.settle_with(&Patience {
        may_prune: true,
        removed: ["stock".parse().unwrap()].into(),
    });
    let east = &simulation.members["east"];
    assert!(east.get("Cluster", SYSTEM, "stock").is_some() && east.get("Gateway", SYSTEM, "stock.peer").is_some());
    assert!(east.get("ServiceImport", Some("shop"), "theirs").is_some());
    assert!(simulation.broker.get("Gateway", EAST, "peer").is_none());
}

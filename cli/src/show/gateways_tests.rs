use serde_json::{Value, json};

use super::*;

fn gateway(cluster: &str, node: &str, active: bool, connections: &Value) -> Gateway {
    let status = if connections.is_null() {
        Value::Null
    } else {
        json!({ "connections": connections })
    };
    serde_json::from_value(json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "Gateway", "metadata": { "name": format!("{cluster}.{node}") },
        "spec": { "clusterId": cluster, "node": node, "publicKey": "", "port": 4510, "active": active,
            "addresses": [{ "type": "private", "ip": "192.0.2.20" }] },
        "status": status,
    }))
    .unwrap()
}

fn cluster(id: &str, pods: &str, services: &str) -> Cluster {
    serde_json::from_value(json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "Cluster", "metadata": { "name": id },
        "spec": { "clusterId": id, "podPrefixes": [pods], "servicePrefixes": [services], "protocol": { "min": 1, "max": 1 } },
    }))
    .unwrap()
}

fn connected() -> Value {
    json!({
        "clusterId": "west", "node": "west-gw1", "state": "connected", "remoteAddress": "192.0.2.20:4510",
        "rtt": { "lastMicros": 400, "p50Micros": 310, "p99Micros": 900 }, "lossPercent": 0.0, "mtu": 1420,
        "lastHandshakeTime": "2026-01-01T00:00:00Z", "rxBytes": 4_402_341_479_u64, "txBytes": 956_301_312_u64,
    })
}

fn world(connections: &Value) -> World {
    World {
        own: "east".into(),
        clusters: vec![
            cluster("east", "10.20.0.0/16", "10.120.0.0/16"),
            cluster("west", "10.21.0.0/16", "10.121.0.0/16"),
        ],
        gateways: vec![
            gateway("east", "east-gw1", true, connections),
            gateway("west", "west-gw1", true, &Value::Null),
        ],
        live_agents: ["east-gw1".to_owned()].into(),
        ..World::default()
    }
}

fn now() -> Timestamp {
    "2026-01-01T00:00:12Z".parse().unwrap()
}

#[test]
fn a_first_look_shows_what_the_design_promises() {
    let report = report(&world(&json!([connected()])), now());
    let expected = "\
CLUSTER  GATEWAY   ROLE    REMOTE  REMOTE IP   PATH    CABLE      SUBNETS                     STATUS     RTT P50  LOSS  MTU   HANDSHAKE  RX      TX      MESSAGE
east     east-gw1  active  west    192.0.2.20  direct  wireguard  10.21.0.0/16,10.121.0.0/16  connected  0.31ms   0%    1420  12s ago    4.1GiB  912MiB  -
";
    assert_eq!(report.table(false).render(false), expected);
    assert_eq!(report.trouble(), None);
}

#[test]
fn a_working_cable_to_the_active_gateway_is_the_one_shown() {
    let broken = json!({ "clusterId": "west", "node": "a", "state": "error", "message": "no answer" });
    let report = report(&world(&json!([broken, connected()])), now());
    assert_eq!(report.gateways.len(), 1);
    assert_eq!(report.gateways[0].remote_gateway, "west-gw1");
}

#[test]
fn the_last_words_of_a_dead_agent_are_not_believed() {
    let mut world = world(&json!([connected()]));
    world.live_agents.clear();
    let report = report(&world, now());
    assert_eq!(report.gateways[0].status, "unknown");
    assert!(report.gateways[0].message.contains("last reported: connected"));
    assert!(report.trouble().unwrap().contains("east-gw1 to west: unknown"));
}

#[test]
fn a_member_without_a_cable_is_a_row_and_trouble() {
    let report = report(&world(&json!([])), now());
    assert_eq!(report.gateways[0].status, "connecting");
    assert_eq!(report.gateways[0].message, "no gateway of west is known yet");
    assert!(report.trouble().is_some());
}

#[test]
fn the_only_member_has_no_peers_and_no_trouble() {
    let mut world = world(&json!([]));
    world.clusters.truncate(1);
    let report = report(&world, now());
    assert_eq!(report.gateways[0].message, "no peers yet");
    assert_eq!(report.trouble(), None);
}

#[test]
fn without_a_gateway_nothing_is_good() {
    let report = report(
        &World {
            own: "east".into(),
            ..World::default()
        },
        now(),
    );
    assert!(report.trouble().unwrap().contains("has no gateway yet"));
}

use serde_json::{Value, json};

use super::*;

fn own_gateway(connections: &Value) -> Gateway {
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    serde_json::from_value(json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": "Gateway", "metadata": { "name": "east.gw1" },
        "spec": { "clusterId": "east", "node": "gw1", "publicKey": "", "port": 4510 },
        "status": {
            "connections": connections,
            "conditions": [condition("Ready"), condition("SyncedWithBroker"), condition("ClusterDnsAnswers")],
        },
    }))
    .unwrap()
}

fn ready(connections: &Value) -> Observed {
    Observed {
        gateway_nodes: vec!["gw1".into()],
        nodes: vec!["gw1".into()],
        clusters: vec![],
        gateways: vec![own_gateway(connections)],
        route_agents: vec![
            serde_json::from_value(json!({
                "apiVersion": "tombolo.dev/v1alpha1", "kind": "RouteAgent", "metadata": { "name": "gw1" },
                "spec": { "node": "gw1" },
                "status": { "conditions": [{ "type": "Ready", "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
            }))
            .unwrap(),
        ],
        dns: Some(serde_json::from_value(json!({ "status": { "readyReplicas": 1 } })).unwrap()),
    }
}

fn expected(peers: &[&str]) -> Expected {
    Expected {
        own: "east".parse().unwrap(),
        peers: peers.iter().map(|id| id.parse().unwrap()).collect(),
        dns_edited: true,
    }
}

fn cable(cluster: &str, state: &str, message: &str) -> Value {
    json!({ "clusterId": cluster, "node": "w1", "state": state, "message": message })
}

#[test]
fn the_first_cluster_is_done_when_its_own_side_is() {
    let verdict = judge(&ready(&json!([])), &expected(&[]), None);
    assert_eq!(
        verdict,
        Verdict::Done {
            connected: vec![],
            dead: vec![]
        }
    );
}

#[test]
fn nothing_running_yet_is_listed_by_name() {
    let observed = Observed {
        gateway_nodes: vec!["gw1".into()],
        nodes: vec!["gw1".into(), "w1".into()],
        ..Observed::default()
    };
    let Verdict::Waiting(missing) = judge(&observed, &expected(&[]), None) else {
        panic!("it should wait");
    };
    assert_eq!(
        missing,
        [
            "gateway on gw1",
            "route agent on gw1",
            "route agent on w1",
            "exchange with the broker",
            "lighthouse-dns"
        ]
    );
}

#[test]
fn the_zone_is_proven_only_where_cluster_dns_was_told() {
    let mut observed = ready(&json!([]));
    let status = observed.gateways[0].status.as_mut().unwrap();
    status.conditions.retain(|c| c.type_ != condition::CLUSTER_DNS);
    let told = expected(&[]);
    assert_eq!(own_side(&observed, &told), ["clusterset.local through cluster DNS"]);
    let untold = Expected {
        dns_edited: false,
        ..told
    };
    assert_eq!(own_side(&observed, &untold), Vec::<String>::new());
}

#[test]
fn every_live_cluster_needs_a_proven_path() {
    let cables = json!([
        cable("west", "connected", ""),
        cable("north", "connecting", "no handshake yet")
    ]);
    let verdict = judge(
        &ready(&cables),
        &expected(&["north", "west"]),
        Some(Duration::from_secs(60)),
    );
    assert_eq!(
        verdict,
        Verdict::Waiting(vec!["a path to north (no handshake yet)".into()])
    );
}

#[test]
fn a_dead_cluster_is_listed_after_a_while_and_not_waited_for() {
    let cables = json!([
        cable("west", "connected", ""),
        cable("north", "error", "no answer from 192.0.2.9:4510")
    ]);
    let observed = ready(&cables);
    let judged = |seconds| {
        judge(
            &observed,
            &expected(&["north", "west"]),
            Some(Duration::from_secs(seconds)),
        )
    };
    assert!(matches!(judged(1), Verdict::Waiting(_)));
    assert_eq!(
        judged(15),
        Verdict::Done {
            connected: vec!["west".parse().unwrap()],
            dead: vec![("north".parse().unwrap(), "no answer from 192.0.2.9:4510".into())],
        }
    );
}

#[test]
fn a_refused_claim_ends_the_wait() {
    let mut observed = ready(&json!([]));
    observed.clusters = vec![
        serde_json::from_value(json!({
            "apiVersion": "tombolo.dev/v1alpha1", "kind": "Cluster", "metadata": { "name": "east" },
            "spec": { "clusterId": "east", "protocol": { "min": 1, "max": 1 } },
            "status": { "conditions": [{ "type": "Accepted", "status": "False", "reason": "PrefixOverlap",
                "message": "10.1.0.0/16 belongs to west", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        }))
        .unwrap(),
    ];
    assert_eq!(
        judge(&observed, &expected(&["west"]), None),
        Verdict::Refused("PrefixOverlap: 10.1.0.0/16 belongs to west".into())
    );
}

use k8s_api::{Cluster, ExportedService, Gateway};
use serde_json::{Value, json};

use super::facts::Facts;
use super::walk::*;
use crate::show::world::World;

fn object<T: serde::de::DeserializeOwned>(kind: &str, spec: &Value, status: &Value) -> T {
    serde_json::from_value(json!({
        "apiVersion": "tombolo.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec, "status": status,
    }))
    .unwrap()
}

fn condition(kind: &str, status: &str) -> Value {
    json!({"type": kind, "status": status, "reason": "Why", "message": "because", "lastTransitionTime": "2026-01-01T00:00:00Z"})
}

fn exported(cluster: &str, ready: u32) -> ExportedService {
    let spec = json!({
        "clusterId": cluster, "namespace": "shop", "name": "cart", "type": "ClusterSetIP", "readyCount": ready,
        "ports": [{"port": 80, "protocol": "TCP"}], "exportedAt": "2026-01-01T00:00:00Z",
    });
    object("ExportedService", &spec, &Value::Null)
}

/// West, which imports what east exports; all is well.
fn well() -> Facts {
    let cluster = |id: &str| -> Cluster {
        object(
            "Cluster",
            &json!({"clusterId": id, "podPrefixes": [], "servicePrefixes": [], "state": "Active", "protocol": {"min": 1, "max": 1}}),
            &Value::Null,
        )
    };
    let gateway: Gateway = object(
        "Gateway",
        &json!({"clusterId": "west", "node": "gw1", "publicKey": "k", "addresses": [], "port": 4510}),
        &json!({
            "conditions": [condition("SyncedWithBroker", "True")],
            "connections": [{"clusterId": "east", "node": "gw1", "state": "connected", "message": "fine"}],
        }),
    );
    let import = json!({"metadata": {"name": "cart"}, "spec": {"type": "ClusterSetIP", "ports": [{"port": 80}], "ips": ["243.0.0.9"]}});
    let slice = json!({"addressType": "IPv4", "metadata": {}, "endpoints": [{"addresses": ["10.1.0.1"]}]});
    Facts {
        world: World {
            own: "west".to_owned(),
            clusters: vec![cluster("east"), cluster("west")],
            gateways: vec![gateway],
            exports: vec![exported("east", 2)],
            wishes: Vec::new(),
            imports: Vec::new(),
            live_agents: ["gw1".to_owned()].into(),
        },
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
        has_namespace: true,
        import: Some(serde_json::from_value(import).unwrap()),
        slices: vec![serde_json::from_value(slice).unwrap()],
        ..Facts::default()
    }
}

fn fails_at(facts: &Facts) -> (&'static str, String) {
    let steps = walk(facts);
    let step = failure(&steps).expect("something is wrong");
    assert_eq!(steps.last(), Some(step), "it stops there");
    (step.name, format!("{} {}", step.detail, step.mend))
}

#[test]
fn nothing_is_wrong_when_all_is_well() {
    let steps = walk(&well());
    assert!(steps.iter().all(|step| step.outcome == Outcome::Good), "{steps:?}");
    assert_eq!(steps.last().unwrap().detail, "243.0.0.9");
}

#[test]
fn it_stops_at_the_first_thing_that_is_wrong() {
    let mut facts = well();
    facts.slices.clear();
    assert_eq!(fails_at(&facts).0, "slices");
    facts.import = None;
    assert_eq!(fails_at(&facts).0, "import");
    facts.has_namespace = false;
    assert!(fails_at(&facts).1.contains("kubectl create namespace shop"));
    facts.world.gateways[0].status.as_mut().unwrap().connections[0].state = "error".to_owned();
    let (step, text) = fails_at(&facts);
    assert!(step == "cables" && text.contains("east: fine"), "{text}");
    facts.world.gateways.clear();
    assert_eq!(fails_at(&facts).0, "broker");
    facts.world.exports = vec![exported("east", 0)];
    assert!(fails_at(&facts).1.contains("0 ready in east"));
    facts.world.exports.clear();
    assert!(fails_at(&facts).1.contains("tombolo export service cart -n shop"));
}

#[test]
fn one_exporter_out_of_reach_is_no_failure_while_another_answers() {
    let mut facts = well();
    facts.world.exports.push(exported("north", 1));
    let steps = walk(&facts);
    assert!(failure(&steps).is_none());
    let cables = steps.iter().find(|step| step.name == "cables").unwrap();
    assert!(
        cables.outcome == Outcome::Warning && cables.detail.contains("north"),
        "{cables:?}"
    );
    facts.from = Some("north".to_owned());
    assert_eq!(fails_at(&facts).0, "cables");
}

#[test]
fn a_broker_that_is_away_is_a_warning() {
    let mut facts = well();
    facts.world.gateways[0].status.as_mut().unwrap().conditions[0].status = "False".to_owned();
    let steps = walk(&facts);
    assert!(
        failure(&steps).is_none() && steps.iter().any(|step| step.outcome == Outcome::Warning),
        "{steps:?}"
    );
}

#[test]
fn an_export_that_was_not_taken_says_why() {
    let mut facts = well();
    facts.world.exports.clear();
    let wish = json!({"metadata": {"name": "cart", "namespace": "shop"}, "spec": {}, "status": {"conditions": [condition("Valid", "False")]}});
    facts.world.wishes = vec![serde_json::from_value(wish).unwrap()];
    assert!(fails_at(&facts).1.contains("Why: because"));
}

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::decide;
use super::world::World;
use super::write::{Verb, Write};

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn node(name: &str, role: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"role": role}, "creationTimestamp": now()},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
}

fn three_nodes() -> World {
    World {
        nodes: ["gw1", "gw2", "worker"]
            .map(|name| object(node(name, if name == "worker" { "work" } else { "gateway" })))
            .to_vec(),
        ..World::default()
    }
}

fn template() -> Value {
    json!({
        "metadata": {"labels": {"app": "cart"}},
        "spec": {"nodeSelector": {"role": "gateway"}, "containers": [{"name": "c", "image": "i"}]},
    })
}

/// The writes as `kind/name verb`, with names cut at the first hash.
fn summary(writes: &[Write]) -> Vec<String> {
    let verb = |write: &Write| match &write.verb {
        Verb::Create(_) => "create".to_owned(),
        Verb::Replace(_) => "replace".to_owned(),
        Verb::Patch(change) => format!("patch {change}"),
        Verb::Status(_) | Verb::SharedStatus(_) => "status".to_owned(),
        Verb::Bind(node) => format!("bind {node}"),
        Verb::Delete(_) => "delete".to_owned(),
    };
    writes
        .iter()
        .map(|write| format!("{}/{} {}", write.kind(), write.name, verb(write)))
        .collect()
}

/// The objects that the writes create, as a test's world can take them in.
fn created(writes: &[Write], kind: &str) -> Vec<Value> {
    let created = writes
        .iter()
        .filter(|write| write.kind() == kind)
        .filter_map(|write| match &write.verb {
            Verb::Create(object) => {
                let mut object = object.clone();
                object["metadata"]["uid"] = write.name.clone().into();
                Some(object)
            }
            _ => None,
        });
    created.collect()
}

fn make_ready(pod: &mut Value) {
    pod["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
}

fn daemon_set(template: &Value) -> Value {
    json!({
        "metadata": {"name": "agent", "namespace": "n", "uid": "ds", "generation": 3},
        "spec": {"selector": {"matchLabels": {"app": "cart"}}, "template": template},
    })
}

#[test]
fn a_daemon_set_has_one_pod_on_each_matching_node_and_rolls_one_at_a_time() {
    let mut world = three_nodes();
    world.daemon_sets = vec![object(daemon_set(&template()))];
    let writes = decide(&world, now());
    let mut pods = created(&writes, "Pod");
    let nodes: Vec<&Value> = pods.iter().map(|pod| &pod["spec"]["nodeName"]).collect();
    assert_eq!(nodes, ["gw1", "gw2"]);
    assert_eq!(decide(&world, now()), writes, "deciding twice makes the same pods");

    pods.iter_mut().for_each(make_ready);
    world.pods = pods.iter().cloned().map(object).collect();
    let writes = decide(&world, now());
    let Verb::Status(status) = &writes[0].verb else {
        panic!("{writes:?}")
    };
    let status = &status["status"];
    assert_eq!(
        (&status["desiredNumberScheduled"], &status["numberReady"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        (&status["updatedNumberScheduled"], &status["observedGeneration"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(writes.len(), 1, "{:?}", summary(&writes));

    let mut newer = template();
    newer["spec"]["containers"][0]["image"] = "j".into();
    world.daemon_sets = vec![object(daemon_set(&newer))];
    let deleted = |writes: &[Write]| {
        writes
            .iter()
            .filter(|write| matches!(write.verb, Verb::Delete(_)))
            .count()
    };
    assert_eq!(deleted(&decide(&world, now())), 1, "one may be missing");
    pods[0]["status"] = json!({});
    world.pods = pods.iter().cloned().map(object).collect();
    let writes = decide(&world, now());
    assert_eq!(deleted(&writes), 1);
    assert_eq!(
        writes
            .iter()
            .find(|write| matches!(write.verb, Verb::Delete(_)))
            .unwrap()
            .name,
        pods[0]["metadata"]["name"]
    );
    pods[0]["metadata"]["deletionTimestamp"] = json!(now());
    world.pods = pods.into_iter().map(object).collect();
    let writes = decide(&world, now());
    assert!(
        created(&writes, "Pod").is_empty() && deleted(&writes) == 0,
        "the next waits until this one is gone"
    );
}

#[test]
fn a_daemon_set_leaves_a_node_that_no_longer_matches() {
    let mut world = three_nodes();
    world.daemon_sets = vec![object(daemon_set(&template()))];
    world.pods = created(&decide(&world, now()), "Pod").into_iter().map(object).collect();
    world.nodes[0] = object(node("gw1", "work"));
    let writes = summary(&decide(&world, now()));
    assert_eq!(
        writes.iter().filter(|write| write.ends_with("delete")).count(),
        1,
        "{writes:?}"
    );
}

#[test]
fn a_deployment_comes_to_ready_pods_spread_over_nodes_and_is_then_silent() {
    let mut world = three_nodes();
    let mut deployment = json!({
        "metadata": {"name": "cart", "namespace": "n", "uid": "dep", "generation": 1},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "cart"}}, "template": template()},
    });
    world.deployments = vec![object(deployment.clone())];
    let mut set = created(&decide(&world, now()), "ReplicaSet").remove(0);
    assert_eq!(set["spec"]["replicas"], 2);
    world.replica_sets = vec![object(set.clone())];
    let mut pods = created(&decide(&world, now()), "Pod");
    assert_eq!(pods.len(), 2);
    world.pods = pods.iter().cloned().map(object).collect();
    let mut nodes: Vec<String> = decide(&world, now())
        .into_iter()
        .filter_map(|write| match write.verb {
            Verb::Bind(node) => Some(node),
            _ => None,
        })
        .collect();
    nodes.sort();
    assert_eq!(
        nodes,
        ["gw1", "gw2"],
        "siblings go to different nodes, and none to the worker"
    );

    for (pod, node) in pods.iter_mut().zip(&nodes) {
        make_ready(pod);
        pod["spec"]["nodeName"] = node.clone().into();
    }
    world.pods = pods.into_iter().map(object).collect();
    for _ in 0..3 {
        for write in decide(&world, now()) {
            let Verb::Status(status) = write.verb else {
                panic!("{:?}", write.verb)
            };
            let target = if write.name == "cart" {
                &mut deployment
            } else {
                &mut set
            };
            target["status"] = status["status"].clone();
        }
        world.replica_sets = vec![object(set.clone())];
        world.deployments = vec![object(deployment.clone())];
    }
    assert_eq!(
        decide(&world, now() + SignedDuration::from_secs(1)),
        [],
        "nothing is left to write"
    );
    let status = &deployment["status"];
    assert_eq!(
        (&status["readyReplicas"], &status["updatedReplicas"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        (&status["conditions"][0]["status"], &status["observedGeneration"]),
        (&json!("True"), &json!(1))
    );
}

#[test]
fn a_pod_that_fits_nowhere_says_why_once() {
    let mut world = World {
        nodes: vec![object(node("worker", "work"))],
        ..World::default()
    };
    let mut pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": template()["spec"].clone()});
    world.pods = vec![object(pod.clone())];
    let writes = decide(&world, now());
    let Verb::SharedStatus(change) = &writes[0].verb else {
        panic!("{writes:?}")
    };
    assert!(
        change["status"]["conditions"][0]["message"]
            .as_str()
            .unwrap()
            .starts_with("0/1 nodes")
    );
    pod["status"] = change["status"].clone();
    world.pods = vec![object(pod)];
    assert_eq!(decide(&world, now()), []);
}

fn service(selector: &Value) -> Value {
    json!({
        "metadata": {"name": "cart", "namespace": "n", "uid": "svc"},
        "spec": {
            "selector": selector, "clusterIP": "10.0.0.1", "ipFamilies": ["IPv4", "IPv6"],
            "ports": [{"name": "http", "port": 80, "targetPort": "web"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        },
    })
}

fn backend(name: &str, is_ready: bool) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "n", "uid": name, "labels": {"app": "cart"}},
        "spec": {
            "nodeName": "gw1", "hostname": "h", "subdomain": "cart",
            "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}],
        },
        "status": {
            "podIP": "10.1.0.9", "podIPs": [{"ip": "10.1.0.9"}, {"ip": "fd00::9"}],
            "conditions": [{"type": "Ready", "status": if is_ready { "True" } else { "False" }}],
        },
    })
}

#[test]
fn slices_follow_the_pods_of_a_service() {
    let mut world = three_nodes();
    world.services = vec![object(service(&json!({"app": "cart"})))];
    let ending = {
        let mut pod = backend("ending", true);
        pod["metadata"]["deletionTimestamp"] = json!(now());
        pod
    };
    world.pods = vec![object(backend("a", true)), object(backend("b", false)), object(ending)];
    let writes = decide(&world, now());
    let slices = created(&writes, "EndpointSlice");
    let types: Vec<&Value> = slices.iter().map(|slice| &slice["addressType"]).collect();
    assert_eq!(types.len(), 2);
    let v4 = slices.iter().find(|slice| slice["addressType"] == "IPv4").unwrap();
    assert_eq!(v4["metadata"]["labels"]["kubernetes.io/service-name"], "cart");
    assert_eq!(v4["metadata"]["ownerReferences"][0]["uid"], "svc");
    assert_eq!(v4["ports"][0], json!({"name": "http", "port": 8080, "protocol": "TCP"}));
    assert_eq!(v4["ports"][1], json!({"name": "dns", "port": 53, "protocol": "UDP"}));
    let endpoints = &v4["endpoints"];
    assert_eq!(endpoints[0]["addresses"], json!(["10.1.0.9"]));
    assert_eq!(
        (&endpoints[0]["hostname"], &endpoints[0]["nodeName"]),
        (&json!("h"), &json!("gw1"))
    );
    let condition = |index: usize, name: &str| endpoints[index]["conditions"][name].as_bool().unwrap();
    assert!(condition(0, "ready") && !condition(0, "terminating"));
    assert!(!condition(1, "ready") && !condition(1, "serving"));
    assert!(!condition(2, "ready") && condition(2, "serving") && condition(2, "terminating"));

    world.slices = slices.into_iter().map(object).collect();
    assert_eq!(decide(&world, now()), [], "nothing is left to write");
    world.pods.truncate(1);
    let writes = summary(&decide(&world, now()));
    assert!(
        writes.len() == 2 && writes.iter().all(|write| write.ends_with("replace")),
        "{writes:?}"
    );
    world.services.clear();
    let writes = summary(&decide(&world, now()));
    assert!(
        writes.len() == 2 && writes.iter().all(|write| write.ends_with("delete")),
        "{writes:?}"
    );
}

#[test]
fn a_service_without_a_selector_is_nobodys_business() {
    let mut world = three_nodes();
    world.services = vec![object(service(&json!(null)))];
    world.pods = vec![object(backend("a", true))];
    assert_eq!(decide(&world, now()), []);
}

#[test]
fn a_silent_node_and_its_pods_are_no_longer_believed() {
    let mut world = three_nodes();
    let pod = backend("a", true);
    world.pods = vec![object(pod)];
    let at = |seconds: i64| now() + SignedDuration::from_secs(seconds);
    let lease = |name: &str, renewed: Timestamp| {
        let renewed = k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime(renewed);
        object(json!({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": renewed}}))
    };
    world.heartbeats = vec![lease("gw1", at(10)), lease("gw2", at(60)), lease("worker", at(60))];
    assert_eq!(decide(&world, at(50)), []);
    let writes = summary(&decide(&world, at(51)));
    assert_eq!(writes, ["Node/gw1 status", "Pod/a status"]);
}

#[test]
fn what_kubernetes_own_controllers_do_is_left_to_them() {
    let mut world = three_nodes();
    world.daemon_sets = vec![object(daemon_set(&template()))];
    assert!(!decide(&world, now()).is_empty());
    let lease =
        |name: &str| object(json!({"metadata": {"name": name}, "spec": {"renewTime": "1970-01-01T00:00:00.000000Z"}}));
    world.leaders = vec![lease("kube-controller-manager")];
    assert_eq!(summary(&decide(&world, now())), Vec::<String>::new());
    let later = now() + SignedDuration::from_secs(60);
    let pods = decide(&world, later);
    assert!(!created(&pods, "Pod").is_empty(), "its holder has stopped");

    // As the real controller leaves a pod to the scheduler.
    world.pods = vec![object(json!({
        "metadata": {"name": "agent-x", "namespace": "n", "uid": "u"},
        "spec": {"containers": [], "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["worker"]}]}],
        }}}},
    }))];
    assert_eq!(summary(&decide(&world, now())), ["Pod/agent-x bind worker"]);
    world.leaders.push(lease("kube-scheduler"));
    assert_eq!(summary(&decide(&world, now())), Vec::<String>::new());
}

//! Invite, join, join again, leave, evict, against API servers without nodes.

use crate::fixture::{COREFILE, Ran, Server};
use cli::token::InviteToken;
use serde_json::{Value, json};

const SYSTEM: &str = "tombolo-system";
const OURS: &str = "tombolo.dev/v1alpha1";

async fn corefile(cluster: &Server) -> String {
    let object = cluster.get("v1", "ConfigMap", "kube-system", "coredns").await.unwrap();
    object["data"]["Corefile"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_joins_stays_leaves_and_comes_back() {
    let broker = Server::broker().await;
    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    let token = broker.invite("east").await;

    let told = east.tombolo(&["join", &token, "--no-wait"]).await;
    let steps = told.errors();
    assert_eq!(told.ok(), "Cluster \"east\" has joined.\n");
    for step in [
        "worker-1, worker-2 (picked",
        "pods 10.1.0.0/16",
        "services 10.2.0.0/16",
        "no other member yet",
    ] {
        assert!(steps.contains(step), "\"{step}\" is not in: {steps}");
    }
    let claim = east.get(OURS, "Cluster", SYSTEM, "east").await.unwrap();
    assert_eq!(claim["spec"]["podPrefixes"], json!(["10.1.0.0/16"]));
    let node = east.get("v1", "Node", "", "worker-1").await.unwrap();
    assert_eq!(node["metadata"]["labels"]["tombolo.dev/gateway"], "true");
    let dns = east
        .get("v1", "Service", SYSTEM, "tombolo-lighthouse-dns")
        .await
        .unwrap();
    let ip = dns["spec"]["clusterIP"].as_str().unwrap();
    assert!(corefile(&east).await.contains(&format!("forward . {ip}")));
    assert_eq!(
        broker.get("v1", "Secret", "tombolo-m-east", "invite").await,
        None,
        "the invitation is over"
    );

    let again = east.tombolo(&["join", &token, "--no-wait", "-o", "json"]).await.ok();
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["unchanged"], true, "{again}");

    let told = east.tombolo(&["leave"]).await.ok();
    assert_eq!(told, "Cluster \"east\" has left.\n");
    assert_eq!(corefile(&east).await, COREFILE);
    assert_eq!(east.get("v1", "Namespace", "", SYSTEM).await, None);
    assert_eq!(broker.get("v1", "Namespace", "", "tombolo-m-east").await, None);
    let node = east.get("v1", "Node", "", "worker-1").await.unwrap();
    assert_eq!(node["metadata"]["labels"].get("tombolo.dev/gateway"), None);
    let crd = "serviceexports.multicluster.x-k8s.io";
    let crd = east
        .get("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", crd)
        .await;
    assert!(crd.is_some(), "users' ServiceExports stay");
    assert!(east.tombolo(&["leave"]).await.ok().contains("nothing to do"));

    let token = broker.invite("east").await;
    assert!(
        east.tombolo(&["join", &token, "--no-wait"])
            .await
            .ok()
            .contains("has joined")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_waits_for_what_the_agents_prove() {
    let broker = Server::broker().await;
    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    let token = broker.invite("east").await;
    let arguments = ["join", &token, "--gateway-nodes", "worker-1", "--timeout", "60s"];
    let mut join = east.command(&arguments);
    let join = join
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    east.await_object("apps/v1", "Deployment", SYSTEM, "tombolo-lighthouse-dns")
        .await;
    play_agents(&east).await;
    // The claim is all that is missing now, which the leader among the gateways writes.
    broker
        .apply(&json!({ "apiVersion": OURS, "kind": "Cluster", "metadata": { "name": "east", "namespace": "tombolo-m-east" },
        "spec": { "clusterId": "east", "podPrefixes": ["10.1.0.0/16"], "servicePrefixes": ["10.2.0.0/16"], "protocol": { "min": 1, "max": 1 } } }))
        .await;
    let told = Ran::from_output(join.wait_with_output().await.unwrap());
    let steps = told.errors();
    assert!(told.ok().contains("has joined"));
    assert!(steps.contains("no peers yet"), "{steps}");
}

/// Writes what healthy agents of a first cluster report.
async fn play_agents(east: &Server) {
    let healthy = |kinds: &[&str]| -> Value {
        let conditions: Vec<Value> = kinds
            .iter()
            .map(|kind| json!({ "type": kind, "status": "True", "reason": "Test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }))
            .collect();
        json!({ "conditions": conditions })
    };
    let key = format!("{}=", "A".repeat(43));
    east.apply(
        &json!({ "apiVersion": OURS, "kind": "Gateway", "metadata": { "name": "east.worker-1", "namespace": SYSTEM },
        "spec": { "clusterId": "east", "node": "worker-1", "publicKey": key, "port": 4510 } }),
    )
    .await;
    let gateway = healthy(&["Ready", "SyncedWithBroker", "ClusterDnsAnswers"]);
    east.report(OURS, "Gateway", SYSTEM, "east.worker-1", &gateway).await;
    for node in ["worker-1", "worker-2"] {
        east.apply(
            &json!({ "apiVersion": OURS, "kind": "RouteAgent", "metadata": { "name": node, "namespace": SYSTEM },
            "spec": { "node": node } }),
        )
        .await;
        east.report(OURS, "RouteAgent", SYSTEM, node, &healthy(&["Ready"]))
            .await;
    }
    let ready = json!({ "replicas": 2, "readyReplicas": 2 });
    east.report("apps/v1", "Deployment", SYSTEM, "tombolo-lighthouse-dns", &ready)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_that_ends_says_what_it_waited_for() {
    let broker = Server::broker().await;
    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    let token = broker.invite("east").await;
    let join = east.tombolo(&["join", &token, "--timeout", "300ms"]).await;
    join.fails(
        1,
        &[
            "gateway on worker-1",
            "route agent on worker-2",
            "lighthouse-dns",
            "join again",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_tokens_are_told_apart() {
    let broker = Server::broker().await;
    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    let token = broker.invite("east").await;
    let join = async |token: &str, more: &[&str]| east.tombolo(&[&["join", token, "--no-wait"], more].concat()).await;

    join("hello", &[])
        .await
        .fails(1, &["not a Tombolo token", "tombolo broker invite"]);
    join(&token[..token.len() - 3], &[]).await.fails(1, &["garbled"]);
    join(&token, &["--cluster-id", "west"])
        .await
        .fails(1, &["\"east\"", "\"west\""]);

    let mut expired = InviteToken::decode(&token).unwrap();
    expired.expires = "2020-01-01T00:00:00Z".parse().unwrap();
    join(&expired.encode(), &[])
        .await
        .fails(1, &["ended at 2020-01-01T00:00:00Z", "tombolo broker invite east"]);

    let elsewhere = Server::broker().await;
    let mut foreign = InviteToken::decode(&token).unwrap();
    foreign.url.clone_from(&elsewhere.url);
    join(&foreign.encode(), &[])
        .await
        .fails(1, &[&elsewhere.url, "not signed by the CA"]);

    let mut unreachable = InviteToken::decode(&token).unwrap();
    unreachable.url = "https://127.0.0.1:9".into();
    join(&unreachable.encode(), &[])
        .await
        .fails(1, &["https://127.0.0.1:9", "connection refused"]);
    assert_eq!(
        east.get("v1", "Namespace", "", SYSTEM).await,
        None,
        "nothing was changed so far"
    );

    join(&token, &[]).await.ok();
    let west = Server::cluster("10.3.0.0/16", "10.4.0.0/16").await;
    let used = west.tombolo(&["join", &token, "--no-wait"]).await;
    used.fails(1, &["used already", "--again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_and_taken_ids_are_refused() {
    let broker = Server::broker().await;
    let invite = async |more: &[&str]| broker.tombolo(&[&["broker", "invite"], more].concat()).await;
    invite(&["East_1"]).await.fails(2, &["East_1", "lower-case"]);
    let first = invite(&["east"]).await.ok();
    invite(&["east"])
        .await
        .fails(1, &["\"east\" is taken", "an invitation is open", "--again"]);
    let second = invite(&["east", "--again"]).await.ok();

    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    let first = east.tombolo(&["join", first.trim(), "--no-wait"]).await;
    first.fails(1, &["does not accept the token"]);
    east.tombolo(&["join", second.trim(), "--no-wait"]).await.ok();
    invite(&["east"]).await.fails(1, &["is joining", "--again"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_and_malformed_prefixes_are_refused_before_anything_changes() {
    let broker = Server::broker().await;
    broker.invite("east").await;
    // What east's sync leader would publish.
    broker
        .apply(&json!({ "apiVersion": OURS, "kind": "Cluster", "metadata": { "name": "east", "namespace": "tombolo-m-east" },
            "spec": { "clusterId": "east", "podPrefixes": ["10.1.0.0/16"], "servicePrefixes": ["10.2.0.0/16"],
                "protocol": { "min": 1, "max": 1 } } }))
        .await;
    let west = Server::cluster("10.1.4.0/24", "10.4.0.0/16").await;
    let token = broker.invite("west").await;
    let join = async |more: &[&str]| west.tombolo(&[&["join", &token, "--no-wait"], more].concat()).await;
    join(&[]).await.fails(
        1,
        &["10.1.4.0/24", "\"west\"", "10.1.0.0/16", "\"east\"", "--pod-prefix"],
    );
    join(&["--pod-prefix", "10.9.9.9/16"])
        .await
        .fails(1, &["--pod-prefix", "10.9.9.9/16", "write 10.9.0.0/16"]);
    join(&["--gateway-nodes", "nope"])
        .await
        .fails(1, &["\"nope\"", "worker-1, worker-2"]);
    assert_eq!(
        west.get("v1", "Namespace", "", SYSTEM).await,
        None,
        "nothing was changed"
    );

    join(&["--pod-prefix", "10.9.0.0/16"]).await.ok();
    // The flag is remembered: without it, nothing changes.
    assert!(join(&[]).await.ok().contains("unchanged"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_one_clusterset_does_not_slip_into_another() {
    let (first, second) = (Server::broker().await, Server::broker().await);
    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    east.tombolo(&["join", &first.invite("east").await, "--no-wait"])
        .await
        .ok();
    let join = east.tombolo(&["join", &second.invite("east").await, "--no-wait"]).await;
    join.fails(1, &["is a member already", &first.url, &second.url, "tombolo leave"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_member_has_no_access_and_can_still_leave() {
    let broker = Server::broker().await;
    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    east.tombolo(&["join", &broker.invite("east").await, "--no-wait"])
        .await
        .ok();
    broker
        .apply(&json!({ "apiVersion": OURS, "kind": "Cluster", "metadata": { "name": "east", "namespace": "tombolo-m-east" },
            "spec": { "clusterId": "east", "protocol": { "min": 1, "max": 1 } } }))
        .await;
    broker
        .tombolo(&["broker", "evict", "nobody"])
        .await
        .fails(1, &["\"nobody\"", "it has: east"]);
    broker.tombolo(&["broker", "evict", "east"]).await.ok();
    let tombstone = broker.get(OURS, "Cluster", "tombolo-m-east", "east").await.unwrap();
    assert_eq!(tombstone["spec"]["state"], "Evicted");
    assert!(broker.tombolo(&["broker", "status"]).await.ok().contains("evicted"));

    let left = east.tombolo(&["leave"]).await;
    let warnings = left.errors();
    assert!(warnings.contains("tombolo broker evict east"), "{warnings}");
    assert!(left.ok().contains("has left"));

    let token = broker.invite("east").await;
    east.tombolo(&["join", &token, "--no-wait"]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_writes_in_its_own_room_only() {
    let broker = Server::broker().await;
    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    east.tombolo(&["join", &broker.invite("east").await, "--no-wait"])
        .await
        .ok();
    broker.invite("west").await;
    let cluster = cli::connect::KubeTarget {
        kubeconfig: Some(east.kubeconfig.clone()),
        context: None,
    };
    let cluster = cluster.connect("cluster").await.unwrap();
    let member = cli::membership::Membership::read(&cluster).await.unwrap().unwrap();
    let member = member.connect().unwrap();
    let claim = |namespace: &str, id: &str| {
        json!({ "apiVersion": OURS, "kind": "Cluster", "metadata": { "name": id, "namespace": namespace },
            "spec": { "clusterId": id, "protocol": { "min": 1, "max": 1 } } })
    };
    cli::apply::apply(&member, &claim("tombolo-m-east", "east"))
        .await
        .unwrap();
    let refused = cli::apply::apply(&member, &claim("tombolo-m-west", "west"))
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("403"), "{refused}");
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "invite", "namespace": "tombolo-m-west" } });
    assert!(
        cli::apply::apply(&member, &secret)
            .await
            .unwrap_err()
            .to_string()
            .contains("403")
    );
}

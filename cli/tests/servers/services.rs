//! Export, unexport, show: what they refuse, and what they tell.

use crate::fixture::{Ran, Server};
use serde_json::json;

async fn joined() -> (Server, Server) {
    let broker = Server::broker().await;
    let east = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    east.tombolo(&["join", &broker.invite("east").await, "--no-wait"])
        .await
        .ok();
    east.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }))
        .await;
    (broker, east)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_can_be_exported_is() {
    let (_broker, east) = joined().await;
    let export = async |name: &str, more: &[&str]| {
        east.tombolo(&[&["export", "service", name, "-n", "shop"], more].concat())
            .await
    };
    export("cart", &[]).await.fails(1, &["no Service shop/cart", &east.url]);
    east.apply(
        &json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "alias", "namespace": "shop" },
        "spec": { "type": "ExternalName", "externalName": "example.net" } }),
    )
    .await;
    export("alias", &[]).await.fails(1, &["shop/alias", "ExternalName"]);
    east.apply(
        &json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "cart", "namespace": "shop" },
        "spec": { "selector": { "app": "cart" }, "ports": [{ "port": 80 }] } }),
    )
    .await;
    export("cart", &["--timeout", "200ms"])
        .await
        .fails(1, &["shop/cart", "not told within 200ms"]);
    let told = export("cart", &["--no-wait"]).await.ok();
    assert!(
        told.contains("already: unchanged") && told.contains("cart.shop.svc.clusterset.local"),
        "{told}"
    );

    let status = json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": "Exported", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z" }] });
    east.report(
        "multicluster.x-k8s.io/v1beta1",
        "ServiceExport",
        "shop",
        "cart",
        &status,
    )
    .await;
    export("cart", &[]).await.ok();

    let unexport = async || east.tombolo(&["unexport", "service", "cart", "-n", "shop"]).await;
    unexport().await.ok();
    unexport().await.fails(1, &["shop/cart is not exported"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_not_good_before_an_agent_says_so() {
    let outsider = Server::cluster("10.1.0.0/16", "10.2.0.0/16").await;
    outsider
        .tombolo(&["show", "gateways"])
        .await
        .fails(1, &["is no member", "tombolo join"]);

    let (_broker, east) = joined().await;
    east.tombolo(&["show", "gateways"])
        .await
        .fails(3, &["\"east\" has no gateway yet"]);
    let clusters = east.tombolo(&["show", "clusters", "-o", "json"]).await.ok();
    let clusters: serde_json::Value = serde_json::from_str(&clusters).unwrap();
    assert_eq!(clusters["clusters"][0]["clusterId"], "east");
    assert_eq!(clusters["clusters"][0]["isLocal"], true);
    let table = east.tombolo(&["show", "services"]).await.ok();
    assert!(table.starts_with("NAMESPACE"), "{table}");
    assert!(!table.contains('\x1b'), "no colour into a pipe");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_server_is_named_within_seconds() {
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = dir.path().join("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "x", "cluster": { "server": "https://127.0.0.1:9" } }],
        "users": [{ "name": "x", "user": { "token": "x" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "x", "user": "x" } }],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tombolo"));
    command.args(["show", "gateways", "--kubeconfig"]).arg(&kubeconfig);
    let started = std::time::Instant::now();
    let ran = Ran::from_output(command.output().await.unwrap());
    ran.fails(1, &["https://127.0.0.1:9", "connection refused"]);
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

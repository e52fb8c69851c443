//! Join and leave in clusters whose DNS is configured in other places than `kube-system/coredns`.

use serde_json::{Value, json};

use crate::fixture::{COREFILE, Server};

const K3S: &str = ".:53 {\n    import /etc/coredns/custom/*.override\n}\nimport /etc/coredns/custom/*.server\n";
const NODE_LOCAL: &str = "cluster.local:53 {\n    bind 169.254.20.10\n}\n.:53 {\n    bind 169.254.20.10\n}";

async fn cluster(number: u8) -> Server {
    Server::cluster(&format!("10.{number}.0.0/16"), &format!("10.10{number}.0.0/16")).await
}

fn config_map(name: &str, key: &str, text: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "namespace": "kube-system" }, "data": { key: text } })
}

async fn data(cluster: &Server, name: &str) -> Option<Value> {
    let object = cluster.get("v1", "ConfigMap", "kube-system", name).await?;
    Some(object["data"].clone())
}

async fn joins(cluster: &Server) -> String {
    let broker = Server::broker().await;
    let token = broker.invite("east").await;
    let ran = cluster.tombolo(&["join", &token, "--no-wait"]).await;
    let told = ran.errors();
    ran.ok();
    let again = cluster.tombolo(&["join", &token, "--no-wait", "-o", "json"]).await.ok();
    let again: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(again["unchanged"], true, "{again}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn k3s_gets_a_config_map_that_goes_again_and_its_corefile_is_not_touched() {
    let east = cluster(1).await;
    east.apply(&config_map("coredns", "Corefile", K3S)).await;
    joins(&east).await;
    assert_eq!(data(&east, "coredns").await.unwrap()["Corefile"], K3S);
    let custom = data(&east, "coredns-custom").await.unwrap();
    assert!(
        custom["tombolo.server"]
            .as_str()
            .unwrap()
            .contains("clusterset.local:53 {"),
        "{custom}"
    );
    east.tombolo(&["leave"]).await.ok();
    assert_eq!(data(&east, "coredns-custom").await, None);
    assert_eq!(data(&east, "coredns").await.unwrap()["Corefile"], K3S);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_config_map_of_somebody_else_stays() {
    let east = cluster(2).await;
    east.apply(&config_map("coredns", "Corefile", K3S)).await;
    let theirs = json!({ "corp.server": "corp.example:53 {\n}\n" });
    let mut object = config_map("coredns-custom", "x", "");
    object["data"] = theirs.clone();
    east.apply(&object).await;
    joins(&east).await;
    assert_eq!(
        data(&east, "coredns-custom").await.unwrap().as_object().unwrap().len(),
        2
    );
    east.tombolo(&["leave"]).await.ok();
    assert_eq!(data(&east, "coredns-custom").await, Some(theirs));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_local_dns_is_told_beside_cluster_dns_and_both_come_back() {
    let east = cluster(3).await;
    east.apply(&config_map("node-local-dns", "Corefile", NODE_LOCAL)).await;
    east.apply(&config_map("rke2-coredns-rke2-coredns", "Corefile", COREFILE))
        .await;
    joins(&east).await;
    let local = data(&east, "node-local-dns").await.unwrap()["Corefile"].to_string();
    assert_eq!(local.matches("bind 169.254.20.10").count(), 3, "{local}");
    east.tombolo(&["leave"]).await.ok();
    assert_eq!(data(&east, "node-local-dns").await.unwrap()["Corefile"], NODE_LOCAL);
    for name in ["coredns", "rke2-coredns-rke2-coredns"] {
        assert_eq!(data(&east, name).await.unwrap()["Corefile"], COREFILE);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openshift_is_told_by_the_object_of_its_operator() {
    let east = cluster(4).await;
    east.apply(&dns_operator_definition()).await;
    let spec = json!({ "logLevel": "Normal" });
    let kind = ("operator.openshift.io/v1", "DNS");
    east.await_kind(kind.0, kind.1).await;
    east.apply(&json!({ "apiVersion": kind.0, "kind": kind.1, "metadata": { "name": "default" }, "spec": spec }))
        .await;
    joins(&east).await;
    let object = east.get(kind.0, kind.1, "", "default").await.unwrap();
    assert_eq!(
        object["spec"]["servers"][0]["zones"],
        json!(["clusterset.local"]),
        "{object}"
    );
    east.tombolo(&["leave"]).await.ok();
    let object = east.get(kind.0, kind.1, "", "default").await.unwrap();
    assert_eq!(object["spec"], spec);
}

#[tokio::test(flavor = "multi_thread")]
async fn forwards_and_hosts_outside_are_remembered_until_they_are_taken_back() {
    let broker = Server::broker().await;
    let east = cluster(6).await;
    let token = broker.invite("east").await;
    let join = async |flags: &[&str]| {
        let arguments = [&["join", &token, "--no-wait", "-o", "json"], flags].concat();
        let told: Value = serde_json::from_str(&east.tombolo(&arguments).await.ok()).unwrap();
        told["unchanged"] == true
    };
    let system = "tombolo-system";
    let args = async || {
        let found = east
            .get("apps/v1", "Deployment", system, "tombolo-lighthouse-dns")
            .await
            .unwrap();
        found["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
    };
    let external = async || {
        east.get("v1", "Service", system, "tombolo-lighthouse-dns-external")
            .await
    };
    assert!(!join(&["--dns-forward", "west.lan=10.9.0.10", "--dns-allow", "192.0.2.0/24"]).await);
    assert!(join(&[]).await, "the flags are remembered");
    let told = args().await;
    assert!(
        told.contains("west.lan=10.9.0.10") && told.contains("192.0.2.0/24"),
        "{told}"
    );
    let corefile = data(&east, "coredns").await.unwrap()["Corefile"].to_string();
    assert!(corefile.contains("clusterset.local:53 west.lan:53 {"), "{corefile}");
    assert!(external().await.is_some());
    assert!(!join(&["--dns-forward", "none", "--dns-allow", "none"]).await);
    assert_eq!((args().await, external().await), ("null".to_owned(), None));
    let corefile = data(&east, "coredns").await.unwrap()["Corefile"].to_string();
    assert!(!corefile.contains("west.lan"), "{corefile}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corefile_that_is_not_understood_is_left_alone_and_the_stanza_is_printed() {
    let east = cluster(5).await;
    let odd = ".:53\nforward . /etc/resolv.conf\n";
    east.apply(&config_map("coredns", "Corefile", odd)).await;
    let told = joins(&east).await;
    for text in [
        "kube-system/coredns was left alone",
        "no braces (line 1)",
        "clusterset.local:53 {",
    ] {
        assert!(told.contains(text), "\"{text}\" is not in: {told}");
    }
    assert_eq!(data(&east, "coredns").await.unwrap()["Corefile"], odd);
}

/// As much of OpenShift's as matters: free of a schema of its own.
fn dns_operator_definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "dnses.operator.openshift.io" },
        "spec": {
            "group": "operator.openshift.io", "scope": "Cluster",
            "names": { "plural": "dnses", "singular": "dns", "kind": "DNS", "listKind": "DNSList" },
            "versions": [{ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            } } }],
        },
    })
}

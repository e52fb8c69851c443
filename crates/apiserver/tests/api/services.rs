//! Service addresses.

use serde_json::{Value, json};

use crate::fixture::{ADMIN, send, send_as, server};

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{"port": 80, "name": "http"}]);
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn services_get_addresses_of_the_families_they_ask_for() {
    let server = server();
    let made = send(&server, ADMIN, "POST", SERVICES, Some(service("s", json!({}))))
        .await
        .body;
    let spec = &made["spec"];
    assert!(spec["clusterIP"].as_str().unwrap().starts_with("10.96."), "{spec}");
    assert_eq!(
        spec["ports"],
        json!([{"port": 80, "name": "http", "protocol": "TCP", "targetPort": 80}])
    );
    assert_eq!(spec["ipFamilyPolicy"], "SingleStack");
    let dual = send(
        &server,
        ADMIN,
        "POST",
        SERVICES,
        Some(service("d", json!({"ipFamilyPolicy": "PreferDualStack"}))),
    )
    .await
    .body;
    assert_eq!(dual["spec"]["ipFamilies"], json!(["IPv4", "IPv6"]));
    assert_eq!(dual["spec"]["clusterIPs"].as_array().unwrap().len(), 2);
    let six = send(
        &server,
        ADMIN,
        "POST",
        SERVICES,
        Some(service("x", json!({"ipFamilies": ["IPv6"]}))),
    )
    .await
    .body;
    assert!(six["spec"]["clusterIP"].as_str().unwrap().starts_with("fd00:96::"));
    let headless = send(
        &server,
        ADMIN,
        "POST",
        SERVICES,
        Some(service("h", json!({"clusterIP": "None"}))),
    )
    .await
    .body;
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let named = send(
        &server,
        ADMIN,
        "POST",
        SERVICES,
        Some(json!({"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "a.example"}})),
    )
    .await;
    assert!(named.code == 201 && named.body["spec"].get("clusterIP").is_none());
}

#[tokio::test]
async fn chosen_addresses_are_kept_and_checked() {
    let server = server();
    let dns = service("dns", json!({"clusterIP": "10.96.0.10"}));
    assert_eq!(
        send(&server, ADMIN, "POST", SERVICES, Some(dns)).await.body["spec"]["clusterIPs"],
        json!(["10.96.0.10"])
    );
    for taken in ["10.96.0.10", "10.97.0.1", "x"] {
        let other = service("other", json!({"clusterIP": taken}));
        assert_eq!(
            send(&server, ADMIN, "POST", SERVICES, Some(other)).await.code,
            422,
            "{taken}"
        );
    }
    let path = format!("{SERVICES}/dns");
    let put = service("dns", json!({"ports": [{"port": 53}]}));
    let put = send(&server, ADMIN, "PUT", &path, Some(put)).await;
    assert_eq!(
        put.body["spec"]["clusterIP"], "10.96.0.10",
        "an update without the address keeps it"
    );
    let patch = json!({"spec": {"clusterIP": "10.96.0.11", "clusterIPs": ["10.96.0.11"]}});
    let moved = send_as(
        &server,
        ADMIN,
        "PATCH",
        &path,
        "application/merge-patch+json",
        "*/*",
        Some(patch),
    )
    .await;
    assert_eq!(
        moved.body["message"],
        "Service \"dns\" is invalid: spec.clusterIPs[0]: Invalid value: [\"10.96.0.11\"]: may not change once set"
    );
}

#[tokio::test]
async fn the_kubernetes_service_leads_here() {
    let server = server();
    let service = send(&server, ADMIN, "GET", &format!("{SERVICES}/kubernetes"), None)
        .await
        .body;
    assert_eq!(service["spec"]["clusterIP"], "10.96.0.1");
    let slice = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
    let slice = send(&server, ADMIN, "GET", slice, None).await.body;
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
    let cidrs = send(
        &server,
        ADMIN,
        "GET",
        "/apis/networking.k8s.io/v1/servicecidrs/kubernetes",
        None,
    )
    .await
    .body;
    assert_eq!(cidrs["spec"]["cidrs"], json!(["10.96.0.0/16", "fd00:96::/112"]));
}

//! What the bench deploys.

use serde_json::{Value, json};

/// Where all of it is.
pub(super) const NAMESPACE: &str = "bench";

pub(super) fn namespace() -> String {
    document(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}))
}

/// A server on one node, that the services which select its own name lead to.
pub(super) fn server(name: &str, node: &str) -> String {
    document(&json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "containers": [{
                "name": "echo", "image": "lab/echo",
                "env": [{"name": "POD_NAME", "value": name}],
                "readinessProbe": {"httpGet": {"path": "/ready", "port": 8081}, "periodSeconds": 1},
            }],
        },
    }))
}

/// A service that leads to a server; without one, its endpoints are written by hand.
pub(super) fn service(name: &str, server: Option<&str>) -> Value {
    let selector = server.map(|server| json!({"app": server}));
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": selector, "ports": [{"name": "tcp", "port": 80, "targetPort": 8080}]},
    })
}

/// The endpoints of a service, each with whether it is ready.
pub(super) fn slice(service: &str, endpoints: &[(&str, bool)]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(address, is_ready)| json!({"addresses": [address], "conditions": {"ready": is_ready}}))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"), "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "tcp", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

pub(super) fn export(service: &str) -> Value {
    json!({
        "apiVersion": "multicluster.x-k8s.io/v1beta1", "kind": "ServiceExport",
        "metadata": {"name": service, "namespace": NAMESPACE},
    })
}

/// One of several manifests in a text.
pub(super) fn document(object: &Value) -> String {
    format!("---\n{object}\n")
}

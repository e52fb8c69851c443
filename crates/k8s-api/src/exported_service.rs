use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One export of one service by one cluster.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[kube(
    group = "tombolo.dev",
    version = "v1alpha1",
    kind = "ExportedService",
    namespaced,
    derive = "PartialEq",
    doc = "A service that a member exports to the clusterset, with its ready endpoints.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterId"),
    printcolumn(name = "Namespace", type_ = "string", json_path = ".spec.namespace"),
    printcolumn(name = "Service", type_ = "string", json_path = ".spec.name"),
    printcolumn(name = "Type", type_ = "string", json_path = ".spec.type"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".spec.readyCount"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ExportedServiceSpec {
    /// Cluster id of the exporter.
    pub cluster_id: String,
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub name: String,
    /// `ClusterSetIP` or `Headless`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Ports of the service.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub ports: Vec<ExportedPortSpec>,
    /// `IPv4`, `IPv6`, in the service's order.
    #[serde(default)]
    pub ip_families: Vec<String>,
    /// `None` or `ClientIP`.
    #[serde(default = "none")]
    pub session_affinity: String,
    /// Seconds that a client stays with its endpoint under `ClientIP`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity_timeout_seconds: Option<u32>,
    /// The service's `internalTrafficPolicy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_traffic_policy: Option<String>,
    /// The service's `trafficDistribution`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic_distribution: Option<String>,
    /// Labels that the ServiceExport asks to be exported.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exported_labels: BTreeMap<String, String>,
    /// Annotations that the ServiceExport asks to be exported.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exported_annotations: BTreeMap<String, String>,
    /// Creation time of the ServiceExport (RFC 3339).
    pub exported_at: String,
    /// The service's own IPs; empty when headless.
    #[serde(default)]
    pub service_ips: Vec<String>,
    /// Ready endpoints, or a stable subset of them.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub endpoints: Vec<EndpointSpec>,
    /// How many endpoints are ready in truth.
    #[serde(default)]
    pub ready_count: u32,
}

/// A port of the service.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExportedPortSpec {
    /// Name; empty for an unnamed port.
    #[serde(default)]
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port number.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Application protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
}

/// A ready endpoint.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSpec {
    /// Address.
    pub address: String,
    /// Hostname, for headless services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Target port per port name.
    #[serde(default)]
    pub ports: Vec<EndpointPort>,
}

/// Target port of one named port.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct EndpointPort {
    /// Port name.
    #[serde(default)]
    pub name: String,
    /// Target port number.
    pub port: u16,
}

fn none() -> String {
    "None".to_owned()
}

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A member of the clusterset, as it tells about itself.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[kube(
    group = "tombolo.dev",
    version = "v1alpha1",
    kind = "Cluster",
    namespaced,
    status = "ClusterStatus",
    derive = "PartialEq",
    doc = "A member of the clusterset: its id and the prefixes that other members route to it.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterId"),
    printcolumn(name = "Pods", type_ = "string", json_path = ".spec.podPrefixes"),
    printcolumn(name = "Services", type_ = "string", json_path = ".spec.servicePrefixes"),
    printcolumn(name = "State", type_ = "string", json_path = ".spec.state"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Cluster id: an RFC 1123 label of at most 50 characters, stable for the life of the membership.
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub cluster_id: String,
    /// Prefixes of pods and of the nodes' addresses in the pod network, such as 10.42.0.0/16.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub pod_prefixes: Vec<String>,
    /// Prefixes of services, such as 10.43.0.0/16.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub service_prefixes: Vec<String>,
    /// Where this cluster's clusterset IPs are, such as 244.174.0.0/16; empty for the default. Nobody else's business, so the
    /// broker is not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub clusterset_ip_ranges: Vec<String>,
    /// Cable protocol versions that the member speaks.
    pub protocol: ProtocolSpec,
    /// Active, Leaving or Evicted; the latter two are tombstones.
    #[serde(default = "active")]
    pub state: String,
    /// When the member asked to be let in, set once (RFC 3339). Mirrors carry the time of the broker's object here, and
    /// the older claim of a prefix wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<String>,
    /// Uid of the broker's object, in mirrors; it breaks a tie of age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,
}

/// Inclusive range of protocol versions.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProtocolSpec {
    /// Oldest.
    pub min: u32,
    /// Newest.
    pub max: u32,
}

impl Default for ProtocolSpec {
    fn default() -> Self {
        Self {
            min: model::names::PROTOCOL,
            max: model::names::PROTOCOL,
        }
    }
}

/// What the own cluster found out about a member (member clusters only).
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// `Accepted`, `PrefixOverlap`, `ProtocolMismatch` … with reasons.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

fn active() -> String {
    "Active".to_owned()
}

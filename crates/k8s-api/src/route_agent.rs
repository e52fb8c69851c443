use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One node's route agent and what it found.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[kube(
    group = "tombolo.dev",
    version = "v1alpha1",
    kind = "RouteAgent",
    namespaced,
    shortname = "tra",
    status = "RouteAgentStatus",
    derive = "PartialEq",
    doc = "The route agent of one node: what it applied and what it could not.",
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
    printcolumn(name = "MTU", type_ = "integer", json_path = ".status.mtu"),
    printcolumn(name = "Applied", type_ = "integer", json_path = ".status.applied"),
    printcolumn(name = "Drift", type_ = "integer", json_path = ".status.drift"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct RouteAgentSpec {
    /// The node.
    pub node: String,
}

/// What the agent did and found.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct RouteAgentStatus {
    /// Version of the agent.
    #[serde(default)]
    pub version: String,
    /// Changes made to the node since the agent started.
    #[serde(default)]
    pub applied: u64,
    /// Changes that mended something that another had altered.
    #[serde(default)]
    pub drift: u64,
    /// MTU of the routes to other clusters in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The gateway that this node sends to, per remote cluster, as `<cluster>=<node>`.
    #[serde(default)]
    pub via: Vec<String>,
    /// `Ready`, `CleanedUp`, `NftablesUnavailable`, `VxlanUnavailable` … with reasons.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

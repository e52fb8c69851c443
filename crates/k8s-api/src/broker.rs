use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The clusterset itself: one object on the broker, mirrored into every member.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
#[kube(
    group = "tombolo.dev",
    version = "v1alpha1",
    kind = "Broker",
    derive = "PartialEq",
    doc = "The clusterset: which level of our kinds the broker keeps, and which incarnation of it this is.",
    printcolumn(name = "Level", type_ = "integer", json_path = ".spec.apiLevel"),
    printcolumn(name = "Incarnation", type_ = "string", json_path = ".spec.incarnation"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BrokerSpec {
    /// Level of the kinds that the broker's CustomResourceDefinitions describe. Members write no field of a higher level.
    #[schemars(range(min = 1))]
    pub api_level: u32,
    /// Random, and changed by a restore: members that see a new one re-assert their own objects before they prune.
    pub incarnation: String,
    /// SHA-256 of the broker's CA certificate, hex; empty where the members trust it otherwise.
    #[serde(default)]
    pub ca_fingerprint: String,
}

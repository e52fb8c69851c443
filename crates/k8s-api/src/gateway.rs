use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A gateway as it tells about itself. Its agent owns every field.
#[derive(CustomResource, JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[kube(
    group = "tombolo.dev",
    version = "v1alpha1",
    kind = "Gateway",
    namespaced,
    shortname = "tgw",
    status = "GatewayStatus",
    derive = "PartialEq",
    doc = "A node that carries cables to other clusters.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.clusterId"),
    printcolumn(name = "Node", type_ = "string", json_path = ".spec.node"),
    printcolumn(name = "Active", type_ = "boolean", json_path = ".spec.active"),
    printcolumn(name = "Epoch", type_ = "integer", json_path = ".spec.epoch"),
    printcolumn(name = "Connected", type_ = "string", json_path = ".status.connected"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct GatewaySpec {
    /// Cluster id of its cluster.
    #[schemars(length(min = 1, max = 50), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub cluster_id: String,
    /// The node that it runs on.
    #[schemars(length(min = 1, max = 253))]
    pub node: String,
    /// WireGuard public key, base64.
    #[schemars(regex(pattern = r"^[A-Za-z0-9+/]{43}=$"))]
    pub public_key: String,
    /// Where it may be reached.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub addresses: Vec<AddressSpec>,
    /// UDP port of its cables.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Parallel lanes that it offers.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub lanes: u8,
    /// Higher is preferred.
    #[serde(default)]
    pub priority: i32,
    /// Whether it holds the active role of its cluster.
    #[serde(default)]
    pub active: bool,
    /// Grows with every change of the active role.
    #[serde(default)]
    pub epoch: u64,
    /// `tombolo`, or `none` for a stock WireGuard peer.
    #[serde(default = "tombolo")]
    pub probe: String,
    /// MTU of its underlay link in bytes.
    #[serde(default = "ethernet")]
    #[schemars(range(min = 576, max = 65535))]
    pub underlay_mtu: u16,
}

/// One address of a gateway.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct AddressSpec {
    /// `private`, `public`, `loadBalancer` or `observed`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The address.
    pub ip: String,
    /// Port, where it is not the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
}

/// What a gateway sees; in its own cluster only.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct GatewayStatus {
    /// Version of the agent.
    #[serde(default)]
    pub version: String,
    /// Connected cables of all, as text such as `2/2`.
    #[serde(default)]
    pub connected: String,
    /// Times that traffic moved to another cable because the one in use died.
    #[serde(default)]
    pub failovers: u64,
    /// How long the last of them took from the last sign of life, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failover_millis: Option<u64>,
    /// One entry a cable.
    #[serde(default)]
    pub connections: Vec<ConnectionStatus>,
    /// One entry a lane of the data plane, the first first; none while it does not run.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub lanes: Vec<LaneStatus>,
    /// What the kernel does for the data plane, such as `tun_tcp` and `udp_send`: what is missing costs speed.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub offloads: Vec<String>,
    /// `Ready`, `SyncedWithBroker`, `TunUnavailable` … with reasons.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// One cable.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// Cluster id of the other end.
    pub cluster_id: String,
    /// Node of the other end.
    pub node: String,
    /// `connecting`, `connected`, `degraded` or `error`.
    pub state: String,
    /// Why, as one word of a closed list; absent when connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why, for a person.
    #[serde(default)]
    pub message: String,
    /// Address of the other end in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<String>,
    /// Round-trip time of the authenticated probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt: Option<RttStatus>,
    /// Lost probes in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f64>,
    /// MTU inside the cable in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Time of the last handshake (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handshake_time: Option<String>,
    /// Bytes received inside the cable.
    #[serde(default)]
    pub rx_bytes: u64,
    /// Bytes sent inside the cable.
    #[serde(default)]
    pub tx_bytes: u64,
    /// Its lanes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lanes: Option<CableLanesStatus>,
    /// What was dropped of it. Anyone can send what only claims to come from the other end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub drops: Vec<DropStatus>,
}

/// Lanes of one cable.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
pub struct CableLanesStatus {
    /// What both ends offer. A cable that traffic does not go by has one all the same.
    #[schemars(range(min = 1, max = 16))]
    pub offered: u8,
    /// Those that carry packets.
    #[schemars(range(min = 0, max = 16))]
    pub used: u8,
}

/// What one lane has done since the data plane was started.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct LaneStatus {
    /// Packets received inside cables.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets sent inside cables.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Sessions that were established.
    pub handshakes: u64,
    /// Packets that came to this lane and were for another.
    pub hand_overs: u64,
    /// What it dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub drops: Vec<DropStatus>,
}

/// Packets that were dropped for one reason.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, PartialEq, Eq)]
pub struct DropStatus {
    /// One word of a closed list, the same as in the metrics.
    pub reason: String,
    /// How many.
    pub packets: u64,
}

/// Round-trip times in microseconds.
#[derive(JsonSchema, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RttStatus {
    /// Latest.
    pub last_micros: u32,
    /// Median.
    pub p50_micros: u32,
    /// 95th percentile.
    #[serde(default)]
    pub p95_micros: u32,
    /// 99th percentile.
    pub p99_micros: u32,
}

fn one() -> u8 {
    1
}

fn tombolo() -> String {
    "tombolo".to_owned()
}

fn ethernet() -> u16 {
    1500
}

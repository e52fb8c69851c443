use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{GatewayId, PublicKey};

/// What a gateway tells about itself, and (own cluster only) what it sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gateway {
    /// Who.
    pub id: GatewayId,
    /// Identity on cables.
    pub public_key: PublicKey,
    /// Where it may be reached; all are tried at once.
    pub addresses: Vec<GatewayAddress>,
    /// UDP port of its cables.
    pub port: u16,
    /// Parallel lanes that it offers, at least 1.
    pub lanes: u8,
    /// Higher is preferred among equals.
    pub priority: i32,
    /// Whether it holds the active role of its cluster.
    pub active: bool,
    /// Grows with every change of the active role.
    pub epoch: u64,
    /// Whether it answers our probes.
    pub probe: ProbeMode,
    /// MTU of its underlay link, bytes.
    pub underlay_mtu: u16,
    /// Connections as this gateway sees them. Known for gateways of the own cluster only.
    pub connections: Vec<Connection>,
}

impl Gateway {
    /// Socket addresses to try, best kind first, without duplicates.
    pub fn candidates(&self) -> Vec<SocketAddr> {
        let mut addresses = self.addresses.clone();
        addresses.sort_by_key(|address| address.kind);
        let mut candidates = Vec::new();
        for address in addresses {
            let candidate = SocketAddr::new(address.ip, address.port.unwrap_or(self.port));
            if !candidates.contains(&candidate) {
                candidates.push(candidate);
            }
        }
        candidates
    }
}

/// One address of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayAddress {
    /// How it was learned.
    pub kind: AddressKind,
    /// The address.
    pub ip: IpAddr,
    /// Port, where it differs from the gateway's own (a NAT or load balancer).
    pub port: Option<u16>,
}

/// How an address was learned, in the order in which a path is preferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AddressKind {
    /// On an interface of the node.
    Private,
    /// Known to the administrator or the cloud.
    Public,
    /// Of a load balancer in front of the gateway.
    LoadBalancer,
    /// Seen by a peer (behind a NAT).
    Observed,
}

/// Whether a gateway answers our probes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProbeMode {
    /// Our own agent.
    #[default]
    Tombolo,
    /// A stock WireGuard peer: a young handshake and received bytes are all that can be known.
    None,
}

/// One cable as its local gateway sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// The other end.
    pub remote: GatewayId,
    /// State.
    pub state: ConnectionState,
    /// Why it is in this state, as one word of a closed list; none when connected.
    #[serde(default)]
    pub reason: Option<String>,
    /// The same for a person; empty when connected.
    pub message: String,
    /// Address of the other end in use.
    pub remote_address: Option<SocketAddr>,
    /// Round-trip time of the authenticated probe.
    pub rtt: Option<Rtt>,
    /// Lost probes in percent over the last window.
    pub loss_percent: Option<f64>,
    /// MTU of packets inside the cable, bytes.
    pub mtu: Option<u16>,
    /// Last handshake, seconds since 1970.
    pub last_handshake: Option<i64>,
    /// Bytes received inside the cable.
    pub rx_bytes: u64,
    /// Bytes sent inside the cable.
    pub tx_bytes: u64,
}

impl Connection {
    /// A connection of which nothing was measured.
    pub fn new(remote: GatewayId, state: ConnectionState) -> Self {
        Self {
            remote,
            state,
            reason: None,
            message: String::new(),
            remote_address: None,
            rtt: None,
            loss_percent: None,
            mtu: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
        }
    }
}

/// State of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ConnectionState {
    /// No authenticated round trip yet.
    Connecting,
    /// An authenticated round trip happened lately.
    Connected,
    /// Works in part; the message says what fails.
    Degraded,
    /// It was connected and is not, or cannot be.
    Error,
}

impl ConnectionState {
    /// Whether traffic may be sent over the cable.
    pub fn is_usable(self) -> bool {
        matches!(self, Self::Connected | Self::Degraded)
    }
}

/// Round-trip times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rtt {
    /// Latest.
    pub last_us: u32,
    /// Median of the last window.
    pub p50_us: u32,
    /// 95th percentile of the last window.
    #[serde(default)]
    pub p95_us: u32,
    /// 99th percentile of the last window.
    pub p99_us: u32,
}

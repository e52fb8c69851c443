use std::cmp::Ordering;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{ClusterId, Keyed, ServiceKey};

/// One export of one service by one cluster: what the clusterset is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedService {
    /// Who exports it.
    pub cluster: ClusterId,
    /// What it is.
    pub key: ServiceKey,
    /// With or without a clusterset IP.
    pub kind: ImportKind,
    /// Its ports.
    pub ports: Vec<ExportedPort>,
    /// Families of the service, in its order.
    pub ip_families: Vec<crate::Family>,
    /// Affinity.
    pub session_affinity: SessionAffinity,
    /// Creation time of the ServiceExport, seconds since 1970; the oldest export wins a conflict.
    pub exported_at: i64,
    /// The service's own IPs; empty when headless.
    pub service_ips: Vec<IpAddr>,
    /// Ready endpoints, or a stable subset of them.
    pub endpoints: Vec<ReadyEndpoint>,
    /// How many endpoints are ready in truth.
    pub ready_count: u32,
}

impl Keyed for ExportedService {
    type Key<'a> = (&'a ServiceKey, &'a ClusterId);

    fn key(&self) -> Self::Key<'_> {
        (&self.key, &self.cluster)
    }

    fn compare(&self, key: Self::Key<'_>) -> Ordering {
        self.key().cmp(&key)
    }
}

/// Kind of an import (KEP-1645).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ImportKind {
    /// One IP for the service.
    ClusterSetIP,
    /// The addresses of its endpoints.
    Headless,
}

/// A port of an exported service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportedPort {
    /// Name; empty for the only port of a service.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Port number of the service.
    pub port: u16,
    /// Application protocol, if told.
    pub app_protocol: Option<String>,
}

/// Transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

/// Session affinity of a service.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SessionAffinity {
    /// Every connection for itself.
    #[default]
    None,
    /// By client address, for so many seconds.
    ClientIp {
        /// Seconds since the last connection after which the client may move.
        timeout_seconds: u32,
    },
}

/// A ready endpoint of an exported service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadyEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its hostname, for headless services.
    pub hostname: Option<String>,
    /// Target port per port name.
    pub ports: Vec<(String, u16)>,
}

//! What the clusterset is told of one exported service.
//!
//! ```text
//!  ServiceExport ─ Request ─┐
//!  Service ─────── Service ─┼──▶ export ──▶ Exported, or a Refusal
//!  EndpointSlices  Backend ─┤
//!  own claims ──── PrefixSet┘
//! ```
//!
//! Only ready endpoints inside the accepted pod prefixes are told: others cannot be reached across a cable. Host-network pods and
//! endpoints written by hand are reached through the service's own IPs instead, so they still count. A headless service has no
//! such IP, so there they do not count, and [`Exported::unreachable`] says how many they are.
//!
//! The list is bounded ([`MAX_ENDPOINTS`], [`MAX_HEADLESS_ENDPOINTS`]). Beyond that a stable subset is told, so that an endpoint
//! that comes or goes changes the list by one entry at the most.

mod subset;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use model::names::{MAX_ENDPOINTS, MAX_HEADLESS_ENDPOINTS};
use model::{
    ClusterId, ExportedPort, ExportedService, Family, ImportKind, PrefixSet, ReadyEndpoint, ServiceKey, SessionAffinity,
};

/// An export with all that concerns only its importers: the input of [`crate::imports`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// The service.
    pub service: ExportedService,
    /// What the exporter asks of importers.
    pub terms: Terms,
}

/// What the exporter asks of importers; the oldest export's terms hold as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Terms {
    /// The service's `internalTrafficPolicy`.
    pub internal_traffic_policy: Option<String>,
    /// The service's `trafficDistribution`.
    pub traffic_distribution: Option<String>,
    /// Labels for the import.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the import.
    pub annotations: BTreeMap<String, String>,
}

/// A `ServiceExport`: the wish to export the service of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The service.
    pub key: ServiceKey,
    /// Its creation, seconds since 1970.
    pub exported_at: i64,
    /// Labels for the import.
    pub labels: BTreeMap<String, String>,
    /// Annotations for the import.
    pub annotations: BTreeMap<String, String>,
}

/// The service itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// How it is reached in its own cluster.
    pub reach: Reach,
    /// Its ports.
    pub ports: Vec<ExportedPort>,
    /// Its families, in its order.
    pub ip_families: Vec<Family>,
    /// Affinity.
    pub session_affinity: SessionAffinity,
    /// Its `internalTrafficPolicy`.
    pub internal_traffic_policy: Option<String>,
    /// Its `trafficDistribution`.
    pub traffic_distribution: Option<String>,
}

/// How a service is reached in its own cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Through these IPs (`ClusterIP`, `NodePort` and `LoadBalancer`).
    Ips(Vec<IpAddr>),
    /// Through its endpoints.
    Headless,
    /// It is an alias of a DNS name.
    ExternalName,
}

/// An endpoint of the service, ready or not. A dual-stack pod is one of each family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Its address.
    pub address: IpAddr,
    /// Its hostname, if it has one.
    pub hostname: Option<String>,
    /// Whether it takes traffic.
    pub is_ready: bool,
    /// Target port per port name.
    pub ports: Vec<(String, u16)>,
}

/// What is told, and what was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// What is told.
    pub export: Export,
    /// A headless service has more endpoints than may be told.
    pub is_truncated: bool,
    /// Ready endpoints behind an IP that are outside the accepted pod prefixes. The own cluster reaches them as they are; the others
    /// are not told of them, and use the service's own IPs.
    pub outside: Vec<ReadyEndpoint>,
    /// Ready endpoints of a headless service that no other cluster can reach: outside the accepted pod prefixes.
    pub unreachable: usize,
}

impl Exported {
    /// What the own cluster's nodes are told: the endpoints outside the pod prefixes too.
    pub fn at_home(&self) -> Export {
        let mut export = self.export.clone();
        export.service.endpoints.extend(self.outside.iter().cloned());
        export.service.endpoints.sort();
        export
    }
}

/// Why a service is not exported. The names are the reasons of the `Valid` condition (MCS API).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no service of that name.
    #[error("there is no Service {0}; create it, or delete the ServiceExport")]
    NoService(ServiceKey),
    /// It is an `ExternalName`.
    #[error("Service {0} is of type ExternalName, which names no endpoints; export the Service that it stands for")]
    InvalidServiceType(ServiceKey),
}

/// Decides what `cluster` tells of one service. `pods` are the own pod prefixes that are accepted.
///
/// # Errors
/// When the service cannot be exported.
pub fn export(
    cluster: &ClusterId,
    request: &Request,
    service: Option<&Service>,
    backends: &[Backend],
    pods: &PrefixSet,
) -> Result<Exported, Refusal> {
    let service = service.ok_or_else(|| Refusal::NoService(request.key.clone()))?;
    let (kind, service_ips, limit) = match &service.reach {
        Reach::Ips(ips) => (ImportKind::ClusterSetIP, ips.clone(), MAX_ENDPOINTS),
        Reach::Headless => (ImportKind::Headless, Vec::new(), MAX_HEADLESS_ENDPOINTS),
        Reach::ExternalName => return Err(Refusal::InvalidServiceType(request.key.clone())),
    };
    let ready = ready_endpoints(service, kind, backends);
    let total = count(ready.iter());
    let (inside, outside): (Vec<_>, Vec<_>) = ready.into_iter().partition(|e| pods.contains(e.address));
    let (ready_count, unreachable) = match kind {
        ImportKind::ClusterSetIP => (total, 0),
        ImportKind::Headless => (count(inside.iter()), count(outside.iter())),
    };
    let inside_count = inside.len();
    let endpoints = subset::stable(inside, limit);
    let outside = match kind {
        ImportKind::ClusterSetIP => subset::stable(outside, limit - endpoints.len()),
        ImportKind::Headless => Vec::new(),
    };
    let is_truncated = kind == ImportKind::Headless && inside_count > limit;
    let terms = Terms {
        internal_traffic_policy: service.internal_traffic_policy.clone(),
        traffic_distribution: service.traffic_distribution.clone(),
        labels: request.labels.clone(),
        annotations: request.annotations.clone(),
    };
    let told = ExportedService {
        cluster: cluster.clone(),
        key: request.key.clone(),
        kind,
        ports: service.ports.clone(),
        ip_families: service.ip_families.clone(),
        session_affinity: service.session_affinity,
        exported_at: request.exported_at,
        service_ips,
        endpoints,
        ready_count: u32::try_from(ready_count).unwrap_or(u32::MAX),
    };
    Ok(Exported {
        export: Export { service: told, terms },
        is_truncated,
        outside,
        unreachable,
    })
}

/// Takes out of another member's export what that member may not tell: addresses outside its own accepted prefixes.
/// Otherwise one member could draw traffic to addresses of another, or of the reader's own cluster.
pub fn confine(service: &mut ExportedService, pods: &PrefixSet, services: &PrefixSet) {
    service.endpoints.retain(|endpoint| pods.contains(endpoint.address));
    service.service_ips.retain(|ip| services.contains(*ip));
}

/// Ready endpoints, one an address, in order. Several EndpointSlices may hold the same address with other ports.
fn ready_endpoints(service: &Service, kind: ImportKind, backends: &[Backend]) -> Vec<ReadyEndpoint> {
    let mut by_address: BTreeMap<IpAddr, ReadyEndpoint> = BTreeMap::new();
    let of_service = |backend: &&Backend| service.ip_families.contains(&Family::of(backend.address));
    for backend in backends.iter().filter(|backend| backend.is_ready).filter(of_service) {
        let endpoint = by_address.entry(backend.address).or_insert_with(|| ReadyEndpoint {
            address: backend.address,
            hostname: None,
            ports: Vec::new(),
        });
        if kind == ImportKind::Headless {
            endpoint.hostname = endpoint.hostname.take().or_else(|| backend.hostname.clone());
        }
        endpoint.ports.extend(backend.ports.iter().cloned());
        endpoint.ports.sort();
        endpoint.ports.dedup();
    }
    by_address.into_values().collect()
}

/// How many endpoints these addresses are: a dual-stack pod has two addresses and is one endpoint.
fn count<'a>(endpoints: impl Iterator<Item = &'a ReadyEndpoint>) -> usize {
    let (mut v4, mut v6) = (0, 0);
    for endpoint in endpoints {
        match Family::of(endpoint.address) {
            Family::V4 => v4 += 1,
            Family::V6 => v6 += 1,
        }
    }
    v4.max(v6)
}

//! Which endpoints stand behind each address of a Service: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;

/// Everything the proxy translates.
pub(super) type Backends = BTreeMap<Frontend, Backend>;

/// What clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Frontend {
    pub(super) address: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

/// Who answers there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    /// `namespace/name`, for a reader of the rules.
    pub(super) service: String,
    pub(super) endpoints: BTreeSet<SocketAddr>,
    /// One client's connections all go to one endpoint.
    pub(super) has_affinity: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Joins Services with their slices.
pub(super) fn backends(services: &[Arc<Service>], slices: &[Arc<EndpointSlice>]) -> Backends {
    let mut by_service: BTreeMap<(String, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in slices {
        if let Some(service) = slice.labels().get("kubernetes.io/service-name") {
            by_service
                .entry((slice.namespace().unwrap_or_default(), service))
                .or_default()
                .push(slice);
        }
    }
    let mut backends = Backends::new();
    for service in services {
        let Some(spec) = &service.spec else { continue };
        let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
        let slices = by_service
            .get(&(namespace.clone(), name.as_str()))
            .map_or(&[][..], Vec::as_slice);
        for address in cluster_ips(spec) {
            for port in spec.ports.iter().flatten() {
                let (Some(protocol), Ok(number)) = (protocol(port.protocol.as_deref()), u16::try_from(port.port))
                else {
                    continue;
                };
                let frontend = Frontend {
                    address,
                    protocol,
                    port: number,
                };
                let backend = Backend {
                    service: format!("{namespace}/{name}"),
                    endpoints: endpoints(port, address, slices),
                    has_affinity: spec.session_affinity.as_deref() == Some("ClientIP"),
                };
                backends.insert(frontend, backend);
            }
        }
    }
    backends
}

/// Sends what is for the API server to these, where there are any: the server may tell an address that is none of the lab's.
pub(super) fn reach_api_at(endpoints: &[SocketAddr], backends: &mut Backends) {
    for (frontend, backend) in backends.iter_mut().filter(|_| !endpoints.is_empty()) {
        if backend.service == "default/kubernetes" {
            let same_family = endpoints
                .iter()
                .filter(|endpoint| endpoint.is_ipv4() == frontend.address.is_ipv4());
            backend.endpoints = same_family.copied().collect();
        }
    }
}

fn cluster_ips(spec: &ServiceSpec) -> BTreeSet<IpAddr> {
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    // A headless service says "None", which is no address.
    all.filter_map(|address| address.parse().ok()).collect()
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

/// The ready endpoints of the address's family; without any, those that still serve while they end.
fn endpoints(port: &ServicePort, address: IpAddr, slices: &[&EndpointSlice]) -> BTreeSet<SocketAddr> {
    let mut ready = BTreeSet::new();
    let mut ending = BTreeSet::new();
    for slice in slices {
        let Some(number) = port_number(port, slice) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
            let same_family = addresses.filter(|other: &IpAddr| other.is_ipv4() == address.is_ipv4());
            let sockets = same_family.map(|address| SocketAddr::new(address, number));
            match state(endpoint) {
                State::Ready => ready.extend(sockets),
                State::Ending => ending.extend(sockets),
                State::Away => {}
            }
        }
    }
    if ready.is_empty() { ending } else { ready }
}

fn port_number(port: &ServicePort, slice: &EndpointSlice) -> Option<u16> {
    let name = port.name.as_deref().unwrap_or_default();
    let same = slice.ports.iter().flatten().find(|offered| {
        offered.name.as_deref().unwrap_or_default() == name
            && protocol(offered.protocol.as_deref()) == protocol(port.protocol.as_deref())
    })?;
    u16::try_from(same.port?).ok()
}

enum State {
    Ready,
    Ending,
    Away,
}

fn state(endpoint: &Endpoint) -> State {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    // The API says: an endpoint whose readiness is not known counts as ready, and `serving` defaults to `ready`.
    let is_ready = conditions.ready.unwrap_or(true);
    let is_terminating = conditions.terminating.unwrap_or(false);
    if is_ready {
        State::Ready
    } else if is_terminating && conditions.serving.unwrap_or(is_ready) {
        State::Ending
    } else {
        State::Away
    }
}

//! EndpointSlices: which pods stand behind each Service that has a selector.
//!
//! One slice for every family of the Service and every set of port numbers: a named target port may be another number in
//! another pod, and all endpoints of a slice share its ports. A pod that is not ready stays in its slice and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Resource, ResourceExt};

use super::pod::{is_finished, is_ready, is_terminating, node_of, short_hash};
use super::world::World;
use super::write::Write;

/// What to write for every Service.
pub(super) fn reconcile(world: &World) -> Vec<Write> {
    let services = world
        .services
        .iter()
        .filter(|service| !is_terminating(service.as_ref()));
    let desired: BTreeMap<(String, String), EndpointSlice> = services
        .flat_map(|service| slices_of(world, service))
        .map(|slice| (key(&slice), slice))
        .collect();
    let observed: BTreeMap<(String, String), &EndpointSlice> = world
        .slices
        .iter()
        .filter(|slice| slice.labels().get(MANAGED_BY).is_some_and(|by| by == MANAGER))
        .map(|slice| (key(slice), slice.as_ref()))
        .collect();

    let stale = observed
        .iter()
        .filter(|(key, slice)| !desired.contains_key(key) && !is_terminating(**slice));
    let mut writes: Vec<Write> = stale.map(|(_, slice)| Write::delete(*slice)).collect();
    for (key, slice) in &desired {
        match observed.get(key) {
            None => writes.push(Write::create(slice)),
            Some(old) if !is_same(old, slice) => {
                let mut slice = slice.clone();
                slice.metadata.resource_version = old.metadata.resource_version.clone();
                writes.push(Write::replace(&slice));
            }
            Some(_) => {}
        }
    }
    writes
}

fn key(slice: &EndpointSlice) -> (String, String) {
    (slice.namespace().unwrap_or_default(), slice.name_any())
}

fn is_same(old: &EndpointSlice, new: &EndpointSlice) -> bool {
    old.endpoints == new.endpoints
        && old.ports == new.ports
        && old.metadata.labels == new.metadata.labels
        && old.metadata.owner_references == new.metadata.owner_references
}

/// The slices that a Service should have.
fn slices_of(world: &World, service: &Service) -> Vec<EndpointSlice> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(selector) = spec.selector.as_ref().filter(|selector| !selector.is_empty()) else {
        return Vec::new();
    };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let selected: Vec<&Pod> = world
        .pods
        .iter()
        .map(AsRef::as_ref)
        .filter(|pod| pod.namespace() == service.namespace() && !is_finished(pod))
        .filter(|pod| selector.iter().all(|(key, value)| pod.labels().get(key) == Some(value)))
        .collect();
    let families = families(spec);
    let mut slices = Vec::new();
    for family in families {
        let mut by_ports: BTreeMap<Vec<PodPort>, Vec<Endpoint>> = BTreeMap::new();
        for pod in &selected {
            if let Some(address) = address(pod, family) {
                let endpoint = endpoint(world, service, spec, pod, address);
                by_ports.entry(ports(spec, pod)).or_default().push(endpoint);
            }
        }
        // With nobody there the slice stays, empty: it tells "no endpoint" from "not looked at yet".
        if by_ports.is_empty() {
            by_ports.insert(Vec::new(), Vec::new());
        }
        slices.extend(
            by_ports
                .into_iter()
                .map(|(ports, endpoints)| slice(service, spec, family, ports, endpoints)),
        );
    }
    slices
}

fn families(spec: &ServiceSpec) -> BTreeSet<Family> {
    let named = spec.ip_families.iter().flatten();
    let families: BTreeSet<Family> = named
        .filter_map(|family| Family::ALL.into_iter().find(|known| known.name() == family))
        .collect();
    if families.is_empty() {
        [Family::V4].into()
    } else {
        families
    }
}

fn address(pod: &Pod, family: Family) -> Option<IpAddr> {
    let status = pod.status.as_ref()?;
    let several = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut addresses = several
        .chain(status.pod_ip.as_deref())
        .filter_map(|address| address.parse().ok());
    addresses.find(|address: &IpAddr| address.is_ipv4() == (family == Family::V4))
}

fn endpoint(world: &World, service: &Service, spec: &ServiceSpec, pod: &Pod, address: IpAddr) -> Endpoint {
    let is_ready = is_ready(pod);
    let is_terminating = is_terminating(pod);
    let counts_unready = spec.publish_not_ready_addresses == Some(true);
    let pod_spec = pod.spec.as_ref();
    let is_subdomain = pod_spec.and_then(|spec| spec.subdomain.as_deref()) == Some(service.name_any().as_str());
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(counts_unready || is_ready && !is_terminating),
            serving: Some(is_ready || counts_unready),
            terminating: Some(is_terminating),
        }),
        hostname: pod_spec.and_then(|spec| spec.hostname.clone()).filter(|_| is_subdomain),
        node_name: node_of(pod).map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.namespace(),
            name: pod.metadata.name.clone(),
            uid: pod.uid(),
            ..ObjectReference::default()
        }),
        zone: node_of(pod).and_then(|name| zone(world, name)),
        ..Endpoint::default()
    }
}

fn zone(world: &World, node: &str) -> Option<String> {
    let node: &Node = world.nodes.iter().find(|candidate| candidate.name_any() == node)?;
    node.labels().get("topology.kubernetes.io/zone").cloned()
}

/// A Service's port as a pod has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
struct PodPort {
    name: String,
    number: i32,
    protocol: String,
    app_protocol: Option<String>,
}

/// The Service's ports as this pod has them. One whose name no container of the pod knows is left out.
fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<PodPort> {
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some(PodPort {
            name: port.name.clone().unwrap_or_default(),
            number: target_port(port, pod)?,
            protocol: protocol(port).to_owned(),
            app_protocol: port.app_protocol.clone(),
        })
    });
    ports.collect()
}

fn target_port(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
            let mut offered = containers.flat_map(|container| container.ports.iter().flatten());
            let found = offered.find(|offered| {
                offered.name.as_deref() == Some(name.as_str())
                    && offered.protocol.as_deref().unwrap_or("TCP") == protocol(port)
            })?;
            Some(found.container_port)
        }
    }
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn slice(
    service: &Service,
    spec: &ServiceSpec,
    family: Family,
    ports: Vec<PodPort>,
    endpoints: Vec<Endpoint>,
) -> EndpointSlice {
    let mut labels = service.labels().clone();
    labels.insert("kubernetes.io/service-name".to_owned(), service.name_any());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if spec.cluster_ip.as_deref() == Some("None") {
        labels.insert("service.kubernetes.io/headless".to_owned(), String::new());
    }
    let name = format!("{}-{}", service.name_any(), short_hash(&(family.name(), &ports), 5));
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: service.namespace(),
            labels: Some(labels),
            owner_references: service.controller_owner_ref(&()).map(|reference| {
                vec![OwnerReference {
                    block_owner_deletion: Some(true),
                    ..reference
                }]
            }),
            ..ObjectMeta::default()
        },
        address_type: family.name().to_owned(),
        endpoints,
        ports: Some(ports.into_iter().map(endpoint_port).collect()),
    }
}

fn endpoint_port(port: PodPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name),
        port: Some(port.number),
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Family {
    V4,
    V6,
}

impl Family {
    const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Its name in the API.
    fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

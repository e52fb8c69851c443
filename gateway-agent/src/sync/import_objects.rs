//! How an import and its slices look as Kubernetes objects.

use std::net::IpAddr;

use clusterset::imports::{Import, Slice, SliceEndpoint, SlicePort};
use k8s_api::mcs::{ServiceImport, ServiceImportSpec, ServiceImportType, ServicePort};
use k8s_openapi::api::core::v1::{ClientIPConfig, SessionAffinityConfig};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use model::{Family, ImportKind, ServiceKey, SessionAffinity, names};

use super::convert::protocol_name;
use super::world::{MANAGED_BY, labels};

/// The import of a service.
///
/// `ips` are its clusterset IPs, in the order of its families. A family without one is not a family of the import.
pub(super) fn import_object(key: &ServiceKey, import: &Import, ips: &[IpAddr]) -> ServiceImport {
    let has_ips = import.kind == ImportKind::ClusterSetIP;
    let (session_affinity, timeout) = match import.session_affinity {
        SessionAffinity::None => ("None", None),
        SessionAffinity::ClientIp { timeout_seconds } => ("ClientIP", i32::try_from(timeout_seconds).ok()),
    };
    let port = |port: &model::ExportedPort| ServicePort {
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        protocol: Some(protocol_name(port.protocol).to_owned()),
        app_protocol: port.app_protocol.clone(),
        port: i32::from(port.port),
    };
    let families = if has_ips {
        ips.iter().copied().map(Family::of).collect()
    } else {
        import.ip_families.clone()
    };
    let spec = ServiceImportSpec {
        ports: import.ports.iter().map(port).collect(),
        ips: has_ips.then(|| ips.iter().map(ToString::to_string).collect()),
        ip_families: Some(families.iter().map(ToString::to_string).collect()),
        type_: match import.kind {
            ImportKind::ClusterSetIP => ServiceImportType::ClusterSetIP,
            ImportKind::Headless => ServiceImportType::Headless,
        },
        session_affinity: has_ips.then(|| session_affinity.to_owned()),
        session_affinity_config: timeout.filter(|_| has_ips).map(|seconds| SessionAffinityConfig {
            client_ip: Some(ClientIPConfig {
                timeout_seconds: Some(seconds),
            }),
        }),
        internal_traffic_policy: import.terms.internal_traffic_policy.clone(),
        traffic_distribution: import.terms.traffic_distribution.clone(),
    };
    let mut object = ServiceImport::new(&key.name, spec);
    object.metadata.namespace = Some(key.namespace.clone());
    let mut labels = import.terms.labels.clone();
    // Ours come last: an exporter must not be able to hide an import from its own controller.
    labels.insert(MANAGED_BY.to_owned(), names::FIELD_MANAGER.to_owned());
    object.metadata.labels = Some(labels);
    object.metadata.annotations = Some(import.terms.annotations.clone()).filter(|annotations| !annotations.is_empty());
    object
}

/// One of its slices; `import` is there already.
pub(super) fn slice_object(key: &ServiceKey, slice: &Slice, import: &ServiceImport) -> EndpointSlice {
    let mut labels = labels(&slice.cluster);
    labels.insert(SLICE_MANAGED_BY.to_owned(), names::SLICE_MANAGER.to_owned());
    labels.insert(names::MCS_SERVICE_NAME_LABEL.to_owned(), key.name.clone());
    labels.insert(names::MCS_SOURCE_CLUSTER_LABEL.to_owned(), slice.cluster.to_string());
    let owner = OwnerReference {
        api_version: ServiceImport::api_version(&()).into_owned(),
        kind: ServiceImport::kind(&()).into_owned(),
        name: key.name.clone(),
        uid: import.uid().unwrap_or_default(),
        controller: Some(false),
        block_owner_deletion: None,
    };
    let endpoint = |endpoint: &SliceEndpoint| Endpoint {
        addresses: vec![endpoint.address.to_string()],
        hostname: endpoint.hostname.clone(),
        conditions: Some(EndpointConditions {
            ready: Some(true),
            ..EndpointConditions::default()
        }),
        ..Endpoint::default()
    };
    let port = |port: &SlicePort| EndpointPort {
        name: Some(port.name.clone()),
        protocol: Some(protocol_name(port.protocol).to_owned()),
        port: Some(i32::from(port.port)),
        app_protocol: port.app_protocol.clone(),
    };
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(slice.name.clone()),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        address_type: slice.family.to_string(),
        endpoints: slice.endpoints.iter().map(endpoint).collect(),
        ports: Some(slice.ports.iter().map(port).collect()),
    }
}

/// On every EndpointSlice: who maintains it.
pub(super) const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";

//! Kubernetes objects into the terms of [`clusterset::exports`], and exports into `ExportedService` and back.

use clusterset::exports::{Backend, Export, Reach, Request, Service, Terms};
use k8s_api::mcs::ServiceExport;
use k8s_api::{ConvertError, EndpointPort, EndpointSpec, ExportedPortSpec, ExportedService, ExportedServiceSpec};
use k8s_openapi::api::core::v1;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use model::{ExportedPort, Family, ImportKind, Protocol, ServiceKey, SessionAffinity};

/// What a `ServiceExport` asks for.
pub(super) fn request(export: &ServiceExport) -> Request {
    Request {
        key: ServiceKey::new(export.namespace().unwrap_or_default(), export.name_any()),
        exported_at: export.creation_timestamp().map_or(0, |time| time.0.as_second()),
        labels: export.spec.exported_labels.clone().unwrap_or_default(),
        annotations: export.spec.exported_annotations.clone().unwrap_or_default(),
    }
}

/// A Kubernetes service.
pub(super) fn service(object: &v1::Service) -> Service {
    let spec = object.spec.clone().unwrap_or_default();
    let cluster_ips = spec
        .cluster_ips
        .unwrap_or_else(|| spec.cluster_ip.into_iter().collect());
    let reach = if spec.type_.as_deref() == Some("ExternalName") {
        Reach::ExternalName
    } else if cluster_ips.iter().any(|ip| ip == "None") {
        Reach::Headless
    } else {
        Reach::Ips(cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect())
    };
    let families: Vec<Family> = match (&spec.ip_families, &reach) {
        (Some(families), _) => families.iter().filter_map(|text| family(text)).collect(),
        (None, Reach::Ips(ips)) => ips.iter().copied().map(Family::of).collect(),
        (None, _) => vec![Family::V4],
    };
    let affinity_timeout = spec
        .session_affinity_config
        .and_then(|config| config.client_ip?.timeout_seconds);
    Service {
        reach,
        ports: spec.ports.iter().flatten().filter_map(port).collect(),
        ip_families: families,
        session_affinity: match spec.session_affinity.as_deref() {
            Some("ClientIP") => SessionAffinity::ClientIp {
                timeout_seconds: affinity_timeout
                    .and_then(|seconds| u32::try_from(seconds).ok())
                    .unwrap_or(DEFAULT_AFFINITY_SECONDS),
            },
            _ => SessionAffinity::None,
        },
        internal_traffic_policy: spec.internal_traffic_policy,
        traffic_distribution: spec.traffic_distribution,
    }
}

/// The endpoints of one EndpointSlice; none of a slice that holds DNS names.
pub(super) fn backends(slice: &EndpointSlice) -> Vec<Backend> {
    let ports: Vec<(String, u16)> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| Some((port.name.clone().unwrap_or_default(), u16::try_from(port.port?).ok()?)))
        .collect();
    let backend = |address: &String, endpoint: &k8s_openapi::api::discovery::v1::Endpoint| {
        Some(Backend {
            address: address.parse().ok()?,
            hostname: endpoint.hostname.clone(),
            // Not told means ready (EndpointSlice API).
            is_ready: endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) != Some(false),
            ports: ports.clone(),
        })
    };
    let endpoints = slice.endpoints.iter();
    endpoints
        .flat_map(|endpoint| {
            endpoint
                .addresses
                .iter()
                .filter_map(move |address| backend(address, endpoint))
        })
        .collect()
}

/// An export as it is told to the clusterset.
pub(super) fn exported_spec(export: &Export) -> ExportedServiceSpec {
    let service = &export.service;
    let (session_affinity, timeout) = match service.session_affinity {
        SessionAffinity::None => ("None", None),
        SessionAffinity::ClientIp { timeout_seconds } => ("ClientIP", Some(timeout_seconds)),
    };
    let exported_at = Timestamp::from_second(service.exported_at).unwrap_or(Timestamp::UNIX_EPOCH);
    ExportedServiceSpec {
        cluster_id: service.cluster.to_string(),
        namespace: service.key.namespace.clone(),
        name: service.key.name.clone(),
        kind: kind_name(service.kind).to_owned(),
        ports: service
            .ports
            .iter()
            .map(|port| ExportedPortSpec {
                name: port.name.clone(),
                protocol: protocol_name(port.protocol).to_owned(),
                port: port.port,
                app_protocol: port.app_protocol.clone(),
            })
            .collect(),
        ip_families: service.ip_families.iter().map(ToString::to_string).collect(),
        session_affinity: session_affinity.to_owned(),
        session_affinity_timeout_seconds: timeout,
        internal_traffic_policy: export.terms.internal_traffic_policy.clone(),
        traffic_distribution: export.terms.traffic_distribution.clone(),
        exported_labels: export.terms.labels.clone(),
        exported_annotations: export.terms.annotations.clone(),
        exported_at: exported_at.to_string(),
        service_ips: service.service_ips.iter().map(ToString::to_string).collect(),
        endpoints: service
            .endpoints
            .iter()
            .map(|endpoint| EndpointSpec {
                address: endpoint.address.to_string(),
                hostname: endpoint.hostname.clone(),
                ports: endpoint
                    .ports
                    .iter()
                    .map(|(name, port)| EndpointPort {
                        name: name.clone(),
                        port: *port,
                    })
                    .collect(),
            })
            .collect(),
        ready_count: service.ready_count,
    }
}

/// An export as it was told to the clusterset.
pub(super) fn export(object: &ExportedService) -> Result<Export, ConvertError> {
    Ok(Export {
        service: object.try_into()?,
        terms: Terms {
            internal_traffic_policy: object.spec.internal_traffic_policy.clone(),
            traffic_distribution: object.spec.traffic_distribution.clone(),
            labels: object.spec.exported_labels.clone(),
            annotations: object.spec.exported_annotations.clone(),
        },
    })
}

/// `ClusterSetIP` or `Headless`.
pub(super) fn kind_name(kind: ImportKind) -> &'static str {
    match kind {
        ImportKind::ClusterSetIP => "ClusterSetIP",
        ImportKind::Headless => "Headless",
    }
}

/// `TCP`, `UDP` or `SCTP`.
pub(super) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "TCP",
        Protocol::Udp => "UDP",
        Protocol::Sctp => "SCTP",
    }
}

fn family(text: &str) -> Option<Family> {
    match text {
        "IPv4" => Some(Family::V4),
        "IPv6" => Some(Family::V6),
        _ => None,
    }
}

fn port(port: &v1::ServicePort) -> Option<ExportedPort> {
    Some(ExportedPort {
        name: port.name.clone().unwrap_or_default(),
        protocol: match port.protocol.as_deref() {
            None | Some("TCP") => Protocol::Tcp,
            Some("UDP") => Protocol::Udp,
            Some("SCTP") => Protocol::Sctp,
            Some(_) => return None,
        },
        port: u16::try_from(port.port).ok()?,
        app_protocol: port.app_protocol.clone(),
    })
}

/// What Kubernetes fills in where `ClientIP` has no timeout.
const DEFAULT_AFFINITY_SECONDS: u32 = 10_800;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_three_ways_to_reach_a_service() {
        let reach = |spec| service(&read(json!({ "spec": spec }))).reach;
        assert_eq!(
            reach(json!({"type": "ExternalName", "externalName": "x"})),
            Reach::ExternalName
        );
        assert_eq!(
            reach(json!({"clusterIP": "None", "clusterIPs": ["None"]})),
            Reach::Headless
        );
        let ips = reach(json!({"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}));
        assert_eq!(
            ips,
            Reach::Ips(vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()])
        );
    }

    #[test]
    fn ports_and_affinity_have_the_api_servers_defaults() {
        let read = service(&read(json!({ "spec": {
            "clusterIP": "10.0.0.1", "ports": [{"port": 80}], "sessionAffinity": "ClientIP",
        }})));
        assert_eq!(
            (read.ports[0].name.as_str(), read.ports[0].protocol),
            ("", Protocol::Tcp)
        );
        assert_eq!(
            read.session_affinity,
            SessionAffinity::ClientIp {
                timeout_seconds: 10_800
            }
        );
        assert_eq!(read.ip_families, [Family::V4]);
    }

    #[test]
    fn an_endpoint_is_ready_unless_it_says_otherwise() {
        let slice = read(json!({
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"addresses": ["10.1.0.1"]},
                {"addresses": ["10.1.0.2"], "conditions": {"ready": false}},
            ],
        }));
        let ready: Vec<bool> = backends(&slice).iter().map(|backend| backend.is_ready).collect();
        assert_eq!(ready, [true, false]);
        assert_eq!(backends(&slice)[0].ports, [("http".to_owned(), 8080)]);
    }
}

//! `ServiceImport` into [`ImportedService`], and where clusterset IPs are.

use kube::ResourceExt;
use model::{
    ExportedPort, ImportKind, ImportedService, Preference, PrefixSet, Protocol, ServiceKey, SessionAffinity, names,
};

use crate::convert::{At, protocol};
use crate::mcs::{ServiceImport, ServiceImportType, ServicePort};
use crate::{Cluster, ConvertError};

/// The range of a cluster's clusterset IPs: as join was told, else the default.
///
/// # Errors
/// Names the field and the prefix that is malformed.
pub fn clusterset_range(object: &Cluster) -> Result<PrefixSet, ConvertError> {
    if object.spec.clusterset_ip_ranges.is_empty() {
        return Ok(PrefixSet::parse(names::CLUSTERSET_RANGES).expect("the default ranges are prefixes"));
    }
    At::new("Cluster", object).prefixes("spec.clustersetIpRanges", &object.spec.clusterset_ip_ranges)
}

impl TryFrom<&ServiceImport> for ImportedService {
    type Error = ConvertError;

    fn try_from(object: &ServiceImport) -> Result<Self, ConvertError> {
        let at = At::new("ServiceImport", object);
        let spec = &object.spec;
        let ips = spec.ips.iter().flatten().enumerate();
        Ok(Self {
            key: ServiceKey::new(object.namespace().unwrap_or_default(), object.name_any()),
            kind: match spec.type_ {
                ServiceImportType::ClusterSetIP => ImportKind::ClusterSetIP,
                ServiceImportType::Headless => ImportKind::Headless,
            },
            ips: ips
                .map(|(index, ip)| at.ip(&format!("spec.ips[{index}]"), ip))
                .collect::<Result<_, _>>()?,
            ports: spec.ports.iter().filter_map(port).collect(),
            session_affinity: match spec.session_affinity.as_deref() {
                Some("ClientIP") => SessionAffinity::ClientIp {
                    timeout_seconds: affinity_timeout(object),
                },
                _ => SessionAffinity::None,
            },
            preference: Preference::read(object.annotations().get(names::PREFER_ANNOTATION).map(String::as_str)),
            internal_traffic_policy: spec.internal_traffic_policy.clone(),
            traffic_distribution: spec.traffic_distribution.clone(),
        })
    }
}

fn affinity_timeout(object: &ServiceImport) -> u32 {
    let config = object.spec.session_affinity_config.as_ref();
    let seconds = config.and_then(|config| config.client_ip.as_ref()?.timeout_seconds);
    seconds
        .and_then(|seconds| u32::try_from(seconds).ok())
        .unwrap_or(DEFAULT_AFFINITY_SECONDS)
}

/// None of a protocol or number that this build does not know.
fn port(port: &ServicePort) -> Option<ExportedPort> {
    Some(ExportedPort {
        name: port.name.clone().unwrap_or_default(),
        protocol: port.protocol.as_deref().map_or(Some(Protocol::Tcp), protocol)?,
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

    fn import(spec: &serde_json::Value) -> ServiceImport {
        serde_json::from_value(json!({
            "apiVersion": "multicluster.x-k8s.io/v1beta1",
            "kind": "ServiceImport",
            "metadata": { "name": "cart", "namespace": "shop", "annotations": { "tombolo.dev/prefer": "spread" } },
            "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn an_import_is_read_with_the_apis_defaults() {
        let read = ImportedService::try_from(&import(&json!({
            "type": "ClusterSetIP", "ips": ["244.174.0.9"], "sessionAffinity": "ClientIP",
            "ports": [{ "port": 80 }, { "port": 81, "protocol": "QUIC" }],
        })))
        .unwrap();
        assert_eq!(read.ips, ["244.174.0.9".parse::<std::net::IpAddr>().unwrap()]);
        assert_eq!(read.ports.len(), 1, "a protocol of the future is left out");
        assert_eq!(read.ports[0].protocol, Protocol::Tcp);
        assert_eq!(read.preference, Preference::Spread);
        assert_eq!(
            read.session_affinity,
            SessionAffinity::ClientIp {
                timeout_seconds: 10_800
            }
        );
    }

    #[test]
    fn a_malformed_ip_is_named() {
        let error = ImportedService::try_from(&import(&json!({ "type": "ClusterSetIP", "ports": [], "ips": ["one"] })));
        assert_eq!(error.unwrap_err().field, "spec.ips[0]");
    }

    #[test]
    fn the_range_is_the_default_unless_the_cluster_says_otherwise() {
        let mut cluster = Cluster::new("east", crate::ClusterSpec::default());
        let range = |cluster: &Cluster| clusterset_range(cluster).map(|range| range.to_string());
        assert_eq!(range(&cluster).unwrap(), "244.174.0.0/16,fd74:6f6d:626f:6c6f::/112");
        cluster.spec.clusterset_ip_ranges = vec!["100.99.0.0/16".into()];
        assert_eq!(range(&cluster).unwrap(), "100.99.0.0/16");
        cluster.spec.clusterset_ip_ranges = vec!["100.99.0.1/16".into()];
        assert_eq!(range(&cluster).unwrap_err().field, "spec.clustersetIpRanges");
    }
}

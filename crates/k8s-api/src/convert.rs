//! Resource types into model types.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use model::{
    AddressKind, ClusterId, ClusterState, Connection, ConnectionState, ExportedPort, Family, GatewayAddress, GatewayId,
    ImportKind, PrefixSet, ProbeMode, Protocol, ProtocolRange, ReadyEndpoint, Rtt, ServiceKey, SessionAffinity,
};

use crate::{Cluster, ConnectionStatus, EndpointSpec, ExportedPortSpec, ExportedService, Gateway};

/// An object that cannot be used: which field, what it holds, and the mend. The object is skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {name}: {field}: {why}")]
pub struct ConvertError {
    /// Kind of the object.
    pub kind: &'static str,
    /// Its name, with its namespace where it has one.
    pub name: String,
    /// Path of the field.
    pub field: String,
    /// What is wrong and what to write.
    pub why: String,
}

impl ConvertError {
    pub(crate) fn new(kind: &'static str, name: &str, field: &str, why: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            field: field.to_owned(),
            why: why.into(),
        }
    }
}

/// The name of an object of `cluster` in `tombolo-system` of every member: `<cluster>.<name>`.
pub fn mirror_name(cluster: &ClusterId, name: &str) -> String {
    format!("{cluster}.{name}")
}

impl TryFrom<&Cluster> for model::Cluster {
    type Error = ConvertError;

    fn try_from(object: &Cluster) -> Result<Self, ConvertError> {
        let at = At::new("Cluster", object);
        let spec = &object.spec;
        let created = match &spec.claimed_at {
            Some(text) => at.time("spec.claimedAt", text)?,
            None => object.creation_timestamp().map_or(i64::MAX, |time| time.0.as_second()),
        };
        Ok(Self {
            id: at.cluster_id(&spec.cluster_id)?,
            pod_prefixes: at.prefixes("spec.podPrefixes", &spec.pod_prefixes)?,
            service_prefixes: at.prefixes("spec.servicePrefixes", &spec.service_prefixes)?,
            protocol: ProtocolRange {
                min: spec.protocol.min,
                max: spec.protocol.max,
            },
            state: match spec.state.as_str() {
                "Leaving" => ClusterState::Leaving,
                "Evicted" => ClusterState::Evicted,
                _ => ClusterState::Active,
            },
            created: (
                created,
                spec.claim_uid.clone().or_else(|| object.uid()).unwrap_or_default(),
            ),
        })
    }
}

impl TryFrom<&Gateway> for model::Gateway {
    type Error = ConvertError;

    fn try_from(object: &Gateway) -> Result<Self, ConvertError> {
        let at = At::new("Gateway", object);
        let spec = &object.spec;
        let addresses = spec.addresses.iter().enumerate().map(|(index, address)| {
            Ok(GatewayAddress {
                kind: match address.kind.as_str() {
                    "public" => AddressKind::Public,
                    "loadBalancer" => AddressKind::LoadBalancer,
                    "observed" => AddressKind::Observed,
                    _ => AddressKind::Private,
                },
                ip: at.ip(&format!("spec.addresses[{index}].ip"), &address.ip)?,
                port: address.port,
            })
        });
        let status = object.status.iter().flat_map(|status| &status.connections);
        Ok(Self {
            id: at.gateway_id(&spec.cluster_id, &spec.node, "spec.node")?,
            public_key: spec
                .public_key
                .parse()
                .map_err(|e: model::InvalidKey| at.fail("spec.publicKey", e.to_string()))?,
            addresses: addresses.collect::<Result<_, ConvertError>>()?,
            port: spec.port,
            lanes: spec.lanes.max(1),
            priority: spec.priority,
            active: spec.active,
            epoch: spec.epoch,
            probe: if spec.probe == "none" {
                ProbeMode::None
            } else {
                ProbeMode::Tombolo
            },
            underlay_mtu: spec.underlay_mtu,
            connections: status
                .map(|connection| at.connection(connection))
                .collect::<Result<_, ConvertError>>()?,
        })
    }
}

impl TryFrom<&ExportedService> for model::ExportedService {
    type Error = ConvertError;

    fn try_from(object: &ExportedService) -> Result<Self, ConvertError> {
        let at = At::new("ExportedService", object);
        let spec = &object.spec;
        let key = ServiceKey::from_broker_name(&format!("{}.{}", spec.name, spec.namespace))
            .ok_or_else(|| at.fail("spec.name", "name and namespace must be RFC 1123 labels"))?;
        let families = spec.ip_families.iter().filter_map(|family| match family.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        });
        let ips = spec.service_ips.iter().enumerate();
        let endpoints = spec.endpoints.iter().enumerate();
        Ok(Self {
            cluster: at.cluster_id(&spec.cluster_id)?,
            key,
            kind: if spec.kind == "Headless" {
                ImportKind::Headless
            } else {
                ImportKind::ClusterSetIP
            },
            ports: spec.ports.iter().filter_map(exported_port).collect(),
            ip_families: families.collect(),
            session_affinity: match spec.session_affinity.as_str() {
                "ClientIP" => SessionAffinity::ClientIp {
                    timeout_seconds: spec.session_affinity_timeout_seconds.unwrap_or(10_800),
                },
                _ => SessionAffinity::None,
            },
            exported_at: at.time("spec.exportedAt", &spec.exported_at)?,
            service_ips: ips
                .map(|(index, ip)| at.ip(&format!("spec.serviceIps[{index}]"), ip))
                .collect::<Result<_, _>>()?,
            endpoints: endpoints
                .map(|(index, endpoint)| at.endpoint(index, endpoint))
                .collect::<Result<_, _>>()?,
            ready_count: spec.ready_count,
        })
    }
}

/// A transport protocol; none for one of a newer build.
pub(crate) fn protocol(text: &str) -> Option<Protocol> {
    match text {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

fn exported_port(port: &ExportedPortSpec) -> Option<ExportedPort> {
    Some(ExportedPort {
        name: port.name.clone(),
        protocol: protocol(&port.protocol)?,
        port: port.port,
        app_protocol: port.app_protocol.clone(),
    })
}

/// The object that is being read, for its errors.
pub(crate) struct At {
    kind: &'static str,
    name: String,
}

impl At {
    pub(crate) fn new(kind: &'static str, object: &impl ResourceExt) -> Self {
        let name = match object.namespace() {
            Some(namespace) => format!("{namespace}/{}", object.name_any()),
            None => object.name_any(),
        };
        Self { kind, name }
    }

    fn fail(&self, field: &str, why: impl Into<String>) -> ConvertError {
        ConvertError::new(self.kind, &self.name, field, why)
    }

    fn cluster_id(&self, text: &str) -> Result<ClusterId, ConvertError> {
        text.parse()
            .map_err(|e: model::InvalidId| self.fail("spec.clusterId", e.to_string()))
    }

    fn gateway_id(&self, cluster: &str, node: &str, field: &str) -> Result<GatewayId, ConvertError> {
        Ok(GatewayId {
            cluster: self.cluster_id(cluster)?,
            node: node
                .parse()
                .map_err(|e: model::InvalidId| self.fail(field, e.to_string()))?,
        })
    }

    pub(crate) fn prefixes(&self, field: &str, texts: &[String]) -> Result<PrefixSet, ConvertError> {
        PrefixSet::parse(texts).map_err(|e| self.fail(field, e.to_string()))
    }

    pub(crate) fn ip(&self, field: &str, text: &str) -> Result<IpAddr, ConvertError> {
        text.parse()
            .map_err(|_| self.fail(field, format!("\"{text}\" is not an IP address")))
    }

    fn time(&self, field: &str, text: &str) -> Result<i64, ConvertError> {
        text.parse::<Timestamp>().map(Timestamp::as_second).map_err(|_| {
            self.fail(
                field,
                format!("\"{text}\" is not a time; write RFC 3339, such as 2026-01-31T12:00:00Z"),
            )
        })
    }

    fn endpoint(&self, index: usize, endpoint: &EndpointSpec) -> Result<ReadyEndpoint, ConvertError> {
        Ok(ReadyEndpoint {
            address: self.ip(&format!("spec.endpoints[{index}].address"), &endpoint.address)?,
            hostname: endpoint.hostname.clone(),
            ports: endpoint
                .ports
                .iter()
                .map(|port| (port.name.clone(), port.port))
                .collect(),
        })
    }

    fn connection(&self, status: &ConnectionStatus) -> Result<Connection, ConvertError> {
        Ok(Connection {
            remote: self.gateway_id(&status.cluster_id, &status.node, "status.connections")?,
            state: match status.state.as_str() {
                "connected" => ConnectionState::Connected,
                "degraded" => ConnectionState::Degraded,
                "error" => ConnectionState::Error,
                _ => ConnectionState::Connecting,
            },
            reason: status.reason.clone(),
            message: status.message.clone(),
            remote_address: status
                .remote_address
                .as_ref()
                .and_then(|text| text.parse::<SocketAddr>().ok()),
            rtt: status.rtt.map(|rtt| Rtt {
                last_us: rtt.last_micros,
                p50_us: rtt.p50_micros,
                p95_us: rtt.p95_micros,
                p99_us: rtt.p99_micros,
            }),
            loss_percent: status.loss_percent,
            mtu: status.mtu,
            last_handshake: status
                .last_handshake_time
                .as_ref()
                .and_then(|text| text.parse::<Timestamp>().ok())
                .map(Timestamp::as_second),
            rx_bytes: status.rx_bytes,
            tx_bytes: status.tx_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterSpec, ExportedServiceSpec, GatewaySpec};

    fn cluster(spec: ClusterSpec) -> Cluster {
        let mut object = Cluster::new("east", spec);
        object.metadata.namespace = Some("tombolo-m-east".into());
        object
    }

    #[test]
    fn a_malformed_prefix_names_object_field_value_and_mend() {
        let spec = ClusterSpec {
            cluster_id: "east".into(),
            pod_prefixes: vec!["10.1.2.3/16".into()],
            ..ClusterSpec::default()
        };
        let error = model::Cluster::try_from(&cluster(spec)).unwrap_err().to_string();
        assert_eq!(
            error,
            "Cluster tombolo-m-east/east: spec.podPrefixes: prefix \"10.1.2.3/16\" is not valid: host bits are set; write 10.1.0.0/16"
        );
    }

    #[test]
    fn an_unknown_state_never_drops_a_cluster() {
        let spec = ClusterSpec {
            cluster_id: "east".into(),
            state: "Hibernating".into(),
            ..ClusterSpec::default()
        };
        assert_eq!(
            model::Cluster::try_from(&cluster(spec)).unwrap().state,
            ClusterState::Active
        );
    }

    #[test]
    fn a_gateway_without_a_proper_key_is_refused() {
        let object = Gateway::new(
            "east.gw1",
            GatewaySpec {
                cluster_id: "east".into(),
                node: "gw1".into(),
                public_key: "nope".into(),
                ..GatewaySpec::default()
            },
        );
        assert_eq!(model::Gateway::try_from(&object).unwrap_err().field, "spec.publicKey");
    }

    #[test]
    fn an_export_needs_proper_times_and_addresses() {
        let spec = ExportedServiceSpec {
            cluster_id: "east".into(),
            namespace: "shop".into(),
            name: "cart".into(),
            exported_at: "2026-01-31T12:00:00Z".into(),
            service_ips: vec!["10.0.0.1".into(), "10.0.0".into()],
            ..ExportedServiceSpec::default()
        };
        let error = model::ExportedService::try_from(&ExportedService::new("x", spec.clone())).unwrap_err();
        assert_eq!(error.field, "spec.serviceIps[1]");
        let spec = ExportedServiceSpec {
            service_ips: vec![],
            exported_at: "yesterday".into(),
            ..spec
        };
        let error = model::ExportedService::try_from(&ExportedService::new("x", spec)).unwrap_err();
        assert_eq!(error.field, "spec.exportedAt");
    }
}

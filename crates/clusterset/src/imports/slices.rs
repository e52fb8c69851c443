use std::collections::BTreeMap;
use std::net::IpAddr;

use model::{ClusterId, ExportedPort, Family, ImportKind, Protocol, ReadyEndpoint, ServiceKey};

use super::ports::{is_same_number, sorted};
use crate::exports::Export;

/// So many endpoints are put into one slice, as Kubernetes does (`--max-endpoints-per-slice`).
pub const MAX_SLICE_ENDPOINTS: usize = 100;

/// Endpoints of one source cluster and family that share their target ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// `<svc>.<cluster>.<family>.<n>`. Neither name nor id holds a dot, so no two services share a name.
    pub name: String,
    /// Where the endpoints are.
    pub cluster: ClusterId,
    /// Their family.
    pub family: Family,
    /// Target ports under the import's port names.
    pub ports: Vec<SlicePort>,
    /// The endpoints, by address.
    pub endpoints: Vec<SliceEndpoint>,
}

/// A target port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePort {
    /// The import's name of the port.
    pub name: String,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Number at the endpoint.
    pub port: u16,
    /// Application protocol, if told.
    pub app_protocol: Option<String>,
}

/// A ready endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceEndpoint {
    /// Its address.
    pub address: IpAddr,
    /// Its hostname, for headless services.
    pub hostname: Option<String>,
}

/// The slices of an import whose ports and exporters (of one type) are given.
pub(super) fn slices(key: &ServiceKey, ports: &[ExportedPort], exporters: &[&Export]) -> Vec<Slice> {
    let mut exporters: Vec<&Export> = exporters.to_vec();
    exporters.sort_by_key(|export| &export.service.cluster);
    exporters
        .into_iter()
        .flat_map(|export| [Family::V4, Family::V6].map(|family| of_family(key, ports, export, family)))
        .flatten()
        .collect()
}

fn of_family(key: &ServiceKey, ports: &[ExportedPort], export: &Export, family: Family) -> Vec<Slice> {
    let service = &export.service;
    let mut groups: BTreeMap<Vec<SlicePort>, Vec<&ReadyEndpoint>> = BTreeMap::new();
    for endpoint in service.endpoints.iter().filter(|e| Family::of(e.address) == family) {
        let targets = target_ports(ports, export, endpoint);
        // Behind an IP, an endpoint without a port gets no traffic. A headless name answers with it all the same.
        if !targets.is_empty() || service.kind == ImportKind::Headless {
            groups.entry(targets).or_default().push(endpoint);
        }
    }
    let chunks = groups.iter_mut().flat_map(|(targets, endpoints)| {
        endpoints.sort();
        endpoints.chunks(MAX_SLICE_ENDPOINTS).map(move |chunk| (targets, chunk))
    });
    chunks
        .enumerate()
        .map(|(index, (targets, chunk))| Slice {
            name: format!(
                "{}.{}.{}.{index}",
                key.name,
                service.cluster,
                family.to_string().to_lowercase()
            ),
            cluster: service.cluster.clone(),
            family,
            ports: targets.clone(),
            endpoints: chunk
                .iter()
                .map(|endpoint| SliceEndpoint {
                    address: endpoint.address,
                    hostname: endpoint.hostname.clone(),
                })
                .collect(),
        })
        .collect()
}

/// Where an endpoint takes the import's ports: those that its cluster has under the same protocol and number.
fn target_ports(ports: &[ExportedPort], export: &Export, endpoint: &ReadyEndpoint) -> Vec<SlicePort> {
    let own_ports = sorted(export);
    let target = |port: &ExportedPort| {
        let own = own_ports.iter().find(|own| is_same_number(own, port))?;
        let (_, number) = endpoint.ports.iter().find(|(name, _)| *name == own.name)?;
        Some(SlicePort {
            name: port.name.clone(),
            protocol: port.protocol,
            port: *number,
            app_protocol: port.app_protocol.clone(),
        })
    };
    ports.iter().filter_map(target).collect()
}

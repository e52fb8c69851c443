use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use hostnet::{VipElements, VipPort, Vips};
use model::names::MAX_ENDPOINTS;
use model::{
    ClusterId, ClusterState, ExportedPort, ExportedService, Family, ImportKind, ImportedService, Node, Preference,
    Protocol, ReadyEndpoint, SessionAffinity, Snapshot,
};

use super::slots::fill;
use crate::choice::Ways;
use crate::dns::live_clusters;

/// Where connections to a port may go.
#[derive(Debug, Clone, PartialEq)]
pub struct Backend {
    /// Address and port.
    pub address: SocketAddr,
    /// Its share, as against the others'.
    pub weight: f64,
}

/// What node `me`, whose probes found these `ways`, needs to translate clusterset IPs.
pub fn vips(snapshot: &Snapshot, me: &Node, ways: &Ways) -> Vips {
    let here = Here::of(snapshot, me, ways);
    let mut elements = VipElements::default();
    let imports = snapshot.imports.iter();
    for import in imports.filter(|import| import.kind == ImportKind::ClusterSetIP) {
        let exports = here.exports(snapshot, import);
        for address in import.ips.iter().filter(|ip| snapshot.clusterset_range.contains(**ip)) {
            elements.known.insert(*address);
            for port in &import.ports {
                let backends = here.backends(import, &exports, port, Family::of(*address));
                let own = backends.iter().map(|backend| backend.address.ip());
                elements.hairpin.extend(own.filter(|ip| here.is_on_node(*ip)));
                let key = vip_port(*address, port);
                if import.session_affinity != SessionAffinity::None && !backends.is_empty() {
                    elements.affine.insert(key);
                }
                if let [sole] = backends.as_slice() {
                    elements.sole.insert(key, sole.address);
                    continue;
                }
                let seed = format!(
                    "{}/{}/{}/{:?}{}",
                    me.uid, import.key.namespace, import.key.name, port.protocol, port.port
                );
                let slots = fill(seed.as_bytes(), &backends);
                if !slots.is_empty() {
                    elements.slots.insert(key, slots.into_iter().map(Some).collect());
                }
            }
        }
    }
    Vips {
        range: snapshot.clusterset_range.iter().copied().collect(),
        elements,
    }
}

/// The clusterset as one node of it sees it.
struct Here<'a> {
    own: &'a ClusterId,
    node: &'a Node,
    live: BTreeSet<ClusterId>,
    /// A number for the round trip to each cluster: the lower the nearer, and alike for those that hardly differ.
    distance: BTreeMap<&'a ClusterId, u32>,
}

/// The clusters that this node reaches: what its own probes found holds against what the API tells, which is older and may be of
/// gateways that are gone.
fn reached(snapshot: &Snapshot, ways: &Ways) -> BTreeSet<ClusterId> {
    let mut live = live_clusters(snapshot);
    for (cluster, way) in ways {
        let is_member = || {
            snapshot
                .clusters
                .get(cluster)
                .is_some_and(|of| of.state == ClusterState::Active)
        };
        if way.is_none() {
            live.remove(cluster);
        } else if is_member() {
            live.insert(cluster.clone());
        }
    }
    live
}

impl<'a> Here<'a> {
    fn of(snapshot: &'a Snapshot, node: &'a Node, ways: &Ways) -> Self {
        let mut distance: BTreeMap<&ClusterId, u32> = BTreeMap::new();
        let gateways = snapshot.gateways_of(&snapshot.cluster);
        let connections = gateways.flat_map(|gateway| &gateway.connections);
        for connection in connections.filter(|connection| connection.state.is_usable()) {
            if let Some(rtt) = connection.rtt {
                let class = distance.entry(&connection.remote.cluster).or_insert(u32::MAX);
                *class = (*class).min(rtt_class(rtt.p50_us));
            }
        }
        Self {
            own: &snapshot.cluster,
            node,
            live: reached(snapshot, ways),
            distance,
        }
    }

    /// Exports that count: of the import's kind, by live clusters.
    fn exports<'s>(&self, snapshot: &'s Snapshot, import: &'s ImportedService) -> Vec<&'s ExportedService> {
        snapshot
            .exports_of(&import.key)
            .filter(|export| export.kind == import.kind && self.live.contains(&export.cluster))
            .collect()
    }

    fn backends(
        &self,
        import: &ImportedService,
        exports: &[&ExportedService],
        port: &ExportedPort,
        family: Family,
    ) -> Vec<Backend> {
        let mut by_cluster: BTreeMap<&ClusterId, Vec<Backend>> = BTreeMap::new();
        for export in exports {
            let backends = self.of_cluster(export, port, family);
            if !backends.is_empty() {
                by_cluster.insert(&export.cluster, backends);
            }
        }
        let own_comes_first = import.preference != Preference::Spread;
        let mut chosen = match by_cluster.remove(self.own) {
            Some(own) if own_comes_first => own,
            own => {
                let nearest = by_cluster.keys().map(|cluster| self.distance(cluster)).min();
                let others = by_cluster.into_iter().filter(|(cluster, _)| {
                    import.preference != Preference::Nearest || Some(self.distance(cluster)) == nearest
                });
                own.into_iter()
                    .chain(others.map(|(_, backends)| backends))
                    .flatten()
                    .collect()
            }
        };
        self.keep_to_node(import, &mut chosen);
        chosen
    }

    /// The node itself, where the policies of the service ask for it. A node that does not know its pods keeps all.
    fn keep_to_node(&self, import: &ImportedService, backends: &mut Vec<Backend>) {
        if self.node.pod_prefixes.is_empty() {
            return;
        }
        let on_node = |backend: &Backend| self.is_on_node(backend.address.ip());
        let must = import.internal_traffic_policy.as_deref() == Some("Local");
        let may = import.traffic_distribution.as_deref() == Some("PreferSameNode");
        if must || (may && backends.iter().any(on_node)) {
            backends.retain(on_node);
        }
    }

    /// Backends of one cluster, which together weigh as much as it has ready endpoints.
    fn of_cluster(&self, export: &ExportedService, port: &ExportedPort, family: Family) -> Vec<Backend> {
        let is_same_number = |own: &&ExportedPort| (own.protocol, own.port) == (port.protocol, port.port);
        let Some(own_port) = export.ports.iter().find(is_same_number) else {
            return Vec::new();
        };
        let of_family: Vec<&ReadyEndpoint> = export
            .endpoints
            .iter()
            .filter(|endpoint| Family::of(endpoint.address) == family)
            .collect();
        let (told, truth) = (of_family.len(), export.ready_count as usize);
        let weight = if told == MAX_ENDPOINTS { share(truth, told) } else { 1.0 };
        let target = |endpoint: &&ReadyEndpoint| {
            let (_, number) = endpoint.ports.iter().find(|(name, _)| *name == own_port.name)?;
            Some(Backend {
                address: SocketAddr::new(endpoint.address, *number),
                weight,
            })
        };
        let mut backends: Vec<Backend> = of_family.iter().filter_map(target).collect();
        // Those that could not be told are behind the service's own IP, but not in its own cluster: there, our translation
        // would be the only one, and the IP leads nowhere.
        let outside = truth.saturating_sub(told);
        let service_ip = export.service_ips.iter().find(|ip| Family::of(**ip) == family);
        if let Some(ip) = service_ip
            && outside > 0
            && told < MAX_ENDPOINTS
            && export.cluster != *self.own
        {
            backends.push(Backend {
                address: SocketAddr::new(*ip, own_port.port),
                weight: share(outside, 1),
            });
        }
        backends
    }

    fn distance(&self, cluster: &ClusterId) -> u32 {
        self.distance.get(cluster).copied().unwrap_or(u32::MAX)
    }

    fn is_on_node(&self, address: IpAddr) -> bool {
        self.node.pod_prefixes.contains(address)
    }
}

fn vip_port(address: IpAddr, port: &ExportedPort) -> VipPort {
    VipPort {
        address,
        protocol: match port.protocol {
            Protocol::Tcp => hostnet::Protocol::Tcp,
            Protocol::Udp => hostnet::Protocol::Udp,
            Protocol::Sctp => hostnet::Protocol::Sctp,
        },
        port: port.port,
    }
}

/// How near a cluster is by its median round trip, for `tombolo.dev/prefer: nearest`: clusters of one class are alike near. Classes begin at 0, 1.5, 7.5, 31.5, 127.5 ms …: each four times as far, so that jitter seldom crosses a border.
pub fn rtt_class(p50_us: u32) -> u32 {
    (p50_us / 500 + 1).ilog2() / 2
}

#[expect(clippy::cast_precision_loss, reason = "counts of endpoints are small")]
fn share(count: usize, among: usize) -> f64 {
    count as f64 / among as f64
}

#[cfg(test)]
mod tests;

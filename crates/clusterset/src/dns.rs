//! Which addresses every name of the clusterset zone has.
//!
//! [`zone_view`] turns a snapshot into a [`ZoneView`]: a table from name to [`Records`] that needs no thought to answer from. Names
//! are relative to the zone and lower case, so `cart.shop.svc` stands for `cart.shop.svc.clusterset.local`.
//!
//! | name | addresses |
//! |---|---|
//! | `<svc>.<ns>.svc` with a clusterset IP | that, always |
//! | `<svc>.<ns>.svc` with an IP, without a clusterset IP | the own cluster's service, if it exports it and an endpoint is ready; else one connected cluster's, in turn |
//! | `<svc>.<ns>.svc`, headless | the ready endpoints of all live clusters |
//! | `<cluster>.<svc>.<ns>.svc` | that cluster's service IP, or its ready endpoints |
//! | `<hostname>.<cluster>.<svc>.<ns>.svc`, headless | that endpoint |
//!
//! A cluster is live when it is our own, or when one of our gateways has a usable cable to it. A name whose clusters are all dead,
//! or without a ready endpoint, stays in the table as [`Records::Dead`], so that it can be denied for a second only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{ClusterId, ClusterState, ExportedService, Family, ImportKind, ServiceKey, Snapshot};

/// What a name of the zone has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Records {
    /// One of these sets, each time the next one.
    Rotate(Vec<Vec<IpAddr>>),
    /// All of these, in an order that changes each time.
    All(Vec<IpAddr>),
    /// The name is known, and nothing behind it is live.
    Dead,
    /// Only names below it have records.
    NonTerminal,
}

impl Records {
    /// The addresses of one family for the `turn`th query.
    pub fn addresses(&self, family: Family, turn: usize) -> Vec<IpAddr> {
        let of_family = |set: &[IpAddr]| -> Vec<IpAddr> {
            set.iter()
                .copied()
                .filter(|address| Family::of(*address) == family)
                .collect()
        };
        match self {
            Self::Rotate(sets) => {
                let mut sets: Vec<_> = sets
                    .iter()
                    .map(|set| of_family(set))
                    .filter(|set| !set.is_empty())
                    .collect();
                if sets.is_empty() {
                    Vec::new()
                } else {
                    sets.swap_remove(turn % sets.len())
                }
            }
            Self::All(set) => {
                let mut set = of_family(set);
                if !set.is_empty() {
                    let turn = turn % set.len();
                    set.rotate_left(turn);
                }
                set
            }
            Self::Dead | Self::NonTerminal => Vec::new(),
        }
    }
}

/// Every name of the zone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ZoneView {
    names: BTreeMap<String, Records>,
}

impl ZoneView {
    /// What a name has; the name is relative to the zone and lower case. The zone's own name is empty.
    pub fn lookup(&self, name: &str) -> Option<&Records> {
        self.names.get(name)
    }

    /// How many names have records.
    pub fn len(&self) -> usize {
        self.names
            .values()
            .filter(|records| **records != Records::NonTerminal)
            .count()
    }

    /// Whether no name has records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(&mut self, name: String, records: Records) {
        // Every name above it exists, though it may have no records (RFC 8020).
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            self.names.entry(parent.to_owned()).or_insert(Records::NonTerminal);
            rest = parent;
        }
        self.names.insert(name, records);
    }
}

/// The zone as one snapshot makes it.
pub fn zone_view(snapshot: &Snapshot) -> ZoneView {
    let live = live_clusters(snapshot);
    let mut view = ZoneView::default();
    view.names.insert(String::new(), Records::NonTerminal);
    for (key, exports) in by_service(snapshot) {
        let name = format!("{}.{}.svc", key.name, key.namespace);
        for export in &exports {
            insert_cluster(&mut view, &name, export, live.contains(&export.cluster));
        }
        let ready: Vec<_> = exports
            .iter()
            .copied()
            .filter(|export| live.contains(&export.cluster) && export.ready_count > 0)
            .collect();
        view.insert(name, service_records(snapshot, &exports, &ready));
    }
    view
}

/// The clusters that traffic can reach now.
pub fn live_clusters(snapshot: &Snapshot) -> BTreeSet<ClusterId> {
    let is_member = |cluster: &ClusterId| {
        snapshot
            .clusters
            .get(cluster)
            .is_some_and(|cluster| cluster.state == ClusterState::Active)
    };
    let connections = snapshot
        .gateways_of(&snapshot.cluster)
        .flat_map(|gateway| &gateway.connections);
    connections
        .filter(|connection| connection.state.is_usable())
        .map(|connection| connection.remote.cluster.clone())
        .filter(is_member)
        .chain([snapshot.cluster.clone()])
        .collect()
}

/// Exports by service; of each the oldest comes first, which is the order of precedence.
fn by_service(snapshot: &Snapshot) -> BTreeMap<&ServiceKey, Vec<&ExportedService>> {
    let mut services: BTreeMap<&ServiceKey, Vec<&ExportedService>> = BTreeMap::new();
    for export in snapshot.exports.values() {
        services.entry(&export.key).or_default().push(export);
    }
    for exports in services.values_mut() {
        exports.sort_by_key(|export| (export.exported_at, &export.cluster));
    }
    services
}

fn service_records(snapshot: &Snapshot, exports: &[&ExportedService], ready: &[&ExportedService]) -> Records {
    // The oldest export says which kind of service it is (KEP-1645); others of another kind are not reached by this name.
    let kind = exports[0].kind;
    // The clusterset IP holds whatever is live; the client's node refuses what leads nowhere.
    if let Some(import) = snapshot.imports.get(&exports[0].key)
        && import.kind == ImportKind::ClusterSetIP
        && !import.ips.is_empty()
    {
        return Records::All(import.ips.clone());
    }
    let ready: Vec<_> = ready.iter().filter(|export| export.kind == kind).collect();
    if ready.is_empty() {
        return Records::Dead;
    }
    match kind {
        ImportKind::Headless => Records::All(
            ready
                .iter()
                .flat_map(|export| &export.endpoints)
                .map(|endpoint| endpoint.address)
                .collect(),
        ),
        ImportKind::ClusterSetIP => match ready.iter().find(|export| export.cluster == snapshot.cluster) {
            Some(own) => Records::Rotate(vec![own.service_ips.clone()]),
            None => Records::Rotate(ready.iter().map(|export| export.service_ips.clone()).collect()),
        },
    }
}

fn insert_cluster(view: &mut ZoneView, service: &str, export: &ExportedService, is_live: bool) {
    let name = format!("{}.{service}", export.cluster);
    if !is_live || export.ready_count == 0 {
        view.insert(name, Records::Dead);
        return;
    }
    match export.kind {
        ImportKind::ClusterSetIP => view.insert(name, Records::Rotate(vec![export.service_ips.clone()])),
        ImportKind::Headless => {
            let mut hosts: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
            for endpoint in &export.endpoints {
                let host = endpoint.hostname.clone().unwrap_or_else(|| dashed(endpoint.address));
                hosts
                    .entry(host.to_ascii_lowercase())
                    .or_default()
                    .push(endpoint.address);
            }
            for (host, addresses) in hosts {
                view.insert(format!("{host}.{name}"), Records::All(addresses));
            }
            let all = export.endpoints.iter().map(|endpoint| endpoint.address).collect();
            view.insert(name, Records::All(all));
        }
    }
}

/// The hostname of an endpoint that was given none: its address with dashes.
fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{
        Cluster, Connection, ConnectionState, Gateway, GatewayId, PrefixSet, ProbeMode, ProtocolRange, PublicKey,
        ReadyEndpoint, SessionAffinity,
    };

    fn id(text: &str) -> ClusterId {
        text.parse().unwrap()
    }

    /// East's view, with cables to these clusters in these states.
    fn snapshot(cables: &[(&str, ConnectionState)]) -> Snapshot {
        let mut snapshot = Snapshot::empty(id("east"));
        for name in ["east", "west", "north"] {
            let cluster = Cluster {
                id: id(name),
                pod_prefixes: PrefixSet::default(),
                service_prefixes: PrefixSet::default(),
                protocol: ProtocolRange { min: 1, max: 1 },
                state: ClusterState::Active,
                created: (0, String::new()),
            };
            snapshot.clusters.insert(id(name), cluster);
        }
        let gateway = GatewayId {
            cluster: id("east"),
            node: "gw1".parse().unwrap(),
        };
        let connection = |(cluster, state): &(&str, ConnectionState)| Connection {
            remote: GatewayId {
                cluster: id(cluster),
                node: "gw1".parse().unwrap(),
            },
            state: *state,
            reason: None,
            message: String::new(),
            remote_address: None,
            rtt: None,
            loss_percent: None,
            mtu: None,
            last_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
        };
        let gateway = Gateway {
            id: gateway.clone(),
            public_key: PublicKey::from_bytes([1; 32]),
            addresses: vec![],
            port: 4510,
            lanes: 1,
            priority: 0,
            active: true,
            epoch: 1,
            probe: ProbeMode::Tombolo,
            underlay_mtu: 1500,
            connections: cables.iter().map(connection).collect(),
        };
        snapshot.gateways.insert(gateway.id.clone(), gateway);
        snapshot
    }

    fn export(snapshot: &mut Snapshot, cluster: &str, age: i64, kind: ImportKind, addresses: &[&str]) {
        let addresses: Vec<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let is_headless = kind == ImportKind::Headless;
        let export = ExportedService {
            cluster: id(cluster),
            key: ServiceKey::new("shop", "cart"),
            kind,
            ports: vec![],
            ip_families: vec![],
            session_affinity: SessionAffinity::None,
            exported_at: age,
            service_ips: if is_headless { vec![] } else { addresses.clone() },
            endpoints: addresses
                .iter()
                .map(|address| ReadyEndpoint {
                    address: *address,
                    hostname: None,
                    ports: vec![],
                })
                .collect(),
            ready_count: u32::try_from(addresses.len()).unwrap(),
        };
        snapshot
            .exports
            .insert((export.key.clone(), export.cluster.clone()), export);
    }

    fn v4(view: &ZoneView, name: &str, turn: usize) -> Vec<String> {
        let records = view.lookup(name).unwrap_or_else(|| panic!("no {name}"));
        records
            .addresses(Family::V4, turn)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const USABLE: ConnectionState = ConnectionState::Connected;

    #[test]
    fn the_own_cluster_comes_first() {
        let mut snapshot = snapshot(&[("west", USABLE)]);
        export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
        export(&mut snapshot, "east", 2, ImportKind::ClusterSetIP, &["10.1.0.1"]);
        let view = zone_view(&snapshot);
        for turn in 0..4 {
            assert_eq!(v4(&view, "cart.shop.svc", turn), ["10.1.0.1"]);
        }
        assert_eq!(v4(&view, "west.cart.shop.svc", 0), ["10.2.0.1"]);
    }

    #[test]
    fn remote_clusters_take_turns_and_dead_ones_are_out() {
        let mut snapshot = snapshot(&[("west", USABLE), ("north", USABLE)]);
        export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
        export(&mut snapshot, "north", 2, ImportKind::ClusterSetIP, &["10.3.0.1"]);
        let view = zone_view(&snapshot);
        assert_ne!(v4(&view, "cart.shop.svc", 0), v4(&view, "cart.shop.svc", 1));
        let gateway = snapshot.gateways.values_mut().next().unwrap();
        gateway.connections[0].state = ConnectionState::Error;
        let view = zone_view(&snapshot);
        for turn in 0..4 {
            assert_eq!(v4(&view, "cart.shop.svc", turn), ["10.3.0.1"]);
        }
        assert_eq!(view.lookup("west.cart.shop.svc"), Some(&Records::Dead));
    }

    #[test]
    fn a_service_without_a_ready_endpoint_anywhere_is_dead() {
        let mut snapshot = snapshot(&[("west", USABLE)]);
        export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
        for export in snapshot.exports.values_mut() {
            export.ready_count = 0;
        }
        assert_eq!(zone_view(&snapshot).lookup("cart.shop.svc"), Some(&Records::Dead));
    }

    #[test]
    fn headless_names_have_the_endpoints_of_all_live_clusters() {
        let mut snapshot = snapshot(&[("west", USABLE)]);
        export(
            &mut snapshot,
            "west",
            1,
            ImportKind::Headless,
            &["10.2.0.1", "10.2.0.2", "fd02::1"],
        );
        export(&mut snapshot, "north", 2, ImportKind::Headless, &["10.3.0.1"]);
        let view = zone_view(&snapshot);
        let mut all = v4(&view, "cart.shop.svc", 1);
        all.sort();
        assert_eq!(all, ["10.2.0.1", "10.2.0.2"]);
        assert_eq!(v4(&view, "10-2-0-2.west.cart.shop.svc", 0), ["10.2.0.2"]);
    }

    #[test]
    fn names_above_a_service_exist_without_records() {
        let mut snapshot = snapshot(&[]);
        export(&mut snapshot, "east", 1, ImportKind::ClusterSetIP, &["10.1.0.1"]);
        let view = zone_view(&snapshot);
        for name in ["", "svc", "shop.svc"] {
            assert_eq!(view.lookup(name), Some(&Records::NonTerminal), "{name}");
        }
        assert_eq!(view.lookup("other.svc"), None);
        assert_eq!(view.len(), 2);
    }

    #[test]
    fn the_oldest_export_says_the_kind() {
        let mut snapshot = snapshot(&[("west", USABLE)]);
        export(&mut snapshot, "east", 2, ImportKind::Headless, &["10.1.0.1"]);
        export(&mut snapshot, "west", 1, ImportKind::ClusterSetIP, &["10.2.0.1"]);
        assert_eq!(v4(&zone_view(&snapshot), "cart.shop.svc", 0), ["10.2.0.1"]);
    }
}

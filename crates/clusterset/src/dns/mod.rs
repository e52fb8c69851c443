//! Which records every name of the clusterset zone has.
//!
//! [`zone_view`] turns a snapshot into a [`ZoneView`]: a table from name to [`Records`] that needs no thought to answer from.
//! [`changes()`] says what to do to the zone of one snapshot so that it is that of another. Names are relative to the zone and lower
//! case, so `cart.shop.svc` stands for `cart.shop.svc.clusterset.local`.
//!
//! | name | addresses |
//! |---|---|
//! | `<svc>.<ns>.svc` with a clusterset IP | that, always |
//! | `<svc>.<ns>.svc` with an IP, without a clusterset IP | the own cluster's service, if it exports it and an endpoint is ready; else one connected cluster's, in turn |
//! | `<svc>.<ns>.svc`, headless | the ready endpoints of all live clusters |
//! | `<cluster>.<svc>.<ns>.svc`, unless [`ClusterNames::Reserved`] | that cluster's service IP, or its ready endpoints |
//! | `<hostname>.<cluster>.<svc>.<ns>.svc`, headless | that endpoint |
//!
//! Every name of the first four rows has SRV records for its ports, and `_<port>._<protocol>.<svc>.<ns>.svc` for that port. Their
//! target is the name itself, or for a headless service the name of each endpoint. Equal records are one. A clusterset IP has its
//! service's name.
//!
//! A cluster is live when it is our own, or when one of our gateways has a usable cable to it. A name whose clusters are all dead,
//! or without a ready endpoint, stays in the table as [`Records::Dead`], so that it can be denied for a second only.

mod changes;
mod services;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use model::{
    ClusterId, ClusterState, ExportedService, ImportKind, ImportedService, ReadyEndpoint, ServiceKey, Snapshot,
};

pub use changes::{Change, changes};
pub use view::{Name, Records, ServiceAddress, ZoneView};

/// Whether `<cluster>.<svc>.<ns>.svc` leads to one cluster's service. The MCS DNS specification reserves these names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClusterNames {
    /// They do.
    #[default]
    Answered,
    /// They have no records, as the specification says.
    Reserved,
}

/// The zone as one snapshot makes it.
pub fn zone_view(snapshot: &Snapshot, cluster_names: ClusterNames) -> ZoneView {
    let mut view = ZoneView::default();
    view.insert("", Records::NonTerminal);
    let live = live_clusters(snapshot);
    let keys: BTreeSet<&ServiceKey> = snapshot.exports.iter().map(|export| &export.key).collect();
    for key in keys {
        view.extend(service_view(snapshot, key, &live, cluster_names));
    }
    view
}

/// What a service has in the zone, and the names above, which it shares with others, as [`Records::NonTerminal`]. Nothing when
/// nobody exports it.
fn service_view(
    snapshot: &Snapshot,
    key: &ServiceKey,
    live: &BTreeSet<ClusterId>,
    cluster_names: ClusterNames,
) -> ZoneView {
    let mut view = ZoneView::default();
    let mut exports: Vec<_> = snapshot.exports_of(key).collect();
    if exports.is_empty() {
        return view;
    }
    // The oldest comes first, which is the order of precedence.
    exports.sort_by_key(|export| (export.exported_at, &export.cluster));
    let name = service_name(key);
    for export in &exports {
        let is_live = live.contains(&export.cluster) && export.ready_count > 0;
        insert_cluster(&mut view, &name, export, is_live, cluster_names);
    }
    insert_service(&mut view, &name, snapshot, &exports, live);
    view.keep_above_live();
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

fn insert_service(
    view: &mut ZoneView,
    name: &str,
    snapshot: &Snapshot,
    exports: &[&ExportedService],
    live: &BTreeSet<ClusterId>,
) {
    let import = snapshot.imports.get(&exports[0].key);
    // The clusterset IP holds whatever is live; the client's node refuses what leads nowhere.
    if let Some(import) = import.filter(|import| is_routed(import)) {
        view.insert(name, Records::All(import.ips.clone()));
        services::insert(view, name, &import.ports);
        for address in &import.ips {
            view.insert_reverse(*address, name);
        }
        return;
    }
    // The oldest export says which kind of service it is (KEP-1645); others of another kind are not reached by this name.
    let kind = exports[0].kind;
    let alike: Vec<_> = exports.iter().copied().filter(|export| export.kind == kind).collect();
    let ready: Vec<_> = alike
        .iter()
        .copied()
        .filter(|export| live.contains(&export.cluster) && export.ready_count > 0)
        .collect();
    if ready.is_empty() {
        view.insert(name, Records::Dead);
        return;
    }
    match kind {
        ImportKind::Headless => {
            let endpoints = ready.iter().flat_map(|export| &export.endpoints);
            view.insert(name, Records::All(endpoints.map(|endpoint| endpoint.address).collect()));
            for export in ready {
                services::insert_endpoints(view, name, &cluster_name(export, name), export, true);
            }
        }
        ImportKind::ClusterSetIP => {
            let sets = match ready.iter().find(|export| export.cluster == snapshot.cluster) {
                Some(own) => vec![own.service_ips.clone()],
                None => ready.iter().map(|export| export.service_ips.clone()).collect(),
            };
            view.insert(name, Records::Rotate(sets));
            match import {
                Some(import) => services::insert(view, name, &import.ports),
                None => services::insert(view, name, &services::union(&alike)),
            }
        }
    }
}

fn insert_cluster(
    view: &mut ZoneView,
    service: &str,
    export: &ExportedService,
    is_live: bool,
    cluster_names: ClusterNames,
) {
    let name = cluster_name(export, service);
    let is_answered = cluster_names == ClusterNames::Answered;
    if !is_live {
        if is_answered {
            view.insert(&name, Records::Dead);
        }
        return;
    }
    match export.kind {
        ImportKind::ClusterSetIP if is_answered => {
            view.insert(&name, Records::Rotate(vec![export.service_ips.clone()]));
            services::insert_bare(view, &name, &export.ports);
        }
        ImportKind::ClusterSetIP => {}
        ImportKind::Headless => {
            let mut hosts: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
            for endpoint in &export.endpoints {
                hosts.entry(host_label(endpoint)).or_default().push(endpoint.address);
            }
            for (host, addresses) in hosts {
                view.insert(&format!("{host}.{name}"), Records::All(addresses));
            }
            if is_answered {
                let all = export.endpoints.iter().map(|endpoint| endpoint.address).collect();
                view.insert(&name, Records::All(all));
                services::insert_endpoints(view, &name, &name, export, false);
            }
        }
    }
}

/// Whether connections to the service go by its clusterset IPs.
fn is_routed(import: &ImportedService) -> bool {
    import.kind == ImportKind::ClusterSetIP && !import.ips.is_empty()
}

fn service_name(key: &ServiceKey) -> String {
    format!("{}.{}.{SERVICES}", key.name, key.namespace)
}

fn cluster_name(export: &ExportedService, service: &str) -> String {
    format!("{}.{service}", export.cluster)
}

/// The label of an endpoint: its hostname, or its address with dashes when it was given none.
fn host_label(endpoint: &ReadyEndpoint) -> String {
    match &endpoint.hostname {
        Some(hostname) => hostname.to_ascii_lowercase(),
        None => endpoint.address.to_string().replace(['.', ':'], "-"),
    }
}

/// All names of services are below this.
const SERVICES: &str = "svc";

#[cfg(test)]
mod tests;

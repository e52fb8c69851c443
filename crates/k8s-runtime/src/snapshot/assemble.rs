//! A view from what the watches say. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_api::{Cluster, ConvertError, clusterset_range, mirror_name, node_from};
use kube::{Resource, ResourceExt};
use model::{ClusterId, ClusterState, ImportedService, Snapshot, names};

use super::sources::Latest;
use super::{Freshness, View};
use crate::watched::{Link, Watched};

/// The view that follows `previous`.
pub(super) fn view(latest: &Latest, cluster: Option<&ClusterId>, previous: &View) -> View {
    if let Some(why) = unheard(latest, previous.snapshot.is_some()) {
        return View {
            freshness: frozen(previous, why),
            ..previous.clone()
        };
    }
    let Some(cluster) = cluster.cloned().or_else(|| own_cluster(&latest.clusters)) else {
        return View {
            freshness: frozen(
                previous,
                "no Cluster object says which cluster this is; `tombolo join` writes it".to_owned(),
            ),
            ..previous.clone()
        };
    };
    let (snapshot, malformed) = assemble(latest, cluster);
    // The same snapshot stays the same allocation, so that comparing views is cheap.
    let snapshot = match &previous.snapshot {
        Some(same) if **same == snapshot => Arc::clone(same),
        _ => Arc::new(snapshot),
    };
    View {
        snapshot: Some(snapshot),
        freshness: lost(latest).map_or(Freshness::Live, Freshness::Stale),
        malformed,
    }
}

fn frozen(previous: &View, why: String) -> Freshness {
    match previous.snapshot {
        Some(_) => Freshness::Stale(why),
        None => Freshness::Waiting(why),
    }
}

/// Which watch has told nothing yet. A kind that the server does not have counts as none of it, unless a snapshot says otherwise.
fn unheard(latest: &Latest, has_snapshot: bool) -> Option<String> {
    latest.links().into_iter().find_map(|(kind, link)| match link {
        Link::Connecting(None) => Some(format!("{kind} objects were not listed yet")),
        Link::Connecting(Some(why)) => Some(format!("{kind} objects cannot be listed: {why}")),
        // Without the MCS API there is nothing to import, and everything else goes on.
        Link::Absent if kind == "ServiceImport" => None,
        Link::Absent if has_snapshot || kind == "Cluster" => Some(format!(
            "the API server does not have the kind {kind}; `tombolo join` installs it"
        )),
        Link::Absent | Link::Live | Link::Lost(_) => None,
    })
}

fn lost(latest: &Latest) -> Option<String> {
    latest.links().into_iter().find_map(|(kind, link)| match link {
        Link::Lost(why) => Some(format!("the API server cannot be watched for {kind} objects: {why}")),
        _ => None,
    })
}

/// The cluster that this is: its `Cluster` was written by join, while mirrors are managed by the sync leader.
fn own_cluster(clusters: &Watched<Cluster>) -> Option<ClusterId> {
    let mut own = clusters.objects.values().filter(|object| !is_mirror(object.as_ref()));
    own.find_map(|object| object.spec.cluster_id.parse().ok())
}

fn is_mirror(object: &Cluster) -> bool {
    object
        .labels()
        .get(MANAGED_BY)
        .is_some_and(|manager| manager == names::FIELD_MANAGER)
}

fn assemble(latest: &Latest, cluster: ClusterId) -> (Snapshot, Vec<ConvertError>) {
    let mut snapshot = Snapshot::empty(cluster);
    let mut malformed = Vec::new();
    let clusters = read(&latest.clusters, &mut malformed, |object| {
        let cluster = model::Cluster::try_from(object)?;
        named("Cluster", object, cluster.id.as_str())?;
        Ok((cluster.id.clone(), cluster))
    });
    snapshot.clusters = clusters.into_iter().collect();
    let own = latest.clusters.objects.values();
    for object in own.filter(|object| object.name_any() == snapshot.cluster.as_str()) {
        match clusterset_range(object) {
            Ok(range) => snapshot.clusterset_range = range,
            Err(error) => malformed.push(error),
        }
    }
    let gateways = read(&latest.gateways, &mut malformed, |object| {
        let gateway = model::Gateway::try_from(object)?;
        named("Gateway", object, &gateway.id.to_string())?;
        Ok((gateway.id.clone(), gateway))
    });
    snapshot.gateways = gateways.into_iter().collect();
    if let Some(watched) = &latest.exports {
        let exports = read(watched, &mut malformed, |object| {
            let export = model::ExportedService::try_from(object)?;
            named(
                "ExportedService",
                object,
                &mirror_name(&export.cluster, &export.key.broker_name()),
            )?;
            Ok(((export.key.clone(), export.cluster.clone()), export))
        });
        snapshot.exports = exports.into_iter().collect();
    }
    if let Some(watched) = &latest.imports {
        let imports = read(watched, &mut malformed, |object| {
            let import = ImportedService::try_from(object)?;
            Ok((import.key.clone(), import))
        });
        snapshot.imports = imports.into_iter().collect();
    }
    if let Some(watched) = &latest.nodes {
        let nodes = read(watched, &mut malformed, |object| {
            let node = node_from(object)?;
            Ok((node.name.clone(), node))
        });
        snapshot.nodes = nodes.into_iter().collect();
    }
    without_the_departed(&mut snapshot);
    (snapshot, malformed)
}

/// A member that was evicted has no gateways and no exports, whatever is still lying around of them.
fn without_the_departed(snapshot: &mut Snapshot) {
    let evicted: BTreeSet<ClusterId> = snapshot
        .clusters
        .values()
        .filter(|cluster| cluster.state == ClusterState::Evicted && cluster.id != snapshot.cluster)
        .map(|cluster| cluster.id.clone())
        .collect();
    snapshot.gateways.retain(|id, _| !evicted.contains(&id.cluster));
    snapshot.exports.retain(|(_, cluster), _| !evicted.contains(cluster));
}

fn read<K: Resource<DynamicType = ()>, T>(
    watched: &Watched<K>,
    malformed: &mut Vec<ConvertError>,
    convert: impl Fn(&K) -> Result<T, ConvertError>,
) -> Vec<T> {
    malformed.extend(watched.malformed.iter().map(|(key, why)| ConvertError {
        kind: kind_name::<K>(),
        name: key.to_string(),
        field: "object".to_owned(),
        why: why.clone(),
    }));
    let mut good = Vec::with_capacity(watched.objects.len());
    for object in watched.objects.values() {
        match convert(object) {
            Ok(object) => good.push(object),
            Err(error) => malformed.push(error),
        }
    }
    good
}

/// An object says who it is twice. Where the two differ, one of them is a mistake, and another object may be meant.
fn named(kind: &'static str, object: &impl ResourceExt, name: &str) -> Result<(), ConvertError> {
    if object.name_any() == name {
        return Ok(());
    }
    Err(ConvertError {
        kind,
        name: object.name_any(),
        field: "metadata.name".to_owned(),
        why: format!("it must be \"{name}\", as the spec says"),
    })
}

fn kind_name<K: Resource<DynamicType = ()>>() -> &'static str {
    match K::kind(&()) {
        std::borrow::Cow::Borrowed(name) => name,
        std::borrow::Cow::Owned(_) => "object",
    }
}

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

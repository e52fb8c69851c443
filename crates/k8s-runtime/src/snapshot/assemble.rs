//! A view from what the watches say. Pure but for what it remembers: an object that did not change is not converted again.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_api::mcs::ServiceImport;
use k8s_api::{Cluster, ConvertError, ExportedService, Gateway, clusterset_range, mirror_name, node_from};
use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use model::{ClusterId, ClusterState, ImportedService, Snapshot, names};

use super::conversions::{Collected, Conversions};
use super::sources::Latest;
use super::{Freshness, View};
use crate::watched::{Link, Watched};

/// What was converted last, by kind.
#[derive(Default)]
pub(super) struct Assembler {
    clusters: Conversions<Cluster, model::Cluster>,
    gateways: Conversions<Gateway, model::Gateway>,
    exports: Collected<ExportedService, model::ExportedService>,
    imports: Collected<ServiceImport, ImportedService>,
    nodes: Conversions<Node, model::Node>,
}

impl Assembler {
    /// The view that follows `previous`.
    pub(super) fn view(&mut self, latest: &Latest, cluster: Option<&ClusterId>, previous: &View) -> View {
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
        let (snapshot, malformed) = self.assemble(latest, cluster);
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

    fn assemble(&mut self, latest: &Latest, cluster: ClusterId) -> (Snapshot, Vec<ConvertError>) {
        let mut snapshot = Snapshot::empty(cluster);
        let mut malformed = Vec::new();
        let clusters = self.clusters.of(&latest.clusters, &mut malformed, |object| {
            let cluster = model::Cluster::try_from(object)?;
            named("Cluster", object, cluster.id.as_str())?;
            Ok(cluster)
        });
        snapshot.clusters = clusters.map(|cluster| (cluster.id.clone(), cluster)).collect();
        let own = latest.clusters.objects.values();
        for object in own.filter(|object| object.name_any() == snapshot.cluster.as_str()) {
            match clusterset_range(object) {
                Ok(range) => snapshot.clusterset_range = range,
                Err(error) => malformed.push(error),
            }
        }
        let gateways = self.gateways.of(&latest.gateways, &mut malformed, |object| {
            let gateway = model::Gateway::try_from(object)?;
            named("Gateway", object, &gateway.id.to_string())?;
            Ok(gateway)
        });
        snapshot.gateways = gateways.map(|gateway| (gateway.id.clone(), gateway)).collect();
        if let Some(watched) = &latest.exports {
            snapshot.exports = self.exports.of(watched, &mut malformed, |object| {
                let export = model::ExportedService::try_from(object)?;
                named(
                    "ExportedService",
                    object,
                    &mirror_name(&export.cluster, &export.key.broker_name()),
                )?;
                Ok(export)
            });
        }
        if let Some(watched) = &latest.imports {
            snapshot.imports = self
                .imports
                .of(watched, &mut malformed, |object| ImportedService::try_from(object));
        }
        if let Some(watched) = &latest.nodes {
            let nodes = self.nodes.of(watched, &mut malformed, node_from);
            snapshot.nodes = nodes.map(|node| (node.name.clone(), node)).collect();
        }
        without_the_departed(&mut snapshot);
        (snapshot, malformed)
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

/// A member that was evicted has no gateways and no exports, whatever is still lying around of them.
fn without_the_departed(snapshot: &mut Snapshot) {
    let evicted: BTreeSet<ClusterId> = snapshot
        .clusters
        .values()
        .filter(|cluster| cluster.state == ClusterState::Evicted && cluster.id != snapshot.cluster)
        .map(|cluster| cluster.id.clone())
        .collect();
    snapshot.gateways.retain(|id, _| !evicted.contains(&id.cluster));
    if !evicted.is_empty() {
        snapshot.exports.retain(|export| !evicted.contains(&export.cluster));
    }
}

/// An object says who it is twice. Where the two differ, one of them is a mistake, and another object may be meant.
pub(super) fn named(kind: &'static str, object: &impl ResourceExt, name: &str) -> Result<(), ConvertError> {
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

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

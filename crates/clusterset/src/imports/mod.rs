//! What exported services become in every cluster that has their namespace (KEP-1645).
//!
//! ```text
//!  exports of Active clusters ──by service──▶ oldest first ──▶ Import ─┬─ spec       type, ports, families, affinity, policies
//!                                                                      ├─ clusters   who exports it
//!                                                                      ├─ slices     one source cluster and family each
//!                                                                      └─ conflicts  what the exporters disagree about
//! ```
//!
//! **Precedence.** The oldest export (creation of its `ServiceExport`, then cluster id) decides type, affinity, policies, labels and
//! annotations, each as a whole. Exporters of another type are named, and nothing is sent to them.
//!
//! **Ports** are the union over all exporters of the deciding type: oldest first, a port joins unless its name or its (protocol,
//! number) is already taken. So neither appears twice, and no port is without an exporter.
//!
//! **Slices** carry, per source cluster, only the import's ports that this cluster has under the same protocol and number: traffic to a
//! port reaches only clusters that expose it.
//!
//! **Families** are the union, so that every exporter can be reached over at least one of them; an exporter that lacks one is an
//! `IPFamilyConflict`.

mod conflicts;
mod ports;
mod slices;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::{Cluster, ClusterId, ClusterState, ExportedPort, Family, ImportKind, ServiceKey, SessionAffinity};

pub use self::conflicts::{Conflict, ConflictReason};
pub use self::slices::{MAX_SLICE_ENDPOINTS, Slice, SliceEndpoint, SlicePort};
use crate::exports::{Export, Terms};

/// A service of the clusterset as one cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// With or without a clusterset IP.
    pub kind: ImportKind,
    /// Its ports, in order of name.
    pub ports: Vec<ExportedPort>,
    /// Its families; the oldest exporter's come first.
    pub ip_families: Vec<Family>,
    /// Affinity.
    pub session_affinity: SessionAffinity,
    /// Policies, labels and annotations.
    pub terms: Terms,
    /// The clusters that export it, in order of id.
    pub clusters: Vec<ClusterId>,
    /// Its endpoints.
    pub slices: Vec<Slice>,
    /// What its exporters disagree about.
    pub conflicts: Vec<Conflict>,
}

/// Decides all imports. Exports of clusters that are not known as `Active` do not count.
pub fn imports(exports: &[Export], clusters: &BTreeMap<ClusterId, Cluster>) -> BTreeMap<ServiceKey, Import> {
    let is_active = |cluster: &ClusterId| {
        clusters
            .get(cluster)
            .is_some_and(|cluster| cluster.state == ClusterState::Active)
    };
    let mut by_service: BTreeMap<&ServiceKey, BTreeMap<(i64, &ClusterId), &Export>> = BTreeMap::new();
    for export in exports.iter().filter(|export| is_active(&export.service.cluster)) {
        let exporters = by_service.entry(&export.service.key).or_default();
        exporters.insert((export.service.exported_at, &export.service.cluster), export);
    }
    by_service
        .into_iter()
        .filter_map(|(key, exporters)| {
            let exporters: Vec<&Export> = exporters.into_values().collect();
            Some((key.clone(), import(key, &exporters)?))
        })
        .collect()
}

/// One import from its exporters, oldest first; none from nobody.
fn import(key: &ServiceKey, exporters: &[&Export]) -> Option<Import> {
    let oldest = exporters.first()?;
    let decisive = &oldest.service;
    let alike: Vec<&Export> = exporters
        .iter()
        .copied()
        .filter(|export| export.service.kind == decisive.kind)
        .collect();
    let ports = ports::union(&alike);
    let mut clusters: Vec<ClusterId> = exporters.iter().map(|export| export.service.cluster.clone()).collect();
    clusters.sort();
    clusters.dedup();
    Some(Import {
        kind: decisive.kind,
        ip_families: families(&alike),
        session_affinity: decisive.session_affinity,
        terms: oldest.terms.clone(),
        clusters,
        slices: slices::slices(key, &ports, &alike),
        conflicts: conflicts::conflicts(exporters),
        ports,
    })
}

fn families(exporters: &[&Export]) -> Vec<Family> {
    let mut families = Vec::new();
    for family in exporters.iter().flat_map(|export| &export.service.ip_families) {
        if !families.contains(family) {
            families.push(*family);
        }
    }
    families
}

//! Mirrors whose source is gone.
//!
//! **Absence is not removal.** A member's gateways and exports go when its `Cluster` is there and they are not, or with a tombstone. If
//! its `Cluster` is absent too, everything stays until the member has been dead for ten minutes as well ([`super::absence`]).

use std::collections::BTreeSet;
use std::sync::Arc;

use kube::ResourceExt;
use model::{ClusterId, names};

use super::admission::{Admitted, is_tombstone};
use super::world::{World, is_ours};
use super::write::{Side, Write};

/// Removals of mirrors. `may_prune` tells whether the absence of an object means anything now, and `removed` who has been dead and
/// absent for long enough.
pub(super) fn plan(world: &World, admitted: &Admitted, may_prune: bool, removed: &BTreeSet<ClusterId>) -> Vec<Write> {
    let mut writes = Vec::new();
    let goes = |id: &ClusterId, is_told: bool| match admitted.clusters.get(id) {
        Some(cluster) if is_tombstone(cluster) => true,
        Some(_) => may_prune && !is_told,
        None => may_prune && (removed.contains(id) || is_mirrored_tombstone(world, id)),
    };
    for cluster in mirrors(world, &world.local.clusters) {
        if let Some(id) = source(cluster)
            && !admitted.is_doubtful(&cluster.name_any())
            && !admitted.clusters.contains_key(&id)
            && goes(&id, false)
        {
            writes.push(Write::delete(Side::Local, cluster));
        }
    }
    for gateway in mirrors(world, &world.local.gateways) {
        let name = gateway.name_any();
        if let Some(id) = source(gateway)
            && !admitted.is_doubtful(&name)
            && goes(&id, admitted.gateways.contains_key(&name))
        {
            writes.push(Write::delete(Side::Local, gateway));
        }
    }
    for exported in mirrors(world, &world.local.exported) {
        let name = exported.name_any();
        if let Some(id) = source(exported)
            && !admitted.is_doubtful(&name)
            && goes(&id, admitted.exported.contains_key(&name))
        {
            writes.push(Write::delete(Side::Local, exported));
        }
    }
    writes
}

/// Everything mirrored goes when the own cluster leaves.
pub(super) fn plan_farewell(world: &World) -> Vec<Write> {
    let exported = mirrors(world, &world.local.exported).map(|object| Write::delete(Side::Local, object));
    let gateways = mirrors(world, &world.local.gateways).map(|object| Write::delete(Side::Local, object));
    let clusters = mirrors(world, &world.local.clusters).map(|object| Write::delete(Side::Local, object));
    exported.chain(gateways).chain(clusters).collect()
}

/// Members that the broker does not know any more, and to which no cable is alive.
pub(super) fn gone(world: &World, admitted: &Admitted) -> BTreeSet<ClusterId> {
    let local = world
        .local
        .gateways
        .iter()
        .filter(|gateway| gateway.spec.cluster_id == world.cluster.as_str());
    let alive: BTreeSet<ClusterId> = local
        .filter_map(|gateway| model::Gateway::try_from(gateway.as_ref()).ok())
        .flat_map(|gateway| gateway.connections)
        .filter(|connection| connection.state.is_usable())
        .map(|connection| connection.remote.cluster)
        .collect();
    mirrors(world, &world.local.clusters)
        .filter_map(source)
        .filter(|id| !admitted.clusters.contains_key(id) && !admitted.is_doubtful(id.as_str()))
        .filter(|id| !alive.contains(id))
        .collect()
}

fn is_mirrored_tombstone(world: &World, id: &ClusterId) -> bool {
    let mut clusters = world.local.clusters.iter();
    clusters.any(|cluster| cluster.name_any() == id.as_str() && is_tombstone(cluster))
}

/// Mirrors of other members that we wrote. What a person put there by hand is not ours.
fn mirrors<'a, K: ResourceExt>(world: &'a World, objects: &'a [Arc<K>]) -> impl Iterator<Item = &'a K> {
    let objects = objects.iter().map(Arc::as_ref);
    objects.filter(|object| is_ours(*object) && source(*object).is_some_and(|id| id != world.cluster))
}

/// The member that a mirror is of.
fn source(object: &impl ResourceExt) -> Option<ClusterId> {
    object.labels().get(names::CLUSTER_LABEL)?.parse().ok()
}

//! What other members say, checked before anything is done with it.
//!
//! **A member is believed only for its own namespace.** An object in `tombolo-m-west` that says it is of east, has a name that does not
//! fit its spec, or cannot be read is skipped and named. What came of it earlier is kept: a typing error takes nobody's service away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_api::{Cluster, ExportedService, Gateway, mirror_name};
use kube::ResourceExt;
use model::ClusterId;

use super::convert;
use super::world::{Remote, World};

/// What the broker holds of other members, checked; and what did not pass, for a person.
#[derive(Debug, Default)]
pub(super) struct Admitted {
    pub(super) clusters: BTreeMap<ClusterId, Arc<Cluster>>,
    pub(super) gateways: BTreeMap<String, Arc<Gateway>>,
    pub(super) exported: BTreeMap<String, Arc<ExportedService>>,
    /// Names of mirrors whose source is there and cannot be used.
    doubtful: BTreeSet<String>,
    /// Why each such object was skipped.
    pub(super) rejected: Vec<String>,
}

impl Admitted {
    /// Checks everything that the broker holds of other members.
    pub(super) fn of(world: &World, remote: &Remote) -> Self {
        let mut admitted = Self::default();
        for object in &remote.clusters {
            let verdict = |id: &ClusterId| {
                let cluster = model::Cluster::try_from(object.as_ref()).map_err(|e| e.to_string())?;
                agrees("Cluster", object.as_ref(), id, &cluster.id, id.as_str())
            };
            if let Some(id) = admitted.check(world, object.as_ref(), ToString::to_string, verdict) {
                admitted.clusters.insert(id, Arc::clone(object));
            }
        }
        for object in &remote.gateways {
            let verdict = |id: &ClusterId| {
                let gateway = model::Gateway::try_from(object.as_ref()).map_err(|e| e.to_string())?;
                agrees(
                    "Gateway",
                    object.as_ref(),
                    id,
                    &gateway.id.cluster,
                    gateway.id.node.as_str(),
                )
            };
            if let Some(id) = admitted.check(
                world,
                object.as_ref(),
                |id| mirror_name(id, &object.name_any()),
                verdict,
            ) {
                admitted
                    .gateways
                    .insert(mirror_name(&id, &object.name_any()), Arc::clone(object));
            }
        }
        for object in &remote.exported {
            let verdict = |id: &ClusterId| {
                let export = convert::export(object).map_err(|e| e.to_string())?.service;
                agrees(
                    "ExportedService",
                    object.as_ref(),
                    id,
                    &export.cluster,
                    &export.key.broker_name(),
                )
            };
            if let Some(id) = admitted.check(
                world,
                object.as_ref(),
                |id| mirror_name(id, &object.name_any()),
                verdict,
            ) {
                admitted
                    .exported
                    .insert(mirror_name(&id, &object.name_any()), Arc::clone(object));
            }
        }
        for object in &remote.unreadable {
            if let Some(id) = ClusterId::from_broker_namespace(&object.namespace).filter(|id| *id != world.cluster) {
                let is_cluster = object.kind == "Cluster";
                let mirror = if is_cluster {
                    id.to_string()
                } else {
                    mirror_name(&id, &object.name)
                };
                admitted.doubtful.insert(mirror);
                admitted.rejected.push(format!(
                    "{} {}/{} on the broker: {}",
                    object.kind, object.namespace, object.name, object.why
                ));
            }
        }
        admitted
    }

    /// Whose object it is, if it is another member's and passes.
    fn check<K: ResourceExt>(
        &mut self,
        world: &World,
        object: &K,
        mirror: impl Fn(&ClusterId) -> String,
        verdict: impl Fn(&ClusterId) -> Result<(), String>,
    ) -> Option<ClusterId> {
        // Namespaces of other purposes are nobody's claim to membership.
        let id = ClusterId::from_broker_namespace(&object.namespace()?)?;
        if id == world.cluster {
            return None;
        }
        match verdict(&id) {
            Ok(()) => Some(id),
            Err(why) => {
                self.doubtful.insert(mirror(&id));
                self.rejected.push(why);
                None
            }
        }
    }

    /// Whether a mirror's source is there, though it cannot be used.
    pub(super) fn is_doubtful(&self, mirror: &str) -> bool {
        self.doubtful.contains(mirror)
    }

    /// The member that an object on the broker is of, if that member takes part.
    pub(super) fn live_source(&self, object: &impl ResourceExt) -> Option<ClusterId> {
        let id = ClusterId::from_broker_namespace(&object.namespace()?)?;
        let is_live = self.clusters.get(&id).is_some_and(|cluster| !is_tombstone(cluster));
        is_live.then_some(id)
    }
}

/// Whether a cluster takes part no more.
pub(super) fn is_tombstone(cluster: &Cluster) -> bool {
    matches!(cluster.spec.state.as_str(), "Leaving" | "Evicted")
}

/// Whether an object says of itself what its place says.
fn agrees(
    kind: &str,
    object: &impl ResourceExt,
    owner: &ClusterId,
    says: &ClusterId,
    name: &str,
) -> Result<(), String> {
    let at = format!(
        "{kind} {}/{} on the broker",
        object.namespace().unwrap_or_default(),
        object.name_any()
    );
    if says != owner {
        return Err(format!(
            "{at}: spec.clusterId is \"{says}\", but this is the namespace of {owner}; a member is believed only for itself"
        ));
    }
    if object.name_any() != name {
        return Err(format!("{at}: its name must be \"{name}\", as its spec says"));
    }
    Ok(())
}

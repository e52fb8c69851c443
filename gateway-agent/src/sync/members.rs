//! Claims: what every member may use, and the `Accepted` condition that says so on each `Cluster` of the own cluster.

use std::collections::BTreeMap;

use clusterset::claims::{self, Verdict};
use k8s_api::condition::{self, ACCEPTED, Finding, PREFIX_OVERLAP, PROTOCOL_MISMATCH};
use k8s_openapi::jiff::Timestamp;
use model::{Cluster, ClusterId, ClusterState, PrefixSet};
use serde_json::json;

use super::world::World;
use super::write::{Side, Write};

/// All members with the outcome of their claims.
pub(super) struct Members {
    /// Every member that can be read, the own included.
    pub(super) clusters: BTreeMap<ClusterId, Cluster>,
    verdict: Verdict,
}

impl Members {
    /// Decides the claims.
    pub(super) fn of(world: &World) -> Self {
        let clusters = world.members();
        let verdict = claims::arbitrate(clusters.values());
        Self { clusters, verdict }
    }

    /// The pod prefixes of a member that are accepted.
    pub(super) fn pods(&self, cluster: &ClusterId) -> PrefixSet {
        self.accepted(cluster, |member| &member.pod_prefixes)
    }

    /// The service prefixes of a member that are accepted.
    pub(super) fn services(&self, cluster: &ClusterId) -> PrefixSet {
        self.accepted(cluster, |member| &member.service_prefixes)
    }

    fn accepted(&self, cluster: &ClusterId, which: impl Fn(&Cluster) -> &PrefixSet) -> PrefixSet {
        match (self.clusters.get(cluster), self.verdict.accepted.get(cluster)) {
            (Some(member), Some(accepted)) => {
                let claimed = which(member).iter();
                // A claim is accepted or refused whole, so its first address stands for it.
                claimed
                    .filter(|prefix| accepted.contains(prefix.network()))
                    .copied()
                    .collect()
            }
            _ => PrefixSet::default(),
        }
    }
}

/// Conditions of the `Cluster` objects at home.
pub(super) fn plan(world: &World, members: &Members, now: Timestamp) -> Vec<Write> {
    let own_state = world.own_state();
    let finding = |cluster: &Cluster| {
        if cluster.id == world.cluster && own_state == Some(ClusterState::Evicted) {
            return evicted(&cluster.id);
        }
        finding(cluster, members, &world.cluster)
    };
    let objects = world.local.clusters.iter();
    objects
        .filter_map(|object| {
            let cluster = Cluster::try_from(object.as_ref()).ok()?;
            let before = object.status.as_ref().map_or(&[][..], |status| &status.conditions);
            let after = condition::merge(before, &[finding(&cluster)], object.metadata.generation, now);
            let own: Vec<_> = after.iter().filter(|condition| condition.type_ == ACCEPTED).collect();
            (before != after).then(|| Write::status(Side::Local, object.as_ref(), &json!({ "conditions": own })))
        })
        .collect()
}

fn finding(cluster: &Cluster, members: &Members, own: &ClusterId) -> Finding {
    let refused: Vec<String> = members
        .verdict
        .overlaps
        .iter()
        .filter(|overlap| overlap.cluster == cluster.id || overlap.with == cluster.id)
        .map(|overlap| {
            format!(
                "{} of {} overlaps {} of {}, whose claim is older",
                overlap.prefix, overlap.cluster, overlap.with_prefix, overlap.with
            )
        })
        .collect();
    let has_lost = members
        .verdict
        .overlaps
        .iter()
        .any(|overlap| overlap.cluster == cluster.id);
    let protocol = members.clusters.get(own).map(|own| own.protocol);
    if cluster.state == ClusterState::Evicted {
        evicted(&cluster.id)
    } else if has_lost {
        let mend = "its traffic is not routed; give one of them other addresses and join again";
        Finding::new(
            ACCEPTED,
            false,
            PREFIX_OVERLAP,
            format!("{}; {mend}", refused.join("; ")),
        )
    } else if protocol.is_some_and(|protocol| protocol.newest_common(cluster.protocol).is_none()) {
        let message = format!(
            "it speaks cable protocol {} to {} and this cluster does not; upgrade the older of the two",
            cluster.protocol.min, cluster.protocol.max
        );
        Finding::new(ACCEPTED, false, PROTOCOL_MISMATCH, message)
    } else if refused.is_empty() {
        Finding::new(ACCEPTED, true, "Accepted", "its prefixes are routed")
    } else {
        // Both sides name it, so that the winner's operator hears of it too.
        Finding::new(ACCEPTED, true, PREFIX_OVERLAP, refused.join("; "))
    }
}

fn evicted(cluster: &ClusterId) -> Finding {
    let message = format!(
        "an administrator removed it from the clusterset; to let it in again run `tombolo broker invite {cluster} --again`, then \
         `tombolo join` with the new token"
    );
    Finding::new(ACCEPTED, false, "Evicted", message)
}

//! ReplicaSets: so many pods of one template.
//!
//! Pods are named for numbered slots and a new pod takes the lowest free slot, so that a decision from a stale mirror makes the
//! same pods again, which the API server refuses, and never too many.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::pod::{from_template, is_active, is_ready, is_selected, is_terminating, node_of, short_hash};
use super::world::World;
use super::write::Write;

/// The label that tells the pods of a deployment's replica sets apart.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// What to write for every ReplicaSet.
pub(super) fn reconcile(world: &World) -> Vec<Write> {
    let sets = world.replica_sets.iter().filter(|set| !is_terminating(set.as_ref()));
    sets.flat_map(|set| reconcile_one(world, set)).collect()
}

fn reconcile_one(world: &World, set: &ReplicaSet) -> Vec<Write> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let Some(template) = &spec.template else {
        return Vec::new();
    };
    if !is_selected(&spec.selector, template) {
        return Vec::new();
    }
    let pods: Vec<&Pod> = world.pods_of(set).collect();
    let mut active: Vec<&Pod> = pods.iter().copied().filter(|pod| is_active(pod)).collect();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);

    let mut writes = Vec::new();
    if active.len() < wanted {
        let taken: BTreeSet<String> = pods.iter().map(|pod| pod.name_any()).collect();
        let names = (0..).map(|slot: u32| format!("{}-{}", set.name_any(), short_hash(&(set.uid(), slot), 5)));
        let hash = set.labels().get(HASH_LABEL).cloned().unwrap_or_default();
        let free = names.filter(|name| !taken.contains(name)).take(wanted - active.len());
        writes.extend(free.map(|name| Write::create(&from_template(set, template, name, (HASH_LABEL, &hash)))));
    } else {
        // First those whose loss costs least.
        active.sort_by_key(|pod| (is_ready(pod), node_of(pod).is_some(), pod.name_any()));
        writes.extend(active.iter().take(active.len() - wanted).map(|pod| Write::delete(*pod)));
    }

    let ready = active.iter().filter(|pod| is_ready(pod)).count();
    let status = ReplicaSetStatus {
        replicas: count(active.len()),
        fully_labeled_replicas: Some(count(active.len())),
        ready_replicas: Some(count(ready)),
        available_replicas: Some(count(ready)),
        observed_generation: set.metadata.generation,
        ..ReplicaSetStatus::default()
    };
    if set.status.as_ref() != Some(&status) {
        writes.push(Write::status(set, &status));
    }
    writes
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

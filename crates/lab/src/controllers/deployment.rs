//! Deployments: a ReplicaSet for each template, and a roll from the old ones to the new one.
//!
//! In a roll the new set grows while all sets together stay under `replicas + maxSurge`, and the old ones shrink while at
//! least `replicas - maxUnavailable` pods are available. With strategy `Recreate` the old pods are gone before new ones come.

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet, ReplicaSetSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};
use serde_json::json;

use super::pod::{is_finished, is_selected, is_terminating, short_hash};
use super::replica_set::HASH_LABEL;
use super::rollout::{Roll, available, size, sizes};
use super::world::World;
use super::write::{Verb, Write};

/// What to write for every Deployment.
pub(super) fn reconcile(world: &World, now: Timestamp) -> Vec<Write> {
    let deployments = world
        .deployments
        .iter()
        .filter(|deployment| !is_terminating(deployment.as_ref()));
    deployments
        .flat_map(|deployment| reconcile_one(world, deployment, now))
        .collect()
}

fn reconcile_one(world: &World, deployment: &Deployment, now: Timestamp) -> Vec<Write> {
    let Some(spec) = &deployment.spec else {
        return Vec::new();
    };
    if !is_selected(&spec.selector, &spec.template) {
        return Vec::new();
    }
    let hash = short_hash(&spec.template, 10);
    let sets: Vec<&ReplicaSet> = world
        .replica_sets_of(deployment)
        .filter(|set| !is_terminating(*set))
        .collect();
    let (current, old): (Vec<&ReplicaSet>, Vec<&ReplicaSet>) =
        sets.iter().partition(|set| set.labels().get(HASH_LABEL) == Some(&hash));
    let current = current.first().copied();

    let mut writes = Vec::new();
    if spec.paused != Some(true) {
        let pods_left = old
            .iter()
            .flat_map(|set| world.pods_of(*set))
            .any(|pod| !is_finished(pod));
        let sizes = sizes(&Roll::of(spec), current, &old, pods_left);
        match current {
            None => writes.push(Write::create(&replica_set(
                deployment,
                spec,
                &hash,
                sizes.current,
                &sets,
            ))),
            Some(set) => writes.extend(resize(set, sizes.current)),
        }
        writes.extend(old.iter().zip(sizes.old).filter_map(|(set, size)| resize(set, size)));
        writes.extend(forgotten(spec, &old).map(Write::delete));
    }
    let status = status(deployment, spec, current, &sets, now);
    if deployment.status.as_ref() != Some(&status) {
        writes.push(Write::status(deployment, &status));
    }
    writes
}

fn resize(set: &ReplicaSet, to: i32) -> Option<Write> {
    (size(set) != to).then(|| Write::to(set, Verb::Patch(json!({"spec": {"replicas": to}}))))
}

/// Empty sets beyond the history that the deployment keeps, oldest first.
fn forgotten<'a>(spec: &DeploymentSpec, old: &[&'a ReplicaSet]) -> impl Iterator<Item = &'a ReplicaSet> {
    let kept = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let mut empty: Vec<&ReplicaSet> = old
        .iter()
        .copied()
        .filter(|set| size(set) == 0 && !has_pods(set))
        .collect();
    empty.sort_by_key(|set| revision(set));
    let surplus = empty.len().saturating_sub(kept);
    empty.into_iter().take(surplus)
}

fn has_pods(set: &ReplicaSet) -> bool {
    set.status.as_ref().is_none_or(|status| status.replicas > 0)
}

fn revision(set: &ReplicaSet) -> u64 {
    set.annotations()
        .get(REVISION)
        .and_then(|revision| revision.parse().ok())
        .unwrap_or(0)
}

fn replica_set(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    hash: &str,
    replicas: i32,
    siblings: &[&ReplicaSet],
) -> ReplicaSet {
    let mut template = spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    let labels = labels.clone();
    let mut selector = spec.selector.clone();
    selector
        .match_labels
        .get_or_insert_default()
        .insert(HASH_LABEL.to_owned(), hash.to_owned());
    let revision = siblings.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            annotations: Some([(REVISION.to_owned(), revision.to_string())].into()),
            owner_references: deployment.controller_owner_ref(&()).map(|reference| vec![reference]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            selector,
            template: Some(template),
            ..ReplicaSetSpec::default()
        }),
        status: None,
    }
}

fn status(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    current: Option<&ReplicaSet>,
    sets: &[&ReplicaSet],
    now: Timestamp,
) -> DeploymentStatus {
    let roll = Roll::of(spec);
    let of = |set: &&ReplicaSet| set.status.clone().unwrap_or_default();
    let replicas = sets.iter().map(|set| of(set).replicas).sum();
    let ready = sets.iter().map(|set| of(set).ready_replicas.unwrap_or(0)).sum();
    let available: i32 = sets.iter().map(|set| available(set)).sum();
    let updated = current.map_or(0, |set| of(&set).replicas);
    let is_complete = updated == roll.replicas && replicas == updated && available == updated;
    let is_available = available >= roll.replicas - roll.max_unavailable;

    let before = deployment
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let conditions = vec![
        if is_available {
            condition(
                "Available",
                true,
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
                before,
                now,
            )
        } else {
            let message = "Deployment does not have minimum availability.";
            condition("Available", false, "MinimumReplicasUnavailable", message, before, now)
        },
        if is_complete {
            condition(
                "Progressing",
                true,
                "NewReplicaSetAvailable",
                "The new ReplicaSet is available.",
                before,
                now,
            )
        } else {
            condition(
                "Progressing",
                true,
                "ReplicaSetUpdated",
                "The new ReplicaSet is progressing.",
                before,
                now,
            )
        },
    ];
    DeploymentStatus {
        replicas: Some(replicas),
        updated_replicas: Some(updated),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        unavailable_replicas: Some((roll.replicas - available).max(0)),
        observed_generation: deployment.metadata.generation,
        conditions: Some(conditions),
        ..DeploymentStatus::default()
    }
}

/// A condition that keeps its times while it says the same.
fn condition(
    kind: &str,
    holds: bool,
    reason: &str,
    message: &str,
    before: &[DeploymentCondition],
    now: Timestamp,
) -> DeploymentCondition {
    let status = if holds { "True" } else { "False" };
    let old = before.iter().find(|old| old.type_ == kind);
    let same_status = old.filter(|old| old.status == status);
    let same = same_status.filter(|old| old.reason.as_deref() == Some(reason));
    let now = Some(Time(whole_seconds(now)));
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: same_status.map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
        last_update_time: same.map_or(now, |old| old.last_update_time.clone()),
    }
}

/// The API keeps whole seconds: anything finer would look like a change for ever.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("a whole second of a valid time is a valid time")
}

const REVISION: &str = "deployment.kubernetes.io/revision";

//! DaemonSets: one pod on every node that matches.
//!
//! A pod's name is a function of its DaemonSet, node and template, so that a decision from a stale mirror cannot make a second
//! one. A node whose pod is ending gets the next one when it is gone.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::pod::{admits, from_template, is_finished, is_ready, is_selected, is_terminating, node_of, short_hash};
use super::rollout::{Rounding, resolve};
use super::world::World;
use super::write::Write;

/// What to write for every DaemonSet.
pub(super) fn reconcile(world: &World) -> Vec<Write> {
    let sets = world.daemon_sets.iter().filter(|set| !is_terminating(set.as_ref()));
    sets.flat_map(|set| reconcile_one(world, set)).collect()
}

fn reconcile_one(world: &World, set: &DaemonSet) -> Vec<Write> {
    let Some(spec) = &set.spec else { return Vec::new() };
    if !is_selected(&spec.selector, &spec.template) {
        return Vec::new();
    }
    let selector = spec.template.spec.as_ref().and_then(|pod| pod.node_selector.as_ref());
    let (wanted, unwanted): (Vec<&Node>, Vec<&Node>) = world
        .nodes
        .iter()
        .map(AsRef::as_ref)
        .partition(|node| admits(node, selector));
    let mut pods: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in world.pods_of(set) {
        pods.entry(node_of(pod).unwrap_or_default()).or_default().push(pod);
    }
    let on = |node: &Node| pods.get(node.name_any().as_str()).map_or(&[][..], Vec::as_slice);
    let hash = short_hash(&spec.template, 10);

    let mut writes = Vec::new();
    let mut outdated = Vec::new();
    let mut status = DaemonSetStatus {
        desired_number_scheduled: count(wanted.len()),
        observed_generation: set.metadata.generation,
        number_misscheduled: count(unwanted.iter().filter(|node| !on(node).is_empty()).count()),
        ..DaemonSetStatus::default()
    };
    let mut updated = 0;
    for node in &wanted {
        let Some(pod) = on(node).iter().min_by_key(|pod| (is_terminating(**pod), age(pod))) else {
            let name = format!(
                "{}-{}",
                set.name_any(),
                short_hash(&(set.uid(), node.name_any(), &hash), 5)
            );
            let mut pod = from_template(set, &spec.template, name, (HASH_LABEL, &hash));
            pod.spec.get_or_insert_default().node_name = Some(node.name_any());
            writes.push(Write::create(&pod));
            continue;
        };
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(is_ready(pod) && !is_terminating(*pod));
        let is_current = pod.labels().get(HASH_LABEL) == Some(&hash);
        updated += i32::from(is_current && !is_terminating(*pod));
        if !is_current && !is_terminating(*pod) {
            outdated.push(*pod);
        }
        let surplus = on(node)
            .iter()
            .filter(|other| other.name_any() != pod.name_any() || is_finished(other));
        writes.extend(
            surplus
                .filter(|pod| !is_terminating(**pod))
                .map(|pod| Write::delete(*pod)),
        );
    }
    let elsewhere = pods
        .iter()
        .filter(|(node, _)| !wanted.iter().any(|wanted| wanted.name_any() == **node));
    let misplaced = elsewhere
        .flat_map(|(_, pods)| pods)
        .filter(|pod| !is_terminating(**pod));
    writes.extend(misplaced.map(|pod| Write::delete(*pod)));

    let unavailable = status.desired_number_scheduled - status.number_ready;
    if spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref())
        != Some("OnDelete")
    {
        writes.extend(replacements(outdated, max_unavailable(set, wanted.len()), unavailable));
    }
    status.updated_number_scheduled = Some(updated);
    status.number_available = (status.number_ready > 0).then_some(status.number_ready);
    status.number_unavailable = (unavailable > 0).then_some(unavailable);
    if set.status.as_ref() != Some(&status) {
        writes.push(Write::status(set, &complete(&status)));
    }
    writes
}

/// Which pods of an older template go now: those that are not ready cost nothing; of the others, as many as may be missing.
fn replacements(outdated: Vec<&Pod>, max_unavailable: i32, unavailable: i32) -> Vec<Write> {
    let (ready, unready): (Vec<&Pod>, Vec<&Pod>) = outdated.into_iter().partition(|pod| is_ready(pod));
    let may_go = usize::try_from(max_unavailable - unavailable).unwrap_or(0);
    unready
        .into_iter()
        .chain(ready.into_iter().take(may_go))
        .map(Write::delete)
        .collect()
}

fn max_unavailable(set: &DaemonSet, nodes: usize) -> i32 {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    let limit = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_unavailable.clone());
    resolve(&limit.unwrap_or(IntOrString::Int(1)), count(nodes), Rounding::Up).max(1)
}

/// The status for a merge patch, which leaves alone what it does not name: figures that vanish are named as null.
fn complete(status: &DaemonSetStatus) -> serde_json::Value {
    let mut value = serde_json::to_value(status).expect("a status has string keys");
    for field in ["numberAvailable", "numberUnavailable"] {
        if value.get(field).is_none() {
            value[field] = serde_json::Value::Null;
        }
    }
    value
}

fn age(pod: &Pod) -> Option<k8s_openapi::jiff::Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Which template a pod was made from.
const HASH_LABEL: &str = "controller-revision-hash";

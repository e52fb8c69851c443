//! The scheduler: gives each unbound pod a node.
//!
//! A node is fit when it is Ready, not cordoned, and carries the labels of the pod's nodeSelector. Among the fit ones the pod
//! goes where the fewest of its siblings are, then where the fewest pods are, so that replicas spread. Taints, resources, and
//! affinities other than to one node by name are not looked at.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use serde_json::json;

use super::pod::{admits, is_active, is_finished, is_node_ready, is_terminating, node_of};
use super::world::World;
use super::write::{Verb, Write};

/// What to write for every pod that has no node.
pub(super) fn reconcile(world: &World) -> Vec<Write> {
    // Siblings on a node, and pods on a node.
    let mut siblings: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut loads: BTreeMap<String, usize> = BTreeMap::new();
    for pod in world.pods.iter().filter(|pod| is_active(pod)) {
        if let Some(node) = node_of(pod) {
            *siblings.entry((owner(pod), node.to_owned())).or_default() += 1;
            *loads.entry(node.to_owned()).or_default() += 1;
        }
    }
    let mut writes = Vec::new();
    for pod in world
        .pods
        .iter()
        .filter(|pod| node_of(pod).is_none() && !is_terminating(pod.as_ref()) && !is_finished(pod))
    {
        let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
        let named = named_node(pod);
        let fit = world
            .nodes
            .iter()
            .filter(|node| is_open(node) && admits(node, selector) && named.is_none_or(|name| node.name_any() == name));
        let count = |node: &Node| {
            let name = node.name_any();
            let near = siblings.get(&(owner(pod), name.clone())).copied().unwrap_or(0);
            (near, loads.get(&name).copied().unwrap_or(0), name)
        };
        let Some(node) = fit.min_by_key(|node| count(node)).map(|node| node.name_any()) else {
            writes.extend(unschedulable(pod, world.nodes.len()));
            continue;
        };
        *siblings.entry((owner(pod), node.clone())).or_default() += 1;
        *loads.entry(node.clone()).or_default() += 1;
        writes.push(Write::to(pod.as_ref(), Verb::Bind(node)));
    }
    writes
}

/// The node that a DaemonSet controller means: it names it in a required affinity.
fn named_node(pod: &Pod) -> Option<&str> {
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = required
        .node_selector_terms
        .iter()
        .flat_map(|term| term.match_fields.iter().flatten());
    let mut names = fields.filter(|field| field.key == "metadata.name" && field.operator == "In");
    names.next()?.values.as_ref()?.first().map(String::as_str)
}

fn is_open(node: &Node) -> bool {
    let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    is_node_ready(node) && !is_cordoned && !is_terminating(node)
}

/// What makes pods siblings: their controller, or nothing but themselves.
fn owner(pod: &Pod) -> String {
    let owner = pod
        .owner_references()
        .iter()
        .find(|owner| owner.controller == Some(true));
    owner.map_or_else(|| pod.uid().unwrap_or_default(), |owner| owner.uid.clone())
}

/// Says once, on the pod, why it waits.
fn unschedulable(pod: &Pod, nodes: usize) -> Option<Write> {
    let message =
        format!("0/{nodes} nodes are available: none is Ready, uncordoned and matches the pod's nodeSelector.");
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let is_said = conditions
        .iter()
        .any(|condition| condition.type_ == "PodScheduled" && condition.message.as_deref() == Some(message.as_str()));
    (!is_said).then(|| {
        let condition =
            json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
        Write::to(pod, Verb::SharedStatus(json!({"status": {"conditions": [condition]}})))
    })
}

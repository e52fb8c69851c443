//! Node lifecycle: a node that has stopped renewing its Lease is no longer believed to be Ready, and neither are its pods.

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use serde_json::json;

use super::pod::{is_ready, node_of};
use super::world::World;
use super::write::{Verb, Write};

/// What to write for nodes that fell silent.
pub(super) fn reconcile(world: &World, now: Timestamp) -> Vec<Write> {
    let silent: Vec<&Node> = world
        .nodes
        .iter()
        .map(AsRef::as_ref)
        .filter(|node| is_silent(world, node, now))
        .collect();
    let nodes = silent.iter().filter(|node| !is_unknown(node)).map(|node| {
        Write::to(
            *node,
            not_believed(
                "Unknown",
                "NodeStatusUnknown",
                "Kubelet stopped posting node status.",
                now,
            ),
        )
    });
    let is_stranded = |pod: &Pod| {
        is_ready(pod) && node_of(pod).is_some_and(|node| silent.iter().any(|silent| silent.name_any() == node))
    };
    let pods = world.pods.iter().filter(|pod| is_stranded(pod)).map(|pod| {
        Write::to(
            pod.as_ref(),
            not_believed("False", "NodeNotReady", "The node fell silent.", now),
        )
    });
    nodes.chain(pods).collect()
}

fn is_silent(world: &World, node: &Node, now: Timestamp) -> bool {
    let name = node.name_any();
    let lease = world.heartbeats.iter().find(|lease| lease.name_any() == name);
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
    // A node that has just come is given the time to renew for the first time.
    let since = renewed.max(node.metadata.creation_timestamp.as_ref().map(|time| time.0));
    since.is_some_and(|since| now.duration_since(since) > GRACE)
}

fn is_unknown(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "Unknown")
}

fn not_believed(status: &str, reason: &str, message: &str, now: Timestamp) -> Verb {
    let condition = json!({
        "type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": Time(now),
    });
    Verb::SharedStatus(json!({"status": {"conditions": [condition]}}))
}

/// As kube-controller-manager's `--node-monitor-grace-period` was for most of its life.
const GRACE: SignedDuration = SignedDuration::from_secs(40);

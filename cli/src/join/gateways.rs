//! Which nodes carry cables.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use model::names::GATEWAY_LABEL;
use serde_json::{Value, json};

/// The choice, and who made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Names of the nodes, in order.
    pub nodes: Vec<String>,
    /// Who chose them.
    pub by: ChosenBy,
}

/// Who chose the gateway nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChosenBy {
    /// `--gateway-nodes`.
    Flag,
    /// They carry the label already.
    Label,
    /// We did: ready workers, by name.
    Us,
}

/// Why no choice can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChooseError {
    /// A node that was asked for does not exist.
    #[error("--gateway-nodes: there is no node \"{asked}\"; the nodes are: {nodes}")]
    NoSuchNode {
        /// As asked for.
        asked: String,
        /// What there is.
        nodes: String,
    },
    /// No node is ready.
    #[error(
        "no node of this cluster is ready, so none can be a gateway; see `kubectl get nodes`, or name nodes with --gateway-nodes"
    )]
    NoneReady,
}

/// Chooses: the nodes asked for, else those that are labelled, else two ready workers (or whatever else is ready).
///
/// # Errors
/// When a node asked for does not exist, or none is ready.
pub fn choose(nodes: &[Node], asked: &[String]) -> Result<Choice, ChooseError> {
    let names: BTreeSet<String> = nodes.iter().map(ResourceExt::name_any).collect();
    if !asked.is_empty() {
        if let Some(unknown) = asked.iter().find(|name| !names.contains(*name)) {
            return Err(ChooseError::NoSuchNode {
                asked: unknown.clone(),
                nodes: names.into_iter().collect::<Vec<_>>().join(", "),
            });
        }
        let asked: BTreeSet<String> = asked.iter().cloned().collect();
        return Ok(Choice {
            nodes: asked.into_iter().collect(),
            by: ChosenBy::Flag,
        });
    }
    let mut labelled: Vec<String> = nodes
        .iter()
        .filter(|node| is_labelled(node))
        .map(ResourceExt::name_any)
        .collect();
    if !labelled.is_empty() {
        labelled.sort();
        return Ok(Choice {
            nodes: labelled,
            by: ChosenBy::Label,
        });
    }
    let mut ready: Vec<(bool, String)> = nodes
        .iter()
        .filter(|node| is_ready(node))
        .map(|node| (is_control_plane(node), node.name_any()))
        .collect();
    ready.sort();
    let nodes: Vec<String> = ready.into_iter().take(GATEWAYS).map(|(_, name)| name).collect();
    if nodes.is_empty() {
        return Err(ChooseError::NoneReady);
    }
    Ok(Choice {
        nodes,
        by: ChosenBy::Us,
    })
}

/// What is applied to a node so that it is a gateway candidate, or no longer one by our hand: a label that another set stays.
pub fn label(node: &str, is_gateway: bool) -> Value {
    let labels = if is_gateway {
        json!({ GATEWAY_LABEL: "true" })
    } else {
        json!({})
    };
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": node, "labels": labels } })
}

/// Whether a node carries the gateway label.
pub fn is_labelled(node: &Node) -> bool {
    node.labels().get(GATEWAY_LABEL).is_some_and(|value| value == "true")
}

/// Whether Kubernetes calls a node ready, and schedules to it.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    let cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    !cordoned && conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn is_control_plane(node: &Node) -> bool {
    node.labels().contains_key("node-role.kubernetes.io/control-plane")
}

const GATEWAYS: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, ready: bool, labels: &[(&str, &str)]) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": labels.iter().copied().collect::<std::collections::BTreeMap<_, _>>() },
            "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
        }))
        .unwrap()
    }

    const CONTROL_PLANE: (&str, &str) = ("node-role.kubernetes.io/control-plane", "");

    #[test]
    fn two_ready_workers_are_picked_by_name() {
        let nodes = [
            node("a-master", true, &[CONTROL_PLANE]),
            node("d", true, &[]),
            node("c", true, &[]),
            node("b", false, &[]),
            node("e", true, &[]),
        ];
        let choice = choose(&nodes, &[]).unwrap();
        assert_eq!((choice.nodes, choice.by), (vec!["c".into(), "d".into()], ChosenBy::Us));
    }

    #[test]
    fn a_control_plane_serves_where_no_worker_is_ready() {
        let nodes = [node("m", true, &[CONTROL_PLANE]), node("w", false, &[])];
        assert_eq!(choose(&nodes, &[]).unwrap().nodes, ["m"]);
        assert_eq!(choose(&[node("w", false, &[])], &[]), Err(ChooseError::NoneReady));
    }

    #[test]
    fn labels_that_are_there_stay_the_choice_and_flags_override_them() {
        let nodes = [node("a", true, &[]), node("b", true, &[(GATEWAY_LABEL, "true")])];
        let choice = choose(&nodes, &[]).unwrap();
        assert_eq!((choice.nodes, choice.by), (vec!["b".into()], ChosenBy::Label));
        let choice = choose(&nodes, &["a".into()]).unwrap();
        assert_eq!((choice.nodes, choice.by), (vec!["a".into()], ChosenBy::Flag));
    }

    #[test]
    fn an_unknown_node_is_named_with_what_there_is() {
        let error = choose(&[node("a", true, &[])], &["x".into()]).unwrap_err().to_string();
        assert_eq!(error, "--gateway-nodes: there is no node \"x\"; the nodes are: a");
    }
}

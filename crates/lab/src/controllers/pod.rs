//! What every controller of pods asks of a pod, and how one is made from a template.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The Ready condition holds.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref());
    let ready = conditions
        .unwrap_or_default()
        .iter()
        .find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|condition| condition.status == "True")
}

/// Asked to end.
pub(super) fn is_terminating(pod: &impl ResourceExt) -> bool {
    pod.meta().deletion_timestamp.is_some()
}

/// All its containers ended for good.
pub(super) fn is_finished(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Counts as a replica.
pub(super) fn is_active(pod: &Pod) -> bool {
    !is_terminating(pod) && !is_finished(pod)
}

/// The node it is bound to.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    let node = pod.spec.as_ref()?.node_name.as_deref();
    node.filter(|node| !node.is_empty())
}

/// The Ready condition of the node holds.
pub(super) fn is_node_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
    let ready = conditions
        .unwrap_or_default()
        .iter()
        .find(|condition| condition.type_ == "Ready");
    ready.is_some_and(|condition| condition.status == "True")
}

/// The node carries every label of the selector.
pub(super) fn admits(node: &Node, selector: Option<&BTreeMap<String, String>>) -> bool {
    let labels = node.labels();
    selector.is_none_or(|selector| selector.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// A pod of this owner, from its template, with one more label.
pub(super) fn from_template<K>(owner: &K, template: &PodTemplateSpec, name: String, label: (&str, &str)) -> Pod
where
    K: Resource<DynamicType = ()>,
{
    let metadata = template.metadata.clone().unwrap_or_default();
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert(label.0.to_owned(), label.1.to_owned());
    Pod {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: owner.namespace(),
            labels: Some(labels),
            annotations: metadata.annotations,
            owner_references: owner.controller_owner_ref(&()).map(|reference| {
                vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
                    block_owner_deletion: Some(true),
                    ..reference
                }]
            }),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Why a controller leaves an object alone: what it makes must carry what it selects, or it would make more for ever.
pub(super) fn is_selected(selector: &LabelSelector, template: &PodTemplateSpec) -> bool {
    let labels = template.metadata.as_ref().and_then(|metadata| metadata.labels.as_ref());
    let wanted = selector.match_labels.as_ref();
    wanted.is_some_and(|wanted| {
        !wanted.is_empty()
            && wanted
                .iter()
                .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

/// A short name part that tells one value from another: lower-case, with no vowel that could make a word.
pub(super) fn short_hash(of: &impl Serialize, length: usize) -> String {
    let text = serde_json::to_vec(of).expect("Kubernetes objects have string keys");
    let digest = Sha256::digest(text);
    let letters = digest.iter().map(|byte| ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    letters.take(length).map(char::from).collect()
}

const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

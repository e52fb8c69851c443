//! A pod's subresource `binding`, which puts it on a node.

use serde_json::{Value, json};

use super::{Write, checks::arrange, existing};
use crate::{
    field::FieldError,
    object::{Object as _, child_mut, text_at},
    status::Status,
    store::{Resource, Txn},
};

/// Binds a pod to a node, once.
pub(crate) fn bind_pod(txn: &mut Txn<'_>, write: &Write<'_>, name: &str, binding: &Value) -> Result<(), Status> {
    let pod = existing(txn, write, name)?;
    let node = text_at(binding, &["target", "name"]);
    let conflict = |why: String| Err(Status::conflict(&Resource::new("", "pods/binding"), name, &why));
    if node.is_empty() {
        let error = FieldError::required("target.name", "");
        return Err(Status::invalid("", "Binding", name, &[error]));
    }
    let bound = text_at(&pod, &["spec", "nodeName"]);
    if !bound.is_empty() {
        return conflict(format!("pod {name} is already assigned to node {bound:?}"));
    }
    if pod.is_terminating() {
        return conflict(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let mut pod = (*pod).clone();
    child_mut(&mut pod, "spec").insert("nodeName".into(), node.into());
    let conditions = child_mut(&mut pod, "status")
        .entry("conditions")
        .or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|one| one["type"] != "PodScheduled");
        conditions.push(json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
                               "lastTransitionTime": write.time()}));
    }
    arrange(&mut pod);
    txn.put(write.key(name), pod);
    Ok(())
}

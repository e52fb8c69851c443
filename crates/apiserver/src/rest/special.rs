//! Subresources that are verbs: a pod's binding and eviction, a service account's token.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{DeleteOptions, Outcome, Write, checks::arrange, create, delete, existing};
use crate::{
    apply::{Manager, Managers},
    auth::{AUDIENCE, Bound, Issued, Tokens},
    field::FieldError,
    object::{self, Object as _, child_mut, strings_at, text_at},
    schema,
    status::Status,
    store::{Key, Resource, Txn},
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

/// Deletes a pod on behalf of an eviction.
pub(crate) fn evict_pod(txn: &mut Txn<'_>, write: &Write<'_>, name: &str, eviction: &Value) -> Result<Outcome, Status> {
    let grace_seconds = eviction["deleteOptions"]["gracePeriodSeconds"].as_i64();
    delete(
        txn,
        write,
        name,
        &DeleteOptions {
            grace_seconds,
            ..DeleteOptions::default()
        },
    )
}

/// Issues a token for a service account and returns the filled TokenRequest.
pub(crate) fn request_token(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    name: &str,
    request: &Value,
    tokens: &Tokens,
) -> Result<Value, Status> {
    let account = existing(txn, write, name)?;
    let invalid = |error| Status::invalid("authentication.k8s.io", "TokenRequest", "", &[error]);
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    if seconds < 600 {
        let detail = "may not specify a duration less than 10 minutes";
        return Err(invalid(FieldError::invalid("spec.expirationSeconds", seconds, detail)));
    }
    let reference = request["spec"]
        .get("boundObjectRef")
        .filter(|reference| reference.is_object());
    let bound = reference
        .map(|reference| bound_object(txn, write, reference))
        .transpose()?;
    let expires = write
        .now
        .saturating_add(SignedDuration::from_secs(seconds.min(MAX_SECONDS)))
        .unwrap_or(write.now);
    let issued = Issued {
        namespace: write.namespace,
        account: name,
        account_uid: account.uid(),
        bound: bound.as_ref(),
        expires,
    };
    let token = tokens.issue(txn, &issued, write.now);
    let mut audiences = strings_at(request, &["spec", "audiences"]);
    if audiences.is_empty() {
        audiences.push(AUDIENCE);
    }
    let spec =
        json!({"audiences": audiences, "expirationSeconds": seconds.min(MAX_SECONDS), "boundObjectRef": reference});
    let mut answer = json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": write.namespace, "uid": account.uid(), "creationTimestamp": write.time()},
        "spec": spec,
        "status": {"token": token, "expirationTimestamp": object::time(expires)},
    });
    let who = Manager {
        api_version: "authentication.k8s.io/v1".into(),
        ..create::manager(write)
    };
    let mut stated = json!({"spec": answer["spec"]});
    if reference.is_none() {
        child_mut(&mut stated, "spec").shift_remove("boundObjectRef");
    }
    let mut managers = Managers::default();
    managers.update(&json!({"spec": {}}), &stated, &schema::ANY, &who, &write.time());
    managers.write(&mut answer);
    Ok(answer)
}

fn bound_object(txn: &Txn<'_>, write: &Write<'_>, reference: &Value) -> Result<Bound, Status> {
    let text = |field: &str| text_at(reference, &[field]).to_owned();
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let plural = match kind.as_str() {
        "Pod" => "pods",
        "Secret" => "secrets",
        other => {
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount to object of type {other:?}"
            )));
        }
    };
    let resource = Resource::new("", plural);
    let Some(object) = txn.get(&Key::new(&resource, write.namespace, &name)) else {
        return Err(Status::not_found(&resource, &name));
    };
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record ({})",
            object.uid()
        );
        return Err(Status::conflict(&resource, &name, &why));
    }
    Ok(Bound {
        kind,
        name,
        uid: object.uid().to_owned(),
    })
}

/// The longest life of a token: a year.
const MAX_SECONDS: i64 = 365 * 86_400;

//! A service account's subresource `token`: a TokenRequest in, the same with a signed token out. Nothing is stored.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{Write, create, existing};
use crate::{
    apply::{Manager, Managers},
    auth::{AUDIENCE, About, Claims, Reference, Tokens},
    field::FieldError,
    object::{self, Object as _, child_mut, strings_at, text_at},
    schema,
    status::Status,
    store::{Key, Resource, Txn},
};

/// Issues a token for a service account and returns the filled TokenRequest.
pub(crate) fn request_token(
    txn: &Txn<'_>,
    write: &Write<'_>,
    name: &str,
    request: &Value,
    tokens: &Tokens,
) -> Result<Value, Status> {
    let account = existing(txn, write, name)?;
    let seconds = lifetime(request)?;
    let reference = request["spec"]
        .get("boundObjectRef")
        .filter(|reference| reference.is_object());
    let mut about = About {
        namespace: write.namespace.to_owned(),
        serviceaccount: Reference::to(&account),
        ..About::default()
    };
    if let Some(reference) = reference {
        bind(&mut about, txn, write, reference)?;
    }
    let mut audiences = strings_at(request, &["spec", "audiences"]);
    if audiences.is_empty() {
        audiences.push(AUDIENCE);
    }
    let now = write.now.as_second();
    let mut expires = now + seconds;
    if about.pod.is_some() && seconds == KUBELET_SECONDS && audiences.contains(&AUDIENCE) {
        // Clients of before tokens were renewed read theirs once: they keep it for a year, and are told of.
        about.warnafter = Some(expires);
        expires = now + EXTENDED_SECONDS;
    }
    let claims = Claims {
        aud: audiences.iter().map(|audience| (*audience).to_owned()).collect(),
        exp: expires,
        iat: now,
        iss: AUDIENCE.to_owned(),
        jti: uuid::Uuid::new_v4().to_string(),
        about,
        nbf: now,
        sub: format!("system:serviceaccount:{}:{name}", write.namespace),
    };
    let token = tokens
        .issue(&claims)
        .map_err(|error| Status::internal(error.to_string()))?;
    let promised = write.now.saturating_add(SignedDuration::from_secs(seconds));
    let mut answer = json!({
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": name, "namespace": write.namespace, "uid": account.uid(), "creationTimestamp": write.time()},
        "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": reference},
        "status": {"token": token, "expirationTimestamp": object::time(promised.unwrap_or(write.now))},
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

/// How long the token is wanted to be good, in seconds.
fn lifetime(request: &Value) -> Result<i64, Status> {
    let seconds = request["spec"]["expirationSeconds"].as_i64().unwrap_or(3600);
    let detail = match seconds {
        ..600 => "may not specify a duration less than 10 minutes",
        LIMIT_SECONDS.. => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(seconds),
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, detail);
    Err(Status::invalid("authentication.k8s.io", "TokenRequest", "", &[error]))
}

/// Makes the token die with an object, which must exist.
fn bind(about: &mut About, txn: &Txn<'_>, write: &Write<'_>, reference: &Value) -> Result<(), Status> {
    let text = |field: &str| text_at(reference, &[field]);
    let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
    let account = &about.serviceaccount.name;
    let (plural, namespace) = match (text("apiVersion"), kind) {
        ("" | "v1", "Pod") => ("pods", write.namespace),
        ("" | "v1", "Secret") => ("secrets", write.namespace),
        ("" | "v1", "Node") => ("nodes", ""),
        (version, _) => {
            let (group, version) = version.split_once('/').unwrap_or(("", version));
            return Err(Status::bad_request(format!(
                "cannot bind token for serviceaccount {account:?} to object of type {group}/{version}, Kind={kind}"
            )));
        }
    };
    let resource = Resource::new("", plural);
    let Some(object) = txn.get(&Key::new(&resource, namespace, name)) else {
        return Err(Status::not_found(&resource, name));
    };
    if kind == "Pod" && text_at(&object, &["spec", "serviceAccountName"]) != account {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
        )));
    }
    if !uid.is_empty() && uid != object.uid() {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(Status::conflict(&Resource::new("", kind), name, &why));
    }
    let bound = Some(Reference::to(&object));
    match kind {
        "Pod" => {
            about.pod = bound;
            about.node = node_of(txn, &object);
        }
        "Node" => about.node = bound,
        _ => about.secret = bound,
    }
    Ok(())
}

/// The node that a pod runs on, by name alone if it is not known.
fn node_of(txn: &Txn<'_>, pod: &Value) -> Option<Reference> {
    let name = text_at(pod, &["spec", "nodeName"]);
    let node = txn.get(&Key::new(&Resource::new("", "nodes"), "", name));
    let unknown = || Reference {
        name: name.to_owned(),
        uid: String::new(),
    };
    (!name.is_empty()).then(|| node.map_or_else(unknown, |node| Reference::to(&node)))
}

/// More than 2³² seconds cannot be asked for.
const LIMIT_SECONDS: i64 = (1 << 32) + 1;
/// What kubelets ask for on behalf of pods that did not say otherwise; and what such a token is good for.
const KUBELET_SECONDS: i64 = 3607;
const EXTENDED_SECONDS: i64 = 365 * 86_400;

//! Kinds that are questions: who am I, may I, whose token is this.

use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Call, respond};
use crate::{
    apply::{Manager, Managers, Operation},
    auth::{AUDIENCE, User},
    field::FieldError,
    kinds::Kind,
    object::{self, ObjectMut as _, strings_at, text_at},
    rbac::{self, Action},
    server::Server,
    status::Status,
    store::Txn,
};

pub(crate) fn answer(
    server: &Server,
    call: &Call,
    kind: &Kind,
    namespace: &str,
    mut review: Value,
) -> Result<Response, Status> {
    if !review.is_object() {
        return Err(Status::bad_request("the review must be an object"));
    }
    review["kind"] = kind.kind.clone().into();
    review["apiVersion"] = kind.api_version().into();
    check_question(kind, &review)?;
    let asked = managed(call, kind, &review);
    let store = server.store();
    let txn = Txn::new(&store);
    let status = match kind.kind.as_str() {
        "SelfSubjectReview" => {
            review["metadata"] = json!({"creationTimestamp": object::time(call.now)});
            json!({"userInfo": user_info(&call.user)})
        }
        "TokenReview" => token_status(server, &txn, &review, call.now)?,
        "SelfSubjectAccessReview" => access(&txn, &call.user, &review),
        "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            if kind.namespaced {
                check_place(&mut review, namespace)?;
            }
            let text = |field: &str| text_at(&review, &["spec", field]).to_owned();
            let groups = strings_at(&review, &["spec", "groups"])
                .into_iter()
                .map(str::to_owned)
                .collect();
            access(
                &txn,
                &User {
                    name: text("user"),
                    uid: text("uid"),
                    groups,
                    ..User::default()
                },
                &review,
            )
        }
        _ => rules(&txn, &call.user, text_at(&review, &["spec", "namespace"])),
    };
    review["status"] = status;
    let is_rules = kind.kind == "SelfSubjectRulesReview";
    if is_rules || review.get("metadata").is_none() {
        review["metadata"] = json!({});
    }
    if is_rules {
        // Answered with a fresh object, which repeats nothing of the question.
        review["spec"] = json!({});
    }
    if let Some(managed) = asked.filter(|_| !is_rules) {
        review["metadata"]["managedFields"] = managed;
    }
    object::order(&mut review, &["kind", "apiVersion", "metadata", "spec", "status"]);
    Ok(respond::body(201, &review, &call.accept))
}

/// A question is about one thing, and about somebody.
fn check_question(kind: &Kind, review: &Value) -> Result<(), Status> {
    let spec = &review["spec"];
    if kind.kind == "SelfSubjectRulesReview" && text_at(spec, &["namespace"]).is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    if !kind.kind.ends_with("SubjectAccessReview") {
        return Ok(());
    }
    let mut errors = Vec::new();
    let path = &spec["nonResourceAttributes"];
    match (spec["resourceAttributes"].is_object(), path.is_object()) {
        (true, true) => {
            // The real server shows its own type.
            let shown = json!({"Path": text_at(path, &["path"]), "Verb": text_at(path, &["verb"])});
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", shown, why));
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid("spec.resourceAttributes", Value::Null, why));
        }
        _ => {}
    }
    let is_own = kind.kind.starts_with("Self");
    if !is_own && text_at(spec, &["user"]).is_empty() && strings_at(spec, &["groups"]).is_empty() {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", why));
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(Status::invalid(kind.group(), &kind.kind, "", &errors))
}

/// A local question is about its own namespace: whoever may ask there learns nothing of others.
fn check_place(review: &mut Value, namespace: &str) -> Result<(), Status> {
    let asked = &review["spec"]["resourceAttributes"];
    let error = if !asked.is_object() {
        let detail = "disallowed on this kind of request";
        FieldError::invalid(
            "spec.nonResourceAttributes",
            review["spec"]["nonResourceAttributes"].clone(),
            detail,
        )
    } else if text_at(asked, &["namespace"]) != namespace {
        let detail = "must match metadata.namespace";
        FieldError::invalid(
            "spec.resourceAttributes.namespace",
            text_at(asked, &["namespace"]),
            detail,
        )
    } else {
        review.set_meta("namespace", namespace);
        return Ok(());
    };
    let (group, kind) = ("authorization.k8s.io", "LocalSubjectAccessReview");
    Err(Status::invalid(group, kind, "", &[error]))
}

/// A question is never stored, but like any object that is created, it says who wrote its fields.
fn managed(call: &Call, kind: &Kind, review: &Value) -> Option<Value> {
    let who = Manager {
        operation: Operation::Update,
        name: call.agent.clone(),
        api_version: kind.api_version(),
        subresource: String::new(),
    };
    let (mut managers, mut shown) = (Managers::default(), json!({"metadata": {}}));
    managers.update(
        &json!({"spec": {}}),
        review,
        &kind.schema,
        &who,
        &object::time(call.now),
    );
    managers.write(&mut shown);
    shown["metadata"].get_mut("managedFields").map(Value::take)
}

/// What a token proves, and to whom: without audiences in the question, to the API server itself.
fn token_status(server: &Server, txn: &Txn<'_>, review: &Value, now: Timestamp) -> Result<Value, Status> {
    let token = text_at(review, &["spec", "token"]);
    if token.is_empty() {
        return Err(Status::bad_request(
            "token is required for TokenReview in authentication",
        ));
    }
    let mut asked = strings_at(review, &["spec", "audiences"]);
    if asked.is_empty() {
        asked.push(AUDIENCE);
    }
    Ok(match server.tokens.prove(txn, token, &asked, now) {
        Ok(proof) => json!({"authenticated": true, "user": user_info(&proof.user), "audiences": proof.audiences}),
        Err(refusal) => json!({"user": {}, "error": refusal.to_string()}),
    })
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.clone().into();
    }
    info["groups"] = json!(user.groups);
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn access(txn: &Txn<'_>, user: &User, review: &Value) -> Value {
    let resource = &review["spec"]["resourceAttributes"];
    let action = if resource.is_object() {
        let text = |field: &str| text_at(resource, &[field]).to_owned();
        Action::Resource {
            verb: text("verb"),
            group: text("group"),
            resource: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        }
    } else {
        let text = |field: &str| text_at(review, &["spec", "nonResourceAttributes", field]).to_owned();
        Action::Path {
            verb: text("verb"),
            path: text("path"),
        }
    };
    match rbac::allows(txn, user, &action).map(|grant| grant.reason()) {
        Some(reason) if reason.is_empty() => json!({"allowed": true}),
        Some(reason) => json!({"allowed": true, "reason": reason}),
        None => json!({"allowed": false}),
    }
}

fn rules(txn: &Txn<'_>, user: &User, namespace: &str) -> Value {
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    let everywhere = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
    let mut rules = rbac::grants(txn, user, namespace);
    if user.is_master() {
        rules.extend([all, everywhere]);
    }
    let (paths, resources): (Vec<Value>, Vec<Value>) = rules
        .into_iter()
        .partition(|rule| rule.get("nonResourceURLs").is_some());
    json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": false})
}

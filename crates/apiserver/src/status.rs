//! The one error that leaves the server: `metav1.Status`, with the API's own wording and key order.

use serde_json::{Map, Value, json};

use crate::{field::FieldError, store::Resource};

/// A failed request.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Status {
    pub code: u16,
    pub reason: &'static str,
    pub message: String,
    /// Boxed: most functions here return a `Result` with this error.
    details: Option<Box<Value>>,
    /// List metadata: the way on after an expired continue token.
    continue_with: Option<Box<str>>,
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_with: None,
        }
    }

    fn about(mut self, resource: &Resource, name: &str) -> Self {
        self.details = Some(Box::new(details(name, &resource.group, &resource.plural)));
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// `what` is the rest of the sentence after `is forbidden: `.
    pub(crate) fn forbidden(resource: &Resource, name: &str, what: &str) -> Self {
        let quoted = if name.is_empty() {
            String::new()
        } else {
            format!(" \"{name}\"")
        };
        Self::new(403, "Forbidden", format!("{resource}{quoted} is forbidden: {what}")).about(resource, name)
    }

    /// A policy refused a write. Its reason decides the code.
    pub(crate) fn denied(resource: &Resource, name: &str, what: &str, reason: &str) -> Self {
        let mut status = Self::forbidden(resource, name, what);
        (status.code, status.reason) = match reason {
            "Forbidden" => (403, "Forbidden"),
            "Unauthorized" => (401, "Unauthorized"),
            "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
            _ => (422, "Invalid"),
        };
        if let Some(details) = &mut status.details {
            details["causes"] = json!([{"message": what}]);
        }
        status
    }

    /// Something new in a namespace that is going away.
    pub(crate) fn terminating(resource: &Resource, name: &str, namespace: &str) -> Self {
        let what = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Self::forbidden(resource, name, &what);
        let message = format!("namespace {namespace} is being terminated");
        if let Some(details) = &mut status.details {
            let cause = json!({"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"});
            details["causes"] = json!([cause]);
        }
        status
    }

    pub(crate) fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        let mut status = Self::new(
            403,
            "Forbidden",
            format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\""),
        );
        status.details = Some(Box::new(json!({})));
        status
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")).about(resource, name)
    }

    /// No such path or resource.
    pub(crate) fn no_such_path() -> Self {
        let mut status = Self::new(404, "NotFound", "the server could not find the requested resource");
        status.details = Some(Box::new(json!({})));
        status
    }

    /// No such path, told in plain text: nothing of the API is there.
    pub(crate) fn no_such_page() -> Self {
        Self::new(404, "", "404 page not found")
    }

    /// Whether this is told in plain text.
    pub(crate) fn is_page(&self) -> bool {
        self.code == 404 && self.reason.is_empty()
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        let mut status = Self::new(405, "MethodNotAllowed", message);
        status.details = Some(Box::new(json!({})));
        status
    }

    pub(crate) fn not_acceptable() -> Self {
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml";
        let mut status = Self::new(406, "NotAcceptable", message);
        status.details = Some(Box::new(json!({})));
        status
    }

    /// The same of a custom resource, which is worded otherwise.
    pub(crate) fn none_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, application/yaml";
        Self::new(406, "NotAcceptable", message)
    }

    /// A document that comes in one media type, which the client does not accept.
    pub(crate) fn only_as(kind: &str) -> Self {
        Self {
            message: format!("406: Not Acceptable\n\nAvailable representations: {kind}"),
            ..Self::not_acceptable()
        }
    }

    pub(crate) fn unsupported_media_type() -> Self {
        let mut status = Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type");
        status.details = Some(Box::new(json!({})));
        status
    }

    /// The body of an object, or the patch of a custom resource, in a media type that is not read.
    pub(crate) fn unknown_format(read: &[&str]) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            read.join(", ")
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// A media type that is read, but not for this kind.
    pub(crate) fn unread_kind(message: String) -> Self {
        Self {
            message,
            ..Self::unsupported_media_type()
        }
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    pub(crate) fn too_many_operations(count: usize, limit: usize) -> Self {
        let what = format!("The allowed maximum operations in a JSON patch is {limit}, got {count}");
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: {what}"),
        )
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str, terminating: bool) -> Self {
        let being_deleted = if terminating { "object is being deleted: " } else { "" };
        Self::new(
            409,
            "AlreadyExists",
            format!("{being_deleted}{resource} \"{name}\" already exists"),
        )
        .about(resource, name)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}"),
        )
        .about(resource, name)
    }

    /// The resourceVersion that the client holds is not the newest.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Server-side apply met fields that others own: (manager, field) pairs.
    pub(crate) fn apply_conflict(conflicts: &[(String, String)]) -> Self {
        let mut by_manager: Vec<(&str, Vec<&str>)> = Vec::new();
        for (manager, field) in conflicts {
            match by_manager.iter_mut().find(|(known, _)| known == manager) {
                Some((_, fields)) => fields.push(field),
                None => by_manager.push((manager, vec![field])),
            }
        }
        let parts: Vec<String> = by_manager
            .iter()
            .map(|(manager, fields)| match fields.as_slice() {
                [one] => format!("conflict with {manager}: {one}"),
                many => format!("conflicts with {manager}:\n- {}", many.join("\n- ")),
            })
            .collect();
        let plural = if conflicts.len() == 1 { "conflict" } else { "conflicts" };
        let message = format!("Apply failed with {} {plural}: {}", conflicts.len(), parts.join("\n"));
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({"reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": field})
            })
            .collect();
        let mut status = Self::new(409, "Conflict", message);
        status.details = Some(Box::new(json!({"causes": causes})));
        status
    }

    pub(crate) fn gone(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// An expired continue token, and one to go on with.
    pub(crate) fn expired_continue(token: String) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                       list without the continue parameter, or use the continue token in this response to retrieve the \
                       remainder of the results. Continuing with the provided token results in an inconsistent list - \
                       objects that were created, modified, or deleted between the time the first chunk was returned and \
                       now may show up in the list.";
        Self {
            continue_with: Some(token.into()),
            ..Self::gone(message)
        }
    }

    /// The object breaks rules of its kind.
    pub(crate) fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let full = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let text = if let [one] = text.as_slice() {
            one.clone()
        } else {
            format!("[{}]", text.join(", "))
        };
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| json!({"reason": error.reason.cause(), "message": error.message(), "field": error.field}))
            .collect();
        let mut details = details(name, group, kind);
        details["causes"] = Value::Array(causes);
        let mut status = Self::new(422, "Invalid", format!("{full} \"{name}\" is invalid: {text}"));
        status.details = Some(Box::new(details));
        status
    }

    /// A request's own options are wrong.
    pub(crate) fn invalid_options(kind: &str, error: FieldError) -> Self {
        Self::invalid("meta.k8s.io", kind, "", &[error])
    }

    /// What a patch made of an object (or the patch itself) cannot be decoded. The object goes unnamed.
    pub(crate) fn wrong_patch(shown: &str, why: &str) -> Self {
        Self::invalid("", "", "", &[FieldError::invalid("patch", shown, why)])
    }

    /// A JSON patch that does not fit the object.
    pub(crate) fn unprocessable() -> Self {
        let message = "the server rejected our request due to an error in our request";
        let mut status = Self::new(422, "Invalid", message);
        status.details = Some(Box::new(json!({})));
        status
    }

    /// An error without a reason, as the API gives for a few client mistakes and for its own failures.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// The wanted resourceVersion lies in the future.
    pub(crate) fn revision_too_large(wanted: &str, current: &str) -> Self {
        let message = format!("Too large resource version: {wanted}, current: {current}");
        let mut status = Self::new(504, "Timeout", message);
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        status.details = Some(Box::new(json!({"causes": [cause], "retryAfterSeconds": 1})));
        status
    }

    /// The server has enough to do.
    pub(crate) fn too_many_requests() -> Self {
        let message = "the server has received too many requests and has asked us to try again later";
        let mut status = Self::new(429, "TooManyRequests", message);
        status.details = Some(Box::new(json!({"retryAfterSeconds": 1})));
        status
    }

    /// An eviction that a disruption budget stands against.
    pub(crate) fn over_budget(why: &str, retry_seconds: u64) -> Self {
        let message = "Cannot evict pod as it would violate the pod's disruption budget.";
        let mut status = Self::new(429, "TooManyRequests", message);
        let mut details = json!({"causes": [{"reason": "DisruptionBudget", "message": why}]});
        if retry_seconds > 0 {
            details["retryAfterSeconds"] = retry_seconds.into();
        }
        status.details = Some(Box::new(details));
        status
    }

    /// The request's body, or the disk, did not come in time.
    pub(crate) fn took_too_long() -> Self {
        let message = "request did not complete within the allotted timeout";
        Self::new(504, "Timeout", message)
    }

    /// Seconds after which the client should try again, if it should.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds")?.as_u64()
    }

    /// The body, in the API's key order.
    pub(crate) fn to_value(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.continue_with {
            metadata.insert("continue".into(), token.to_string().into());
        }
        let mut body = Map::new();
        body.insert("kind".into(), "Status".into());
        body.insert("apiVersion".into(), "v1".into());
        body.insert("metadata".into(), metadata.into());
        body.insert("status".into(), "Failure".into());
        body.insert("message".into(), self.message.clone().into());
        if !self.reason.is_empty() {
            body.insert("reason".into(), self.reason.into());
        }
        if let Some(details) = &self.details {
            body.insert("details".into(), (**details).clone());
        }
        body.insert("code".into(), self.code.into());
        body.into()
    }
}

/// The body of a request that succeeded without an object to show.
pub(crate) fn success(details: Option<Value>, code: Option<u16>) -> Value {
    let mut body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
    if let Some(details) = details {
        body["details"] = details;
    }
    if let Some(code) = code {
        body["code"] = code.into();
    }
    body
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = Map::new();
    for (field, value) in [("name", name), ("group", group), ("kind", kind)] {
        if !value.is_empty() {
            details.insert(field.into(), value.into());
        }
    }
    details.into()
}

#[cfg(test)]
mod tests;

//! What expressions of policies can read.

use serde_json::{Value, json};

use super::{Request, namespace};
use crate::{
    cel::{Shape, Variables, value},
    store::Txn,
};

/// The names that every expression of a policy knows. What they hold depends on what is written, so their shape is open.
pub(super) fn names() -> Vec<(&'static str, Shape)> {
    NAMES.iter().map(|name| (*name, Shape::Dyn)).collect()
}

/// The values for one request and one set of parameters.
pub(super) fn bind(txn: &Txn<'_>, request: &Request<'_>, params: Option<&Value>) -> Variables {
    let schema = &request.write.kind.schema;
    let object = |object: Option<&Value>| object.map_or_else(value::null, |object| value::typed(object, schema));
    let open = |object: Option<&Value>| object.map_or_else(value::null, value::untyped);
    let mut variables = Variables::new();
    variables.set("object", object(request.object));
    variables.set("oldObject", object(request.old));
    variables.set("request", value::untyped(&describe(request)));
    variables.set("params", open(params));
    let around = namespace(txn, request.write.namespace);
    variables.set("namespaceObject", open(around.as_deref()));
    variables
}

/// The request as an AdmissionReview would describe it.
fn describe(request: &Request<'_>) -> Value {
    let (write, user) = (request.write, request.write.user);
    let kind = json!({"group": write.kind.group(), "version": write.kind.version, "kind": write.kind.kind});
    let resource =
        json!({"group": write.kind.group(), "version": write.kind.version, "resource": &*write.kind.resource.plural});
    json!({
        "kind": kind, "resource": resource, "subResource": write.subresource,
        "requestKind": kind, "requestResource": resource, "requestSubResource": write.subresource,
        "name": request.name, "namespace": write.namespace, "operation": request.operation.name(),
        "userInfo": {"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra},
        "dryRun": false,
    })
}

const NAMES: [&str; 7] = [
    "object",
    "oldObject",
    "request",
    "params",
    "namespaceObject",
    "variables",
    "authorizer",
];

//! What the schemas cannot say about the built-in kinds: defaults, allocation, immutability.

use std::fmt;

use serde_json::Value;

use super::names::NameRule;
use crate::{
    field::FieldError,
    status::Status,
    store::{Resource, Txn},
};

mod aggregation;
mod budget;
mod config;
mod containers;
mod definition;
mod endpoints;
mod event;
mod lease;
mod namespace;
mod naming;
mod node;
mod pod;
mod policy;
mod rbac;
mod revision;
mod selectors;
mod service;
mod service_range;
mod stateful;
mod structural;
mod workload;

pub(crate) use aggregation::ApiServices;
pub(crate) use budget::DisruptionBudgets;
pub(crate) use config::{ConfigMaps, Secrets};
pub(crate) use definition::{Definitions, condition_status, set_terminating};
pub(crate) use endpoints::{EndpointSlices, Endpoints};
pub(crate) use event::{Events, NewEvents};
pub(crate) use lease::Leases;
pub(crate) use namespace::Namespaces;
pub(crate) use naming::{ESTABLISHED, NAMES, Taken, next_status};
pub(crate) use node::Nodes;
pub(crate) use pod::Pods;
pub(crate) use policy::NetworkPolicies;
pub(crate) use rbac::{Bindings, Roles};
pub(crate) use revision::ControllerRevisions;
pub(crate) use service::{ServicePrefixes, Services};
pub(crate) use service_range::ServiceRanges;
pub(crate) use stateful::StatefulSets;
pub(crate) use workload::{DaemonSets, Deployments, ReplicaSets};

/// What rules may look at beyond the object itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub txn: &'a Txn<'a>,
    pub services: &'a ServicePrefixes,
}

/// The rules of one kind. The generic code calls them in this order, on every write: `default`, then `create` or `update`,
/// then `validate`.
pub(crate) trait Rules: fmt::Debug + Send + Sync {
    /// Fills in what the client left out. Must change nothing on a second call.
    fn default(&self, _object: &mut Value) {}

    /// Sets what a new object gets once. Its status has been dropped already if status is a subresource.
    fn create(&self, _object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// Carries over what an update cannot change silently.
    fn update(&self, _old: &Value, _new: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// Everything that is wrong beyond the schema.
    fn validate(&self, _object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        Vec::new()
    }

    /// Where the objects are kept, if another kind keeps them in its own form.
    fn storage(&self) -> Option<Resource> {
        None
    }

    /// Brings an object into the form in which it is kept.
    fn to_stored(&self, _object: &mut Value) {}

    /// Brings an object from the form in which it is kept into that of this kind. Must change nothing on a second call.
    fn to_shown(&self, _object: &mut Value) {}

    /// The path of a field that selectors name, in the form in which objects are kept.
    fn stored_field(&self, path: &str) -> String {
        path.to_owned()
    }

    /// What names look like.
    fn names(&self) -> NameRule {
        NameRule::Subdomain
    }
}

/// A kind whose schema says it all.
#[derive(Debug)]
pub(crate) struct Plain;

impl Rules for Plain {}

/// Conditions as Go writes them: empty texts are left out, times that nobody set are null.
fn conditions(object: &mut Value, times: &[&str]) {
    let conditions = object.get_mut("status").and_then(|status| status.get_mut("conditions"));
    let conditions = conditions.and_then(Value::as_array_mut).into_iter().flatten();
    for condition in conditions.filter_map(Value::as_object_mut) {
        condition.retain(|field, value| !(["reason", "message"].contains(&field.as_str()) && value == ""));
        for time in times {
            condition.entry(*time).or_insert(Value::Null);
        }
    }
}

/// An error if a field differs from what it was.
fn immutable(old: &Value, new: &Value, path: &[&str]) -> Option<FieldError> {
    let at = |object| {
        path.iter()
            .try_fold(object, |at: &Value, field| at.get(field))
            .filter(|value| !value.is_null())
    };
    let (before, after) = (at(old), at(new));
    (before != after)
        .then(|| FieldError::invalid(path.join("."), after.cloned().unwrap_or_default(), "field is immutable"))
}

//! What the schemas cannot say about the built-in kinds: defaults, allocation, immutability.

use std::fmt;

use serde_json::Value;

use super::names::NameRule;
use crate::{field::FieldError, status::Status, store::Txn};

mod config;
mod definition;
mod namespace;
mod network;
mod node;
mod pod;
mod rbac;
mod service;
mod workload;

pub(crate) use config::{ConfigMaps, Secrets};
pub(crate) use definition::{Definitions, next_status, set_terminating};
pub(crate) use namespace::Namespaces;
pub(crate) use network::{EndpointSlices, Events, Leases};
pub(crate) use node::Nodes;
pub(crate) use pod::Pods;
pub(crate) use rbac::{Bindings, Roles};
pub(crate) use service::{ServicePrefixes, Services};
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

    /// What names look like.
    fn names(&self) -> NameRule {
        NameRule::Subdomain
    }
}

/// A kind whose schema says it all.
#[derive(Debug)]
pub(crate) struct Plain;

impl Rules for Plain {}

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

//! ValidatingAdmissionPolicy: rules of an administrator on writes of others, in CEL.
//!
//! A *policy* says what it is about and what must hold; a *binding* puts it into force, for some objects, with parameters, and
//! says what happens otherwise: `Deny` refuses the write, `Warn` tells the client, `Audit` does nothing here. Both are kept
//! compiled beside the registry of kinds, and change with the objects that they come from.
//!
//! ```text
//!  write ── binding matches? ── policy matches? ── conditions hold? ── every validation ──▶ true: go on
//!                                                                           false or error ──▶ deny, warn
//! ```
//!
//! A policy that cannot be evaluated counts as not met, unless its failure policy is `Ignore`. Nobody can lock themselves out:
//! policies and bindings are not subject to policies.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use crate::{
    rest::Write,
    status::Status,
    store::{Key, Resource, Txn},
};

mod binding;
mod matching;
mod policy;
mod rules;
mod variables;

use binding::Binding;
use policy::{Finding, Policy};
pub(crate) use rules::{BindingRules, PolicyRules};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub write: &'a Write<'a>,
    pub operation: Operation,
    pub name: &'a str,
    /// The object as it will be; none for a deletion.
    pub object: Option<&'a Value>,
    /// The object as it is.
    pub old: Option<&'a Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// All policies in force.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies {
    policies: BTreeMap<String, Arc<Policy>>,
    bindings: BTreeMap<String, Arc<Binding>>,
}

impl Policies {
    /// Takes over a changed object, if it is one of ours; none if it is gone.
    pub(crate) fn take(&mut self, key: &Key, object: Option<&Value>) {
        let name = key.place.name.clone();
        if key.resource == policies() {
            match object {
                Some(object) => drop(self.policies.insert(name, Arc::new(Policy::read(object)))),
                None => drop(self.policies.remove(&name)),
            }
        } else if key.resource == bindings() {
            match object {
                Some(object) => drop(self.bindings.insert(name, Arc::new(Binding::read(object)))),
                None => drop(self.bindings.remove(&name)),
            }
        }
    }

    /// Whether an object of this resource is one of ours.
    pub(crate) fn has(resource: &Resource) -> bool {
        *resource == policies() || *resource == bindings()
    }

    /// Refuses a write, or returns the warnings that go with it.
    pub(crate) fn admit(&self, txn: &Txn<'_>, request: &Request<'_>) -> Result<Vec<String>, Status> {
        let mut warnings = Vec::new();
        if request.write.kind.group() == GROUP {
            return Ok(warnings);
        }
        let mut denied: Option<(String, Finding)> = None;
        for (name, binding) in &self.bindings {
            let Some(policy) = self.policies.get(&binding.policy) else {
                continue;
            };
            if !binding.scope.covers(txn, request) || !policy.scope.covers(txn, request) {
                continue;
            }
            for finding in policy.examine(txn, request, binding) {
                let (policy, message) = (&binding.policy, &finding.message);
                if binding.warns {
                    warnings.push(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{name}': {message}"
                    ));
                }
                if binding.denies && denied.is_none() {
                    let what =
                        format!("ValidatingAdmissionPolicy '{policy}' with binding '{name}' denied request: {message}");
                    denied = Some((what, finding));
                }
            }
        }
        match denied {
            Some((what, finding)) => {
                let resource = &request.write.kind.resource;
                Err(Status::denied(resource, request.name, &what, &finding.reason))
            }
            None => Ok(warnings),
        }
    }
}

/// The namespace of a request as an object; null outside of namespaces.
fn namespace(txn: &Txn<'_>, name: &str) -> Option<Arc<Value>> {
    txn.get(&Key::new(&Resource::new("", "namespaces"), "", name))
}

pub(crate) fn policies() -> Resource {
    Resource::new(GROUP, "validatingadmissionpolicies")
}

pub(crate) fn bindings() -> Resource {
    Resource::new(GROUP, "validatingadmissionpolicybindings")
}

const GROUP: &str = "admissionregistration.k8s.io";

#[cfg(test)]
mod tests;

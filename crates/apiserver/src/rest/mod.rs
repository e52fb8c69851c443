//! What the verbs do to objects, apart from HTTP: each function works on a [`Txn`] and returns an [`Outcome`].
//!
//! A write passes these stations, in this order; the first that objects ends it:
//!
//! ```text
//! type and names → prune, default → who owns what → rules of the kind → generation → validate → nothing changed? → stage
//! ```

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    admission::{self, Operation},
    auth::User,
    kinds::{Kind, Registry, rules::ServicePrefixes},
    object,
    status::Status,
    store::{Key, Txn},
};

mod applied;
mod binding;
mod cascade;
mod checks;
mod create;
mod custom;
mod decode;
mod delete;
mod eviction;
mod metadata;
mod naming;
mod page;
mod read;
mod scale;
mod token;
mod update;

pub(crate) use binding::bind_pod;
pub(crate) use cascade::{root_ca, settle};
pub(crate) use create::create;
pub(crate) use delete::{DeleteOptions, delete, delete_collection};
pub(crate) use eviction::evict_pod;
pub(crate) use read::{List, ListQuery, get, list};
pub(crate) use token::request_token;
pub(crate) use update::{Change, update};

/// What becomes of fields that the schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// One write request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write<'a> {
    pub kind: &'a Kind,
    pub registry: &'a Registry,
    pub services: &'a ServicePrefixes,
    pub user: &'a User,
    /// Published in new namespaces.
    pub root_ca: Option<&'a str>,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Empty, or the name of a subresource.
    pub subresource: &'a str,
    pub manager: &'a str,
    pub validation: FieldValidation,
    pub now: Timestamp,
}

impl Write<'_> {
    fn key(&self, name: &str) -> Key {
        Key::new(&self.kind.storage(), self.namespace, name)
    }

    fn time(&self) -> String {
        object::time(self.now)
    }

    /// Asks the admission policies. They are not asked about what the server itself does.
    fn admit(
        &self,
        txn: &Txn<'_>,
        operation: Operation,
        object: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Vec<String>, Status> {
        let name = object.or(old).map(object::Object::name).unwrap_or_default();
        let request = admission::Request {
            write: self,
            operation,
            name,
            object,
            old,
        };
        self.registry.policies.admit(txn, &request)
    }

    /// The refusal of a body that is not an object of this kind; `why` in the words of Go's decoder.
    fn undecodable(&self, why: &str) -> Status {
        let (kind, version) = (&self.kind.kind, &self.kind.version);
        Status::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
        ))
    }

    fn invalid(&self, name: &str, errors: &[crate::field::FieldError]) -> Status {
        Status::invalid(self.kind.group(), &self.kind.kind, name, errors)
    }
}

/// What a request led to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub object: Arc<Value>,
    pub created: bool,
    /// The object was removed, and no trace of it remains.
    pub removed: bool,
    pub warnings: Vec<String>,
}

impl Outcome {
    fn of(object: Arc<Value>) -> Self {
        Self {
            object,
            created: false,
            removed: false,
            warnings: Vec::new(),
        }
    }

    /// The same, with what was noticed earlier.
    fn warned(mut self, earlier: Vec<String>) -> Self {
        self.warnings.splice(0..0, earlier);
        self
    }
}

/// The object at a key, or 404.
fn existing(txn: &Txn<'_>, write: &Write<'_>, name: &str) -> Result<Arc<Value>, Status> {
    txn.get(&write.key(name))
        .ok_or_else(|| Status::not_found(&write.kind.resource, name))
}

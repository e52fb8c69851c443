//! Namespace.

use serde_json::{Value, json};

use super::{Context, NameRule, Rules};
use crate::{
    object::{Object as _, ObjectMut as _, child_mut},
    status::Status,
};

#[derive(Debug)]
pub(crate) struct Namespaces;

impl Rules for Namespaces {
    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["spec"] = json!({"finalizers": ["kubernetes"]});
        object["status"] = json!({"phase": "Active"});
        Ok(())
    }

    fn update(&self, old: &Value, new: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        new["spec"] = old["spec"].clone();
        Ok(())
    }

    /// Namespaces can be selected by name.
    fn default(&self, object: &mut Value) {
        let name = object.name().to_owned();
        if !name.is_empty() {
            object.metadata_mut();
            child_mut(&mut object["metadata"], "labels").insert("kubernetes.io/metadata.name".into(), name.into());
        }
    }

    fn names(&self) -> NameRule {
        NameRule::Label
    }
}

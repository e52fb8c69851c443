//! The three patches that change an object without owning fields. All are pure: object and patch in, object out.

use serde_json::Value;

use crate::{schema::Schema, status::Status};

mod strategic;

/// A patch, and how to read it.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
    /// Kubernetes' own: lists merge by key.
    Strategic(Value),
}

impl Patch {
    /// The patched object.
    pub(crate) fn apply(&self, object: &Value, schema: &Schema) -> Result<Value, Status> {
        match self {
            Self::Merge(patch) => {
                let mut object = object.clone();
                json_patch::merge(&mut object, patch);
                Ok(object)
            }
            Self::Json(patch) => {
                let mut object = object.clone();
                json_patch::patch(&mut object, patch).map_err(|_| Status::unprocessable())?;
                Ok(object)
            }
            Self::Strategic(patch) => {
                strategic::apply(object, patch, schema).map_err(|error| Status::bad_request(error.to_string()))
            }
        }
    }
}

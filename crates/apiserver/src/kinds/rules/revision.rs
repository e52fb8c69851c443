//! ControllerRevision.

use serde_json::Value;

use super::{Rules, immutable};
use crate::{field::FieldError, object::set_default};

#[derive(Debug)]
pub(crate) struct ControllerRevisions;

impl Rules for ControllerRevisions {
    fn default(&self, object: &mut Value) {
        if let Some(object) = object.as_object_mut() {
            set_default(object, "revision", 0);
        }
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if object.get("data").is_none_or(Value::is_null) {
            errors.push(FieldError::required("data", "data is mandatory"));
        }
        if object["revision"].as_i64().is_some_and(|revision| revision < 0) {
            let detail = "must be greater than or equal to 0";
            errors.push(FieldError::invalid("revision", object["revision"].clone(), detail));
        }
        if let Some(old) = old {
            errors.extend(immutable(old, object, &["data"]));
        }
        errors
    }
}

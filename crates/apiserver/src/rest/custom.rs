//! What a custom resource must satisfy beyond its metadata: schema, scale, and the rules in the schema.

use serde_json::Value;

use super::Write;
use crate::{
    cel::rules::{self, Verdict},
    field::{FieldError, FieldReason},
    schema::validate::{Mode, NO_FIELD, validate, validate_update},
};

/// Checks a complete object against its kind, and against what it was.
pub(super) fn check(write: &Write<'_>, object: &Value, old: Option<&Value>) -> Verdict {
    let schema = &write.kind.schema;
    let mut errors = match old {
        Some(old) => validate_update(object, old, schema),
        None => validate(object, schema, Mode::Written),
    };
    if let Some(scale) = &write.kind.scale {
        errors.extend(scale.check(object, write.subresource == "status"));
    }
    if !rules::has_rules(schema) {
        return Verdict {
            errors,
            ..Verdict::default()
        };
    }
    // Rules may rely on what the schema says, so they are not even tried on an object that is of another shape.
    if errors
        .iter()
        .any(|error| error.reason != FieldReason::Invalid && error.reason != FieldReason::Duplicate)
    {
        let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                      complete validation";
        errors.push(FieldError::invalid(NO_FIELD, Value::Null, detail));
        return Verdict {
            errors,
            ..Verdict::default()
        };
    }
    let mut verdict = rules::validate(object, old, schema);
    verdict.errors.splice(0..0, errors);
    verdict
}

//! Checks that every written object passes, whatever its kind.

use serde_json::Value;

use super::{FieldValidation, Write, custom, decode, metadata};
use crate::{
    field::{FieldError, FieldReason},
    kinds::Origin,
    object::{METADATA_ORDER, Object as _, ObjectMut as _, order, text_at},
    schema::{
        normalise::normalise,
        validate::{Mode, validate},
    },
    status::Status,
};

/// Checks apiVersion and kind against the endpoint; built-in kinds may leave them out.
pub(crate) fn check_type(write: &Write<'_>, object: &mut Value) -> Result<(), Status> {
    let kind = write.kind;
    if !object.is_object() {
        // What came over HTTP was read as an object; this is what a patch has left of one.
        return Err(Status::wrong_patch(
            &object.to_string(),
            "json: cannot unmarshal into an object",
        ));
    }
    let (have_version, have_kind) = (
        text_at(object, &["apiVersion"]).to_owned(),
        text_at(object, &["kind"]).to_owned(),
    );
    let expected = kind.api_version();
    if kind.is_custom() {
        if have_kind.is_empty() {
            return Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{object}'",
                kind.kind
            )));
        }
        if have_version != expected {
            return Err(Status::bad_request(format!(
                "the API version in the data ({have_version}) does not match the expected API version ({expected})"
            )));
        }
        if have_kind != kind.kind {
            return Err(Status::bad_request(format!(
                "the kind in the data ({have_kind}) does not match the expected kind ({})",
                kind.kind
            )));
        }
    } else if (!have_kind.is_empty() && have_kind != kind.kind)
        || (!have_version.is_empty() && have_version != expected)
    {
        let shown = if have_kind.is_empty() { &kind.kind } else { &have_kind };
        if have_version == expected || have_version.is_empty() {
            let internal = if kind.group().is_empty() { "core" } else { kind.group() };
            return Err(Status::bad_request(format!(
                "{shown} in version \"{0}\" cannot be handled as a {1}: converting ({0}.{shown}) to ({internal}.{1}): \
                 unknown conversion",
                kind.version, kind.kind
            )));
        }
        return Err(Status::bad_request(format!(
            "{shown} in version \"{}\" cannot be handled as a {}: no kind \"{shown}\" is registered for version \
             \"{have_version}\" in scheme",
            kind.version, kind.kind
        )));
    }
    object["kind"] = kind.kind.clone().into();
    object["apiVersion"] = expected.into();
    Ok(())
}

/// The namespace in the body must be that of the path.
pub(crate) fn check_namespace(write: &Write<'_>, object: &mut Value) -> Result<(), Status> {
    let own = object.namespace().to_owned();
    if !own.is_empty() && own != write.namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(message));
    }
    if write.namespace.is_empty() {
        object.drop_meta("namespace");
    } else {
        object.set_meta("namespace", write.namespace);
    }
    Ok(())
}

/// Prunes and defaults by schema and rules, and returns warnings about unknown fields; or tells why the object cannot be decoded.
pub(crate) fn conform(write: &Write<'_>, object: &mut Value) -> Result<Vec<String>, String> {
    let unknown = normalise(object, &write.kind.schema);
    let described: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    if write.validation == FieldValidation::Strict && !described.is_empty() {
        return Err(format!("strict decoding error: {}", described.join(", ")));
    }
    for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
        let empty = |value: &Value| match value {
            Value::Object(map) => map.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if object.meta(field).is_some_and(empty) {
            object.drop_meta(field);
        }
    }
    if !write.kind.is_custom() {
        decode::quantities(object, &write.kind.schema)?;
        check_types(write, object)?;
    }
    write.kind.rules.default(object);
    Ok(if write.validation == FieldValidation::Ignore {
        Vec::new()
    } else {
        described
    })
}

/// A built-in object with a value of a wrong type cannot even be decoded, and rules may rely on types afterwards.
fn check_types(write: &Write<'_>, object: &Value) -> Result<(), String> {
    let errors = validate(object, &write.kind.schema, Mode::Generated);
    let wrong = errors.iter().find(|error| error.reason == FieldReason::TypeInvalid);
    match (wrong, &write.kind.origin) {
        (Some(error), Origin::Builtin { definition }) => Err(decode::explain(definition, object, &error.field)),
        _ => match decode::bad_base64(object, &write.kind.schema) {
            Some(at) => Err(format!("illegal base64 data at input byte {at}")),
            None => Ok(()),
        },
    }
}

/// Refuses a complete object with everything that is wrong with it; or returns warnings.
pub(crate) fn check_object(write: &Write<'_>, object: &Value, old: Option<&Value>) -> Result<Vec<String>, Status> {
    let mut errors = metadata::check(write.kind, object, old);
    if write.kind.is_custom() {
        let verdict = custom::check(write, object, old);
        errors.extend(verdict.errors);
        return if errors.is_empty() {
            let mut warnings = metadata::warnings(object, old);
            warnings.extend(verdict.warnings);
            Ok(warnings)
        } else {
            Err(write.invalid(object.name(), &errors))
        };
    }
    errors.extend(validate(object, &write.kind.schema, Mode::Generated));
    errors.extend(write.kind.rules.validate(object, old));
    // What a schema and a rule both ask for is told once, in the words of whoever asks first.
    let is_same = |one: &FieldError, other: &FieldError| {
        let asked = matches!(one.reason, FieldReason::Required | FieldReason::NotSupported);
        one.field == other.field && one.reason == other.reason && (asked || one == other)
    };
    let mut unique: Vec<FieldError> = Vec::new();
    for error in errors {
        if !unique.iter().any(|known| is_same(known, &error)) {
            unique.push(error);
        }
    }
    if unique.is_empty() {
        Ok(Vec::new())
    } else {
        Err(write.invalid(object.name(), &unique))
    }
}

/// Puts fields into the order in which the API writes them.
pub(crate) fn arrange(object: &mut Value) {
    order(object, &["kind", "apiVersion", "metadata"]);
    if let Some(metadata) = object.get_mut("metadata") {
        order(metadata, &METADATA_ORDER);
    }
}

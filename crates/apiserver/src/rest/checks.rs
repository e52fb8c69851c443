//! Checks that every written object passes, whatever its kind.

use serde_json::Value;

use super::{FieldValidation, Write, custom, decode};
use crate::{
    field::{FieldError, FieldReason},
    kinds::{Origin, names},
    object::{METADATA_ORDER, Object as _, ObjectMut as _, list_at, order, text_at},
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
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: not an \
             object",
            kind.kind
        )));
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

/// Prunes and defaults by schema and rules, and returns warnings about unknown fields.
pub(crate) fn conform(write: &Write<'_>, object: &mut Value) -> Result<Vec<String>, Status> {
    let unknown = normalise(object, &write.kind.schema);
    let described: Vec<String> = unknown.iter().map(|field| format!("unknown field {field:?}")).collect();
    if write.validation == FieldValidation::Strict && !described.is_empty() {
        return Err(Status::bad_request(format!(
            "{0} in version \"{1}\" cannot be handled as a {0}: strict decoding error: {2}",
            write.kind.kind,
            write.kind.version,
            described.join(", ")
        )));
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
        check_types(write, object)?;
    }
    write.kind.rules.default(object);
    Ok(if write.validation == FieldValidation::Ignore {
        Vec::new()
    } else {
        described
    })
}

/// A built-in object with a value of a wrong type cannot even be decoded: 400, and rules may rely on types afterwards.
fn check_types(write: &Write<'_>, object: &Value) -> Result<(), Status> {
    let kind = &write.kind.kind;
    let errors = validate(object, &write.kind.schema, Mode::Generated);
    let wrong = errors.iter().find(|error| error.reason == FieldReason::TypeInvalid);
    let why = match (wrong, &write.kind.origin) {
        (Some(error), Origin::Builtin { definition }) => decode::explain(definition, object, &error.field),
        _ => match decode::bad_base64(object, &write.kind.schema) {
            Some(at) => format!("illegal base64 data at input byte {at}"),
            None => return Ok(()),
        },
    };
    Err(Status::bad_request(format!(
        "{kind} in version \"{}\" cannot be handled as a {kind}: {why}",
        write.kind.version
    )))
}

/// Refuses a complete object with everything that is wrong with it; or returns warnings.
pub(crate) fn check_object(write: &Write<'_>, object: &Value, old: Option<&Value>) -> Result<Vec<String>, Status> {
    let mut errors = Vec::new();
    errors.extend(write.kind.rules.names().check("metadata.name", object.name()));
    errors.extend(check_metadata(object));
    if write.kind.is_custom() {
        let verdict = custom::check(write, object, old);
        errors.extend(verdict.errors);
        return if errors.is_empty() {
            Ok(verdict.warnings)
        } else {
            Err(write.invalid(object.name(), &errors))
        };
    }
    errors.extend(validate(object, &write.kind.schema, Mode::Generated));
    errors.extend(write.kind.rules.validate(object, old));
    let mut unique: Vec<FieldError> = Vec::new();
    for error in errors {
        if !unique
            .iter()
            .any(|known| known.field == error.field && known.reason == error.reason)
        {
            unique.push(error);
        }
    }
    if unique.is_empty() {
        Ok(Vec::new())
    } else {
        Err(write.invalid(object.name(), &unique))
    }
}

fn check_metadata(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = serde_json::Map::new();
    let map = |field: &str| object.meta(field).and_then(Value::as_object).unwrap_or(&empty);
    let mut key = |field: &str, name: &str, checked: &str| {
        let wrong = names::wrong_qualified(checked).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(format!("metadata.{field}"), name, why)));
    };
    map("labels").keys().for_each(|name| key("labels", name, name));
    map("annotations")
        .keys()
        .for_each(|name| key("annotations", name, &name.to_lowercase()));
    object
        .finalizers()
        .into_iter()
        .for_each(|name| key("finalizers", name, name));
    for value in map("labels").values().filter_map(Value::as_str) {
        let why = names::wrong_label_text(value);
        errors.extend(why.map(|why| FieldError::invalid("metadata.labels", value, why)));
    }
    let size: usize = map("annotations")
        .iter()
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", MAX_ANNOTATIONS as u64));
    }
    for (n, owner) in list_at(object, &["metadata", "ownerReferences"]).iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text_at(owner, &[field]).is_empty() {
                let at = format!("metadata.ownerReferences[{n}].{field}");
                errors.push(FieldError::required(at, "must not be empty"));
            }
        }
    }
    errors
}

/// Puts fields into the order in which the API writes them.
pub(crate) fn arrange(object: &mut Value) {
    order(object, &["kind", "apiVersion", "metadata"]);
    if let Some(metadata) = object.get_mut("metadata") {
        order(metadata, &METADATA_ORDER);
    }
}

/// All annotations of one object together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

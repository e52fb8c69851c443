//! ConfigMap and Secret.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::Rules;
use crate::{
    field::FieldError,
    object::{child_mut, set_default},
};

#[derive(Debug)]
pub(crate) struct ConfigMaps;

impl Rules for ConfigMaps {
    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = frozen(object, old, &["data", "binaryData"]);
        errors.extend(bad_keys(object, "data"));
        errors
    }
}

#[derive(Debug)]
pub(crate) struct Secrets;

impl Rules for Secrets {
    fn default(&self, object: &mut Value) {
        let written = object.as_object_mut().and_then(|map| map.shift_remove("stringData"));
        if let Some(Value::Object(written)) = written {
            let data = child_mut(object, "data");
            for (key, text) in written {
                data.insert(key, BASE64_STANDARD.encode(text.as_str().unwrap_or_default()).into());
            }
        }
        if let Some(map) = object.as_object_mut() {
            set_default(map, "type", "Opaque");
        }
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = frozen(object, old, &["data"]);
        errors.extend(bad_keys(object, "data"));
        if let Some(old) = old
            && old["type"] != object["type"]
        {
            errors.push(FieldError::invalid(
                "type",
                object["type"].clone(),
                "field is immutable",
            ));
        }
        errors
    }
}

fn bad_keys(object: &Value, field: &str) -> Option<FieldError> {
    let legal = |key: &str| {
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        !key.is_empty() && key.len() <= 253 && key.as_bytes().iter().all(inner)
    };
    let bad = object.get(field)?.as_object()?.keys().find(|key| !legal(key))?;
    let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                  'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    Some(FieldError::invalid(format!("{field}[{bad}]"), bad.as_str(), detail))
}

fn frozen(object: &Value, old: Option<&Value>, fields: &[&str]) -> Vec<FieldError> {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return Vec::new();
    };
    let changed = fields.iter().filter(|field| old[**field] != object[**field]);
    let mut errors: Vec<FieldError> = changed
        .map(|field| FieldError::forbidden(*field, "field is immutable when `immutable` is set"))
        .collect();
    if object["immutable"] != true {
        errors.push(FieldError::forbidden(
            "immutable",
            "field is immutable when `immutable` is set",
        ));
    }
    errors
}

//! ConfigMap and Secret.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::Rules;
use crate::{
    field::FieldError,
    object::{child_mut, set_default, text_at},
};

#[derive(Debug)]
pub(crate) struct ConfigMaps;

impl Rules for ConfigMaps {
    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = frozen(object, old, &["data", "binaryData"]);
        errors.extend(wrong_keys(object, "data"));
        errors.extend(wrong_keys(object, "binaryData"));
        let both = entries(object, "data").filter(|(key, _)| object["binaryData"].get(key).is_some());
        errors.extend(both.map(|(key, _)| {
            let why = "duplicate of key present in binaryData";
            FieldError::invalid(format!("data[{key}]"), key.as_str(), why)
        }));
        let texts = entries(object, "data").map(|(_, text)| text.len());
        let size: usize = texts
            .chain(entries(object, "binaryData").map(|(_, text)| decoded_len(text)))
            .sum();
        if size > MAX_SIZE {
            // It is about the object as a whole, whose path is written so.
            errors.push(FieldError::too_long("[]", MAX_SIZE as u64));
        }
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
        let mut errors = Vec::new();
        if let Some(old) = old
            && old["type"] != object["type"]
        {
            let given = object["type"].clone();
            errors.push(FieldError::invalid("type", given, "field is immutable"));
        }
        errors.extend(frozen(object, old, &["data"]));
        errors.extend(wrong_keys(object, "data"));
        let size: usize = entries(object, "data").map(|(_, text)| decoded_len(text)).sum();
        if size > MAX_SIZE {
            errors.push(FieldError::too_long("data", MAX_SIZE as u64));
        }
        errors.extend(wrong_for_type(object));
        errors
    }
}

/// What secrets of the types that others read must hold.
fn wrong_for_type(object: &Value) -> Vec<FieldError> {
    let bytes = |key: &str| BASE64_STANDARD.decode(text_at(object, &["data", key])).ok();
    let has = |key: &str| object["data"].get(key).is_some();
    let lacks = |key: &str| FieldError::required(format!("data[{key}]"), "");
    let document = |key: &str| {
        if !has(key) {
            return vec![lacks(key)];
        }
        let bytes = bytes(key).unwrap_or_default();
        let wrong = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes).err();
        let wrong = wrong
            .map(|error| FieldError::invalid(format!("data[{key}]"), "<secret contents redacted>", error.to_string()));
        wrong.into_iter().collect()
    };
    match text_at(object, &["type"]) {
        "kubernetes.io/service-account-token" => {
            let name = "kubernetes.io/service-account.name";
            if text_at(object, &["metadata", "annotations", name]).is_empty() {
                vec![FieldError::required(format!("metadata.annotations[{name}]"), "")]
            } else {
                Vec::new()
            }
        }
        "kubernetes.io/dockercfg" => document(".dockercfg"),
        "kubernetes.io/dockerconfigjson" => document(".dockerconfigjson"),
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            vec![lacks("username"), lacks("password")]
        }
        "kubernetes.io/ssh-auth" if bytes("ssh-privatekey").is_none_or(|key| key.is_empty()) => {
            vec![lacks("ssh-privatekey")]
        }
        "kubernetes.io/tls" => {
            let needed = ["tls.crt", "tls.key"].into_iter();
            needed.filter(|key| !has(key)).map(lacks).collect()
        }
        _ => Vec::new(),
    }
}

/// The texts of a map.
fn entries<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a str)> {
    let map = object.get(field).and_then(Value::as_object).into_iter().flatten();
    map.map(|(key, value)| (key, value.as_str().unwrap_or_default()))
}

/// How many bytes a text in base64 stands for.
fn decoded_len(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

fn wrong_keys(object: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, _) in entries(object, field) {
        let wrong = wrong_key(key).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(format!("{field}[{key}]"), key.as_str(), why)));
    }
    errors
}

/// Why a key could not be the name of a file.
fn wrong_key(key: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if key.len() > 253 {
        wrong.push("must be no more than 253 bytes".to_owned());
    }
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if key.is_empty() || !key.bytes().all(inner) {
        let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                   'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
        wrong.push(why.to_owned());
    }
    match key {
        "." | ".." => wrong.push(format!("must not be '{key}'")),
        _ if key.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// What an immutable object does not let change. It stays so, too.
fn frozen(object: &Value, old: Option<&Value>, fields: &[&str]) -> Vec<FieldError> {
    let Some(old) = old.filter(|old| old["immutable"] == true) else {
        return Vec::new();
    };
    let opened = (object["immutable"] != true).then_some("immutable");
    let changed = fields.iter().copied().filter(|field| old[*field] != object[*field]);
    let why = "field is immutable when `immutable` is set";
    opened
        .into_iter()
        .chain(changed)
        .map(|field| FieldError::forbidden(field, why))
        .collect()
}

/// All values of one object together, in bytes.
const MAX_SIZE: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_map_is_of_files_that_fit() {
        let wrong = |map: Value| texts(&ConfigMaps.validate(&map, None));
        assert!(wrong(json!({"data": {"a.b": "1"}, "binaryData": {"c": "AA=="}})).is_empty());
        assert_eq!(
            wrong(json!({"data": {"..x": "1"}})),
            ["data[..x]: Invalid value: \"..x\": must not start with '..'"]
        );
        assert_eq!(
            wrong(json!({"data": {"a": "1"}, "binaryData": {"a": "AA=="}})),
            ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData"]
        );
        assert_eq!(
            wrong(json!({"data": {"a": "x".repeat(MAX_SIZE + 1)}})),
            ["[]: Too long: may not be more than 1048576 bytes"]
        );
        assert!(wrong(json!({"data": {"a": "x".repeat(MAX_SIZE)}})).is_empty());
    }

    #[test]
    fn what_is_immutable_stays_as_it_is() {
        let (old, new) = (
            json!({"immutable": true, "data": {"a": "1"}}),
            json!({"data": {"a": "2"}}),
        );
        let fields: Vec<String> = ConfigMaps
            .validate(&new, Some(&old))
            .into_iter()
            .map(|error| error.field)
            .collect();
        assert_eq!(fields, ["immutable", "data"]);
    }

    #[test]
    fn secrets_hold_what_their_type_promises() {
        let wrong = |kind: &str, data: Value| texts(&Secrets.validate(&json!({"type": kind, "data": data}), None));
        assert_eq!(
            wrong("kubernetes.io/tls", json!({"tls.crt": ""})),
            ["data[tls.key]: Required value"]
        );
        assert_eq!(wrong("kubernetes.io/basic-auth", json!({})).len(), 2);
        assert!(wrong("kubernetes.io/basic-auth", json!({"password": ""})).is_empty());
        assert_eq!(wrong("kubernetes.io/ssh-auth", json!({"ssh-privatekey": ""})).len(), 1);
        let config = BASE64_STANDARD.encode("{\"auths\":{}}");
        assert!(wrong("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": config})).is_empty());
        let config = BASE64_STANDARD.encode("auths");
        assert_eq!(
            wrong("kubernetes.io/dockerconfigjson", json!({".dockerconfigjson": config})).len(),
            1
        );
        assert!(wrong("example.com/mine", json!({})).is_empty());
        assert_eq!(wrong("kubernetes.io/service-account-token", json!({})).len(), 1);
    }
}

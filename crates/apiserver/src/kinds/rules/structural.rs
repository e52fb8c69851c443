//! Structural schemas: what a schema must say so that objects can be pruned, defaulted and merged by it.
//!
//! Every place has one type, stated once, outside of `allOf` and its like; what Kubernetes cannot evaluate cheaply is forbidden.

use serde_json::Value;

use crate::{
    field::FieldError,
    object::{list_at, strings_at, text_at},
};

/// Where a schema stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Root,
    Field,
    Item,
}

/// Everything that keeps the schema at `path` from being structural.
pub(super) fn check(schema: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(schema, Level::Root, path, &mut errors);
    errors
}

fn walk(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    forbidden(schema, path, errors);
    if schema["type"] == "array" && !schema["items"].is_object() {
        errors.push(FieldError::required(format!("{path}.items"), "must be specified"));
    }
    if schema["items"].is_object() {
        walk(&schema["items"], Level::Item, &format!("{path}.items"), errors);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(field, Level::Field, &format!("{path}.properties[{name}]"), errors);
    }
    if schema["additionalProperties"].is_object() {
        let at = format!("{path}.additionalProperties");
        walk(&schema["additionalProperties"], Level::Field, &at, errors);
    }
    lists(schema, path, errors);
    typed(schema, level, path, errors);
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (n, part) in list_at(schema, &[junctor]).iter().enumerate() {
            if !is_int_or_string(schema) {
                values_only(part, &format!("{path}.{junctor}[{n}]"), errors);
            }
        }
    }
    if schema["not"].is_object() {
        values_only(&schema["not"], &format!("{path}.not"), errors);
    }
}

fn typed(schema: &Value, level: Level, path: &str, errors: &mut Vec<FieldError>) {
    let at = format!("{path}.type");
    match (text_at(schema, &["type"]), level) {
        ("object", _) => {}
        (other, _) if schema["x-kubernetes-embedded-resource"] == true => {
            let why = "must be object if x-kubernetes-embedded-resource is true";
            errors.push(match other {
                "" => FieldError::required(at, why),
                other => FieldError::invalid(at, other, why),
            });
        }
        ("", _) if is_int_or_string(schema) || schema["x-kubernetes-preserve-unknown-fields"] == true => {}
        ("", level) => {
            let why = match level {
                Level::Root => "must not be empty at the root",
                Level::Field => "must not be empty for specified object fields",
                Level::Item => "must not be empty for specified array items",
            };
            errors.push(FieldError::required(at, why));
        }
        (other, Level::Root) => errors.push(FieldError::invalid(at, other, "must be object at the root")),
        (other, _) if !TYPES.contains(&other) => errors.push(FieldError::not_supported(at, other, TYPES)),
        _ => {}
    }
}

/// Words of JSON Schema that have no place here.
fn forbidden(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let mut forbid = |field: &str, why: &str| errors.push(FieldError::forbidden(format!("{path}.{field}"), why));
    for field in ["definitions", "dependencies"] {
        if schema.get(field).is_some() {
            forbid(field, &format!("{field} is not supported"));
        }
    }
    if schema.get("$ref").is_some() {
        forbid("$ref", "$ref is not supported");
    }
    if schema["uniqueItems"] == true {
        let why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        forbid("uniqueItems", why);
    }
    if schema["additionalProperties"] == false {
        forbid("additionalProperties", "additionalProperties cannot be set to false");
    } else if !schema["additionalProperties"].is_null() && !schema["properties"].is_null() {
        forbid(
            "additionalProperties",
            "additionalProperties and properties are mutual exclusive",
        );
    }
}

/// Lists whose elements are told apart by something that all of them have.
fn lists(schema: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let list = text_at(schema, &["x-kubernetes-list-type"]);
    let keys = strings_at(schema, &["x-kubernetes-list-map-keys"]);
    let at = |field: &str| format!("{path}.x-kubernetes-{field}");
    let known = ["atomic", "map", "set"];
    if !list.is_empty() && !known.contains(&list) {
        errors.push(FieldError::not_supported(at("list-type"), list, known));
    }
    if !list.is_empty() && schema["type"] != "array" {
        let why = "must be array if x-kubernetes-list-type is specified";
        errors.push(match text_at(schema, &["type"]) {
            "" => FieldError::required(format!("{path}.type"), why),
            other => FieldError::invalid(format!("{path}.type"), other, why),
        });
    }
    if list != "map" && !keys.is_empty() {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list {
            "" => FieldError::required(at("list-type"), why),
            other => FieldError::invalid(at("list-type"), other, why),
        });
    }
    if list != "map" {
        return;
    }
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(at("list-map-keys"), why));
    }
    let (items, required) = (&schema["items"], strings_at(schema, &["items", "required"]));
    for (n, key) in keys.iter().enumerate() {
        let property = &items["properties"][key];
        if keys[..n].contains(key) {
            errors.push(FieldError::duplicate(format!("{}[{n}]", at("list-map-keys")), *key));
        }
        if property.is_null() {
            let why = "entries must all be names of item properties";
            errors.push(FieldError::invalid(format!("{}[{n}]", at("list-map-keys")), *key, why));
        } else if property["default"].is_null() && !required.contains(key) {
            let why =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(
                format!("{path}.items.properties[{key}].default"),
                why,
            ));
        }
    }
}

/// The parts of `allOf` and its like may narrow values, but not say anything else about them.
fn values_only(part: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let why = "must be empty to be structural";
    for field in ["type", "default", "nullable", "title", "description"] {
        if part.get(field).is_some_and(|value| !value.is_null() && *value != false) {
            errors.push(FieldError::forbidden(format!("{path}.{field}"), why));
        }
    }
    let below = part["properties"].as_object().into_iter().flatten();
    for (name, field) in below {
        values_only(field, &format!("{path}.properties[{name}]"), errors);
    }
    if part["items"].is_object() {
        values_only(&part["items"], &format!("{path}.items"), errors);
    }
}

fn is_int_or_string(schema: &Value) -> bool {
    schema["x-kubernetes-int-or-string"] == true
}

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(schema: &Value) -> Vec<String> {
        check(schema, "s").iter().map(ToString::to_string).collect()
    }

    fn with(field: &Value) -> Value {
        json!({"type": "object", "properties": {"f": field}})
    }

    #[test]
    fn every_place_has_one_type() {
        for good in [
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
            with(&json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]})),
            with(&json!({"type": "object", "additionalProperties": {"type": "string"}})),
            with(&json!({"type": "string", "oneOf": [{"pattern": "a"}, {"maxLength": 0}]})),
        ] {
            assert_eq!(wrong(&good), [""; 0], "{good}");
        }
        for (schema, expected) in [
            (json!({}), "s.type: Required value: must not be empty at the root"),
            (
                json!({"type": "string"}),
                "s.type: Invalid value: \"string\": must be object at the root",
            ),
            (
                with(&json!({})),
                "s.properties[f].type: Required value: must not be empty for specified object fields",
            ),
            (
                with(&json!({"type": "array", "items": {}})),
                "s.properties[f].items.type: Required value: must not be empty for specified array items",
            ),
            (
                with(&json!({"type": "array"})),
                "s.properties[f].items: Required value: must be specified",
            ),
            (
                with(&json!({"type": "string", "anyOf": [{"type": "string"}]})),
                "s.properties[f].anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                with(&json!({"type": "text"})),
                "s.properties[f].type: Unsupported value: \"text\": supported values: \"array\", \"boolean\", \"integer\", \
                 \"number\", \"object\", \"string\"",
            ),
        ] {
            assert_eq!(wrong(&schema), [expected], "{schema}");
        }
    }

    #[test]
    fn elements_of_maps_have_keys() {
        let list = |keys: Value, required: Value| {
            with(
                &json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": keys,
                "items": {"type": "object", "required": required, "properties": {"name": {"type": "string"}}}}),
            )
        };
        assert!(wrong(&list(json!(["name"]), json!(["name"]))).is_empty());
        assert_eq!(wrong(&list(json!(["name"]), json!([]))).len(), 1);
        assert_eq!(wrong(&list(json!(["other"]), json!([]))).len(), 1);
        assert_eq!(
            wrong(&list(json!([]), json!([]))),
            [
                "s.properties[f].x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"
            ]
        );
    }

    #[test]
    fn what_cannot_be_evaluated_is_forbidden() {
        let bad = with(
            &json!({"type": "object", "$ref": "#/x", "properties": {"a": {"type": "string"}},
            "additionalProperties": {"type": "string"}}),
        );
        assert_eq!(
            wrong(&bad),
            [
                "s.properties[f].$ref: Forbidden: $ref is not supported",
                "s.properties[f].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
            ]
        );
    }
}

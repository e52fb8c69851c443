//! Why an object of a built-in kind cannot be decoded: values of a wrong type, and bytes that are not base64.
//!
//! The real server decodes into Go structs, and its messages name Go types. Which those would be is read off the OpenAPI definitions.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::{
    gotext, quantity,
    schema::{ListType, Schema, Type, builtin, compile::QUANTITY},
};

/// `json: cannot unmarshal number into Go struct field ConfigMap.data of type string`, of a value at `path` (`data.a`).
pub(crate) fn explain(definition: &str, object: &Value, path: &str) -> String {
    let definitions = builtin::definitions();
    let short = |definition: &str| definition.rsplit('.').next().unwrap_or_default().to_owned();
    let (mut holder, mut fields) = (short(definition), Vec::new());
    let (mut schema, mut value) = (&definitions[definition], object);
    for step in steps(path) {
        schema = resolved(schema, &definitions, &mut holder, short);
        if let Ok(index) = step.parse::<usize>()
            && value.is_array()
        {
            (schema, value) = (&schema["items"], &value[index]);
            continue;
        }
        value = &value[&step];
        if schema["properties"].get(&step).is_some() {
            schema = &schema["properties"][&step];
            fields.push(step);
        } else {
            schema = &schema["additionalProperties"];
        }
    }
    let given = gotext::json_kind(value);
    let place = if fields.is_empty() {
        "value".to_owned()
    } else {
        format!("struct field {holder}.{}", fields.join("."))
    };
    format!(
        "json: cannot unmarshal {given} into Go {place} of type {}",
        go_type(schema, definition)
    )
}

/// Values of a wrong type in an applied configuration, as structured-merge-diff tells them. They are not decoded there, so any type
/// that can stand in their place will do: a number is a number.
pub(crate) fn mistyped(value: &Value, schema: &Schema) -> Vec<String> {
    let mut wrong = Vec::new();
    walk(value, schema, "", &mut wrong);
    wrong
}

fn walk(value: &Value, schema: &Schema, path: &str, wrong: &mut Vec<String>) {
    let why = match (schema.kind, value) {
        (_, Value::Null) | (Type::Any | Type::IntOrString, _) => None,
        (Type::String, Value::String(_))
        | (Type::Integer | Type::Number, Value::Number(_))
        | (Type::Boolean, Value::Bool(_)) => None,
        (Type::Object, Value::Object(map)) => {
            for (name, below) in map {
                walk(below, schema.field_or_any(name), &format!("{path}.{name}"), wrong);
            }
            None
        }
        (Type::Array, Value::Array(items)) => {
            for (n, item) in items.iter().enumerate() {
                walk(
                    item,
                    schema.element(),
                    &format!("{path}{}", element(item, n, &schema.list)),
                    wrong,
                );
            }
            None
        }
        (Type::String, other) => Some(format!(
            "expected string, got &value.valueUnstructured{{Value:{}}}",
            gotext::syntax(other)
        )),
        (Type::Boolean, other) => Some(format!(
            "expected boolean, got &value.valueUnstructured{{Value:{}}}",
            gotext::syntax(other)
        )),
        (Type::Integer | Type::Number, other) => Some(format!(
            "expected numeric (int or float), got {}",
            gotext::type_of(other)
        )),
        (Type::Object, other) => Some(format!("expected map, got &{{{}}}", gotext::plain(other))),
        (Type::Array, other) => Some(format!("expected list, got &{{{}}}", gotext::plain(other))),
    };
    wrong.extend(why.map(|why| format!("{path}: {why}")));
}

/// How a message names an element of a list: by its keys if it has some, else by its place.
fn element(item: &Value, n: usize, list: &ListType) -> String {
    match list {
        ListType::Atomic => format!("[{n}]"),
        ListType::Set => format!("[={item}]"),
        ListType::Map(keys) => {
            let keys = keys.iter().filter_map(|key| Some(format!("{key}={}", item.get(key)?)));
            format!("[{}]", keys.collect::<Vec<_>>().join(","))
        }
    }
}

/// Writes amounts as the API does, whose values come as texts or as numbers; or tells that one of them is none.
pub(crate) fn quantities(value: &mut Value, schema: &Schema) -> Result<(), String> {
    let format = schema.checks.as_ref().and_then(|checks| checks.format.as_deref());
    match value {
        Value::Object(map) => {
            for (name, below) in map {
                quantities(below, schema.field_or_any(name))?;
            }
        }
        Value::Array(items) => {
            for item in items {
                quantities(item, schema.element())?;
            }
        }
        Value::String(text) if format == Some(QUANTITY) => *text = quantity::canonical(text).ok_or(quantity::RULE)?,
        Value::Number(number) if format == Some(QUANTITY) => {
            *value = quantity::canonical(&number.to_string()).ok_or(quantity::RULE)?.into();
        }
        _ => {}
    }
    Ok(())
}

/// Where the first value that should be base64 stops being it.
pub(crate) fn bad_base64(value: &Value, schema: &Schema) -> Option<usize> {
    match value {
        Value::String(text)
            if schema
                .checks
                .as_ref()
                .is_some_and(|checks| checks.format.as_deref() == Some("byte")) =>
        {
            let error = BASE64_STANDARD.decode(text).err()?;
            Some(match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                _ => text.len() / 4 * 4,
            })
        }
        Value::Object(map) => map
            .iter()
            .find_map(|(name, value)| bad_base64(value, schema.field_or_any(name))),
        Value::Array(items) => items.iter().find_map(|item| bad_base64(item, schema.element())),
        _ => None,
    }
}

/// `spec.ports[0].name` as `spec`, `ports`, `0`, `name`. A key with a dot in it is taken apart, which only shortens the message.
fn steps(path: &str) -> Vec<String> {
    let split = path.split(['.', '[', ']']).filter(|step| !step.is_empty());
    split.map(str::to_owned).collect()
}

/// Follows a reference, and notes whose fields come next.
fn resolved<'a>(
    schema: &'a Value,
    definitions: &'a Map<String, Value>,
    holder: &mut String,
    short: impl Fn(&str) -> String,
) -> &'a Value {
    let reference = schema.get("$ref").or_else(|| schema["allOf"][0].get("$ref"));
    let Some(name) = reference
        .and_then(Value::as_str)
        .and_then(|text| text.rsplit('/').next())
    else {
        return schema;
    };
    *holder = short(name);
    definitions.get(name).unwrap_or(schema)
}

/// The Go type of a field, as a message names it: `string`, `int32`, `[]v1.Container`.
fn go_type(schema: &Value, definition: &str) -> String {
    let reference = schema.get("$ref").or_else(|| schema["allOf"][0].get("$ref"));
    if let Some(name) = reference
        .and_then(Value::as_str)
        .and_then(|text| text.rsplit('/').next())
    {
        let mut parts = name.rsplit('.');
        let (kind, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return format!("{version}.{kind}");
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").unwrap_or(&Value::Null),
        one => one,
    };
    match (kind.as_str(), schema["format"].as_str()) {
        (Some("integer"), Some(format)) => format.to_owned(),
        (Some("integer"), None) => "int".to_owned(),
        (Some("number"), _) => "float64".to_owned(),
        (Some("boolean"), _) => "bool".to_owned(),
        (Some("string"), Some("byte")) => "[]uint8".to_owned(),
        (Some("array"), _) => format!("[]{}", go_type(&schema["items"], definition)),
        (Some("object"), _) if schema["additionalProperties"].is_object() => {
            format!("map[string]{}", go_type(&schema["additionalProperties"], definition))
        }
        (Some(kind), _) => kind.to_owned(),
        (None, _) => definition.rsplit('.').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_types_are_named_as_go_names_them() {
        let map = json!({"data": {"a": 1}});
        assert_eq!(
            explain("io.k8s.api.core.v1.ConfigMap", &map, "data.a"),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        let deployment = json!({"spec": {"replicas": "3"}});
        assert_eq!(
            explain("io.k8s.api.apps.v1.Deployment", &deployment, "spec.replicas"),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        let pod = json!({"spec": {"containers": {}}});
        assert_eq!(
            explain("io.k8s.api.core.v1.Pod", &pod, "spec.containers"),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"
        );
        let pod = json!({"spec": {"containers": [{"env": [{"name": true}]}]}});
        assert_eq!(
            explain("io.k8s.api.core.v1.Pod", &pod, "spec.containers[0].env[0].name"),
            "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.name of type string"
        );
    }

    #[test]
    fn an_applied_value_of_a_wrong_type_is_shown() {
        let (_, builtin) = crate::kinds::builtin::registry();
        let schema = builtin.schema("io.k8s.api.core.v1.Pod");
        let wrong = |spec: Value| mistyped(&json!({"spec": spec}), &schema);
        assert!(wrong(json!({"hostNetwork": true, "containers": [{"name": "a"}]})).is_empty());
        for (spec, expected) in [
            (
                json!({"nodeName": 1}),
                ".spec.nodeName: expected string, got &value.valueUnstructured{Value:1}",
            ),
            (
                json!({"containers": {"a": "b"}}),
                ".spec.containers: expected list, got &{map[a:b]}",
            ),
            (
                json!({"containers": [{"name": "a", "stdin": "yes"}]}),
                ".spec.containers[name=\"a\"].stdin: expected boolean, got &value.valueUnstructured{Value:\"yes\"}",
            ),
            (
                json!({"priority": "1"}),
                ".spec.priority: expected numeric (int or float), got string",
            ),
        ] {
            assert_eq!(wrong(spec), [expected]);
        }
    }

    #[test]
    fn amounts_are_written_in_one_way() {
        let (_, builtin) = crate::kinds::builtin::registry();
        let schema = builtin.schema("io.k8s.api.core.v1.Pod");
        let of = |requests: Value| json!({"spec": {"containers": [{"resources": {"requests": requests}}]}});
        let mut pod = of(json!({"cpu": 1, "memory": "1024Mi"}));
        quantities(&mut pod, &schema).unwrap();
        assert_eq!(pod, of(json!({"cpu": "1", "memory": "1Gi"})));
        let wrong = quantities(&mut of(json!({"cpu": "much"})), &schema).unwrap_err();
        assert!(wrong.starts_with("quantities must match"), "{wrong}");
    }

    #[test]
    fn bytes_must_be_base64() {
        let (_, builtin) = crate::kinds::builtin::registry();
        let schema = builtin.schema("io.k8s.api.core.v1.Secret");
        assert_eq!(
            bad_base64(&json!({"data": {"a": "aGk=", "b": "***"}}), &schema),
            Some(0)
        );
        assert_eq!(
            bad_base64(&json!({"data": {"a": "aGk="}, "stringData": {"b": "***"}}), &schema),
            None
        );
    }
}

//! One walk over an incoming object: nulls and unknown fields go, defaults come.

use serde_json::{Map, Value};

use super::{Schema, Type, join};

/// Normalises in place and returns the paths of the unknown fields that were dropped, in document order.
pub(crate) fn normalise(value: &mut Value, schema: &Schema) -> Vec<String> {
    let mut unknown = Vec::new();
    walk(value, schema, "", &mut unknown);
    unknown
}

fn walk(value: &mut Value, schema: &Schema, path: &str, unknown: &mut Vec<String>) {
    match value {
        Value::Object(map) => walk_map(map, schema, path, unknown),
        Value::Array(items) => {
            for (n, item) in items.iter_mut().enumerate() {
                walk(item, schema.element(), &format!("{path}[{n}]"), unknown);
            }
        }
        _ => {}
    }
}

fn walk_map(map: &mut Map<String, Value>, schema: &Schema, path: &str, unknown: &mut Vec<String>) {
    if !matches!(schema.kind, Type::Object | Type::Any) {
        return;
    }
    let keeps = schema.keeps_unknown();
    map.retain(|name, value| match schema.field(name) {
        Some(field) => !value.is_null() || field.nullable || field.kind == Type::Any,
        None if keeps => true,
        None => {
            unknown.push(join(path, name));
            false
        }
    });
    for (name, field) in &schema.properties {
        if let Some(default) = &field.default
            && !map.contains_key(name)
        {
            map.insert(name.clone(), default.clone());
        }
    }
    for (name, value) in map.iter_mut() {
        walk(value, schema.field_or_any(name), &join(path, name), unknown);
    }
}

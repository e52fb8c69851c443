//! Everything that is wrong with an object, in the API's words.

use std::collections::HashSet;

use serde_json::Value;

use super::{Checks, ListType, Schema, Type, format, join};
use crate::field::FieldError;

/// How strictly generated schemas are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A schema that somebody wrote: all of it counts.
    Written,
    /// A schema generated from Go types. It calls fields required that the real server fills with zero values, above all
    /// under `status`; those are let pass.
    Generated,
}

/// All violations, in document order.
pub(crate) fn validate(value: &Value, schema: &Schema, mode: Mode) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, schema, "", mode, &mut errors);
    errors
}

fn walk(value: &Value, schema: &Schema, path: &str, mode: Mode, errors: &mut Vec<FieldError>) {
    // Go decodes null into anything, and writes a few zero values as null.
    if value.is_null() && (schema.nullable || schema.kind == Type::Any || mode == Mode::Generated) {
        return;
    }
    if !fits(value, schema.kind) {
        errors.push(FieldError::of_type(
            path,
            type_name(value),
            format!(
                "{path} in body must be of type {}: {:?}",
                wanted(schema.kind),
                type_name(value)
            ),
        ));
        return;
    }
    if let Some(checks) = &schema.checks {
        check(value, schema, checks, path, mode, errors);
    }
    match value {
        Value::Object(map) => {
            for (name, field) in map {
                let at = if schema.properties.contains_key(name) || path.is_empty() {
                    join(path, name)
                } else {
                    format!("{path}.{name}")
                };
                walk(field, schema.field_or_any(name), &at, mode, errors);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                walk(item, schema.element(), &format!("{path}[{n}]"), mode, errors);
            }
            duplicates(items, &schema.list, path, errors);
        }
        _ => {}
    }
}

fn check(value: &Value, schema: &Schema, checks: &Checks, path: &str, mode: Mode, errors: &mut Vec<FieldError>) {
    if let Value::Object(map) = value
        && !(mode == Mode::Generated && is_lenient(path))
    {
        for name in checks.required.iter().filter(|name| !map.contains_key(*name)) {
            errors.push(FieldError::required(join(path, name), ""));
        }
    }
    if !checks.values.is_empty() && !checks.values.contains(value) {
        let allowed: Vec<String> = checks.values.iter().map(text_of).collect();
        errors.push(FieldError::not_supported(
            path,
            value.clone(),
            allowed.iter().map(String::as_str),
        ));
    }
    let mut wrong = |what: String| {
        errors.push(FieldError::invalid(
            path,
            value.clone(),
            format!("{path} in body {what}"),
        ));
    };
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or_default();
            match checks.minimum {
                Some((bound, true)) if number <= bound => wrong(format!("should be greater than {bound}")),
                Some((bound, false)) if number < bound => wrong(format!("should be greater than or equal to {bound}")),
                _ => {}
            }
            match checks.maximum {
                Some((bound, true)) if number >= bound => wrong(format!("should be less than {bound}")),
                Some((bound, false)) if number > bound => wrong(format!("should be less than or equal to {bound}")),
                _ => {}
            }
            if let Some(step) = checks.multiple_of
                && (number / step).fract() != 0.0
            {
                wrong(format!("should be a multiple of {step}"));
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if let Some(bound) = checks.min_length.filter(|bound| length < *bound) {
                wrong(format!("should be at least {bound} chars long"));
            }
            if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
                wrong(format!("should match '{pattern}'"));
            }
            if let Some(bound) = checks.max_length.filter(|bound| length > *bound) {
                errors.push(FieldError::too_long(path, bound));
            }
        }
        Value::Array(items) => {
            let length = items.len() as u64;
            if let Some(bound) = checks.min_items.filter(|bound| length < *bound) {
                wrong(format!("should have at least {bound} items"));
            }
            if let Some(bound) = checks.max_items.filter(|bound| length > *bound) {
                errors.push(FieldError::too_many(path, items.len(), bound));
            }
            if checks.unique_items {
                duplicates(items, &ListType::Set, path, errors);
            }
        }
        Value::Object(map) => {
            let length = map.len() as u64;
            if let Some(bound) = checks.min_properties.filter(|bound| length < *bound) {
                wrong(format!("should have at least {bound} properties"));
            }
            if let Some(bound) = checks.max_properties.filter(|bound| length > *bound) {
                errors.push(FieldError::too_many(path, map.len(), bound));
            }
        }
        _ => {}
    }
    if let Some(name) = &checks.format
        && !(mode == Mode::Generated && name != "date-time")
        && !format::matches(name, value)
    {
        let detail = format!("{path} in body must be of type {name}: {value}");
        errors.push(FieldError::of_type(path, value.clone(), detail));
    }
    combined(value, schema, checks, path, mode, errors);
}

fn combined(value: &Value, _schema: &Schema, checks: &Checks, path: &str, mode: Mode, errors: &mut Vec<FieldError>) {
    let fits = |schema: &Schema| {
        let mut inner = Vec::new();
        walk(value, schema, path, mode, &mut inner);
        inner.is_empty()
    };
    let must = |what: &str| FieldError::invalid(path, "", format!("{path:?} must validate {what}"));
    for schema in &checks.all_of {
        walk(value, schema, path, mode, errors);
    }
    if !checks.any_of.is_empty() && !checks.any_of.iter().any(fits) {
        errors.push(must("at least one schema (anyOf)"));
    }
    if !checks.one_of.is_empty() && checks.one_of.iter().filter(|schema| fits(schema)).count() != 1 {
        errors.push(must("one and only one schema (oneOf)"));
    }
    if checks.not.as_ref().is_some_and(|schema| fits(schema)) {
        errors.push(FieldError::invalid(
            path,
            "",
            format!("{path:?} must not validate the schema (not)"),
        ));
    }
}

fn duplicates(items: &[Value], list: &ListType, path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = HashSet::new();
    for (n, item) in items.iter().enumerate() {
        let identity = match list {
            ListType::Atomic => return,
            ListType::Set => item.clone(),
            ListType::Map(keys) => keys
                .iter()
                .filter_map(|key| Some((key.clone(), item.get(key)?.clone())))
                .collect(),
        };
        if !seen.insert(identity.to_string()) {
            errors.push(FieldError::duplicate(format!("{path}[{n}]"), identity));
        }
    }
}

fn fits(value: &Value, kind: Type) -> bool {
    match kind {
        Type::Any => true,
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Integer => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0),
        Type::Number => value.is_number(),
        Type::Boolean => value.is_boolean(),
        Type::IntOrString => value.is_number() || value.is_string(),
    }
}

/// Where generated schemas demand more than the real server does.
fn is_lenient(path: &str) -> bool {
    path.starts_with("status") || path.starts_with("metadata") || path.is_empty()
}

fn wanted(kind: Type) -> &'static str {
    match kind {
        Type::Any => "any",
        Type::Object => "object",
        Type::Array => "array",
        Type::String => "string",
        Type::Integer => "integer",
        Type::Number => "number",
        Type::Boolean => "boolean",
        Type::IntOrString => "integer,string",
    }
}

/// The JSON type of a value, as the API names it.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

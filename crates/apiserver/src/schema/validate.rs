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

/// All violations, in document order, and then the elements that stand twice in lists of distinct ones.
pub(crate) fn validate(value: &Value, schema: &Schema, mode: Mode) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, None, schema, "", mode, &mut errors);
    // Built-in kinds have rules of their own about what may not stand somewhere twice.
    if mode == Mode::Written {
        repeated(value, schema, "", &mut errors);
    }
    errors
}

/// The violations of an update. What was wrong before, in the same place, may stay; the schema may have become stricter.
pub(crate) fn validate_update(value: &Value, old: &Value, schema: &Schema) -> Vec<FieldError> {
    let mut errors = Vec::new();
    walk(value, Some(old), schema, "", Mode::Written, &mut errors);
    let mut before = Vec::new();
    repeated(old, schema, "", &mut before);
    if before.is_empty() {
        repeated(value, schema, "", &mut errors);
    }
    errors
}

fn walk(value: &Value, old: Option<&Value>, schema: &Schema, path: &str, mode: Mode, errors: &mut Vec<FieldError>) {
    // Go decodes null into anything, and writes a few zero values as null.
    let is_absent = value.is_null() && (schema.nullable || schema.kind == Type::Any || mode == Mode::Generated);
    if old == Some(value) || is_absent {
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
    }
    if let Some(checks) = &schema.checks {
        let needs = |name: &str| mode == Mode::Written || !is_zero_when_absent(schema.field_or_any(name).kind);
        check(value, old, checks, path, mode, &needs, errors);
    }
    match value {
        Value::Object(map) => {
            for (name, field) in map {
                let old = old.and_then(|old| old.get(name));
                walk(field, old, schema.field_or_any(name), &join(path, name), mode, errors);
            }
        }
        Value::Array(items) => {
            let before = old.and_then(Value::as_array);
            for (n, item) in items.iter().enumerate() {
                let old = before.and_then(|before| schema.list.counterpart(item, before));
                walk(item, old, schema.element(), &format!("{path}[{n}]"), mode, errors);
            }
        }
        _ => {}
    }
}

/// Elements of sets and keyed lists that stand there twice.
fn repeated(value: &Value, schema: &Schema, path: &str, errors: &mut Vec<FieldError>) {
    match value {
        Value::Object(map) => {
            for (name, field) in map {
                repeated(field, schema.field_or_any(name), &join(path, name), errors);
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                repeated(item, schema.element(), &format!("{path}[{n}]"), errors);
            }
            duplicates(items, &schema.list, path, errors);
        }
        _ => {}
    }
}

fn check(
    value: &Value,
    old: Option<&Value>,
    checks: &Checks,
    path: &str,
    mode: Mode,
    needs: &dyn Fn(&str) -> bool,
    errors: &mut Vec<FieldError>,
) {
    if let Value::Object(map) = value
        && !(mode == Mode::Generated && is_lenient(path))
    {
        let missing = checks.required.iter().filter(|name| !map.contains_key(*name));
        for name in missing.filter(|name| needs(name)) {
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
    check_size(value, checks, path, errors);
    if let Some(name) = &checks.format
        && !(mode == Mode::Generated && name != "date-time")
        && !format::matches(name, value)
    {
        let detail = format!("{path} in body must be of type {name}: {}", quoted(value));
        errors.push(FieldError::of_type(path, value.clone(), detail));
    }
    combined(value, old, checks, path, mode, errors);
}

/// Bounds of numbers, and of the lengths of everything else.
fn check_size(value: &Value, checks: &Checks, path: &str, errors: &mut Vec<FieldError>) {
    let mut wrong = |shown: Value, what: String| {
        errors.push(FieldError::invalid(path, shown, format!("{path} in body {what}")));
    };
    match value {
        Value::Number(written) => {
            let number = written.as_f64().unwrap_or_default();
            let is_whole = !written.is_f64();
            let mut wrong = |what: &str, bound: f64| {
                wrong(
                    value.clone(),
                    format!("should be {what} {}", bound_text(bound, is_whole)),
                );
            };
            match checks.minimum {
                Some((bound, true)) if number <= bound => wrong("greater than", bound),
                Some((bound, false)) if number < bound => wrong("greater than or equal to", bound),
                _ => {}
            }
            match checks.maximum {
                Some((bound, true)) if number >= bound => wrong("less than", bound),
                Some((bound, false)) if number > bound => wrong("less than or equal to", bound),
                _ => {}
            }
            if let Some(step) = checks.multiple_of
                && (number / step).fract() != 0.0
            {
                wrong("a multiple of", step);
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if let Some(bound) = checks.min_length.filter(|bound| length < *bound) {
                wrong(value.clone(), format!("should be at least {bound} chars long"));
            }
            if let Some(pattern) = checks.pattern.as_ref().filter(|pattern| !pattern.is_match(text)) {
                wrong(value.clone(), format!("should match '{pattern}'"));
            }
            if let Some(bound) = checks.max_length.filter(|bound| length > *bound) {
                errors.push(FieldError::too_long(path, bound));
            }
        }
        Value::Array(items) => {
            let length = items.len() as u64;
            if let Some(bound) = checks.min_items.filter(|bound| length < *bound) {
                wrong(length.into(), format!("should have at least {bound} items"));
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
                wrong(length.into(), format!("should have at least {bound} properties"));
            }
            if let Some(bound) = checks.max_properties.filter(|bound| length > *bound) {
                errors.push(FieldError::too_many(path, map.len(), bound));
            }
        }
        _ => {}
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not`. These errors name the value in their text and no field; the nearest miss is told too.
fn combined(value: &Value, old: Option<&Value>, checks: &Checks, path: &str, mode: Mode, errors: &mut Vec<FieldError>) {
    let violations = |schema: &Schema| {
        let mut inner = Vec::new();
        walk(value, old, schema, path, mode, &mut inner);
        inner
    };
    let must = |what: String| FieldError::invalid(NO_FIELD, "", format!("{path:?} must {what}"));
    let all: Vec<Vec<FieldError>> = checks.all_of.iter().map(violations).collect();
    let failed = all.iter().filter(|errors| !errors.is_empty()).count();
    if failed > 0 {
        let none = if failed == all.len() { ". None validated" } else { "" };
        errors.push(must(format!("validate all the schemas (allOf){none}")));
        errors.extend(all.into_iter().flatten());
    }
    let any: Vec<Vec<FieldError>> = checks.any_of.iter().map(violations).collect();
    if !any.is_empty() && any.iter().all(|errors| !errors.is_empty()) {
        errors.push(must("validate at least one schema (anyOf)".into()));
        errors.extend(nearest(any));
    }
    let one: Vec<Vec<FieldError>> = checks.one_of.iter().map(violations).collect();
    match one.iter().filter(|errors| errors.is_empty()).count() {
        0 if !one.is_empty() => {
            errors.push(must(
                "validate one and only one schema (oneOf). Found none valid".into(),
            ));
            errors.extend(nearest(one));
        }
        0 | 1 => {}
        many => {
            let found = format!("Found {many} valid alternatives");
            errors.push(must(format!("validate one and only one schema (oneOf). {found}")));
        }
    }
    if checks.not.as_ref().is_some_and(|schema| violations(schema).is_empty()) {
        errors.push(must("not validate the schema (not)".into()));
    }
}

/// The violations of the alternative that has the fewest.
fn nearest(alternatives: Vec<Vec<FieldError>>) -> Vec<FieldError> {
    alternatives.into_iter().min_by_key(Vec::len).unwrap_or_default()
}

/// A bound as the API prints it: whole for whole numbers, and with an exponent from a million on otherwise.
fn bound_text(bound: f64, is_whole: bool) -> String {
    if is_whole && bound.fract() == 0.0 {
        return format!("{bound:.0}");
    }
    let exponent = if bound == 0.0 { 0.0 } else { bound.abs().log10().floor() };
    if (-4.0..6.0).contains(&exponent) {
        return bound.to_string();
    }
    let text = format!("{bound:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

fn quoted(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), |text| format!("{text:?}"))
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

/// Numbers and truth values that nobody states are zero in Go, where no schema asks for them; rules may not like the zero.
fn is_zero_when_absent(kind: Type) -> bool {
    matches!(kind, Type::Integer | Type::Number | Type::Boolean)
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

/// How the API names the field of an error that has none.
pub(crate) const NO_FIELD: &str = "<nil>";

//! JSON to CEL values.
//!
//! The schema decides what a value is: a whole number is a double where the schema says `number`, text of format `byte` is bytes.
//! Where the schema knows nothing (built-in objects in admission policies), JSON's own types decide.

use std::collections::HashMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use cel::common::{
    types::{CelBool, CelBytes, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelOptional, CelString},
    value::Val,
};
use serde_json::Value;

use super::{Object, library::time};
use crate::schema::{Schema, Type};

/// A value as its schema types it.
pub(crate) fn typed(value: &Value, schema: &Schema) -> Object {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(truth) => Box::new(CelBool::from(*truth)),
        Value::Number(number) => match number.as_i64() {
            Some(whole) if schema.kind != Type::Number => Box::new(CelInt::from(whole)),
            _ => {
                let number = number.as_f64().unwrap_or_default();
                if schema.kind == Type::Integer {
                    #[expect(
                        clippy::cast_possible_truncation,
                        reason = "validated to be whole; saturates beyond 64 bits"
                    )]
                    let whole = number as i64;
                    Box::new(CelInt::from(whole))
                } else {
                    Box::new(CelDouble::from(number))
                }
            }
        },
        Value::String(text) => formatted(text, schema),
        Value::Array(items) => list(items.iter().map(|item| typed(item, schema.element())).collect()),
        Value::Object(map) => {
            let is_map = schema.additional.is_some() || schema.properties.is_empty();
            let fields = map.iter().map(|(name, field)| {
                let value = typed(field, schema.field_or_any(name));
                let name = if is_map { name.clone() } else { escape(name) };
                (CelMapKey::from(name), value)
            });
            Box::new(CelMap::from(fields.collect::<HashMap<_, _>>()))
        }
    }
}

/// A value without a schema.
pub(crate) fn untyped(value: &Value) -> Object {
    typed(value, &crate::schema::ANY)
}

pub(crate) fn text(text: impl Into<String>) -> Object {
    Box::new(CelString::from(text.into()))
}

pub(crate) fn list(items: Vec<Object>) -> Object {
    Box::new(CelList::from(items))
}

pub(crate) fn map(entries: impl IntoIterator<Item = (String, Object)>) -> Object {
    let entries = entries.into_iter().map(|(key, value)| (CelMapKey::from(key), value));
    Box::new(CelMap::from(entries.collect::<HashMap<_, _>>()))
}

/// A value that may be absent.
pub(crate) fn optional(value: Option<Object>) -> Object {
    Box::new(value.map_or_else(CelOptional::none, CelOptional::of))
}

pub(crate) fn null() -> Object {
    Box::new(CelNull)
}

fn formatted(text: &str, schema: &Schema) -> Object {
    let format = schema.checks.as_ref().and_then(|checks| checks.format.as_deref());
    let parsed: Option<Box<dyn Val>> = match format.filter(|_| schema.kind == Type::String) {
        Some("byte") => BASE64_STANDARD
            .decode(text)
            .ok()
            .map(|bytes| Box::new(CelBytes::from(bytes)) as _),
        Some("date-time" | "date") => time::Timestamp::parse(text).map(|time| Box::new(time) as _),
        Some("duration") => time::Duration::parse(text).map(|duration| Box::new(duration) as _),
        _ => None,
    };
    parsed.unwrap_or_else(|| Box::new(CelString::from(text.to_owned())))
}

/// How an expression spells the name of a field.
pub(crate) fn escape(name: &str) -> String {
    if RESERVED.contains(&name) {
        return format!("__{name}__");
    }
    let plain = |c: char| c == '_' || c.is_ascii_alphanumeric();
    if name.chars().all(plain) && !name.contains("__") {
        return name.to_owned();
    }
    name.replace("__", "\u{0}")
        .replace('.', "__dot__")
        .replace('-', "__dash__")
        .replace('/', "__slash__")
        .replace('\u{0}', "__underscores__")
}

/// Words of the language that cannot be names.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

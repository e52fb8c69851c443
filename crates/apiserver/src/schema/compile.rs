//! OpenAPI text to [`Schema`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use regex::RegexBuilder;
use serde_json::{Map, Value};

use super::{Checks, ListType, Schema, Strategy, Type};
use crate::object::strings_at;

/// A schema that cannot be used; says where and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub(crate) struct CompileError {
    pub path: String,
    pub what: String,
}

/// Compiles one schema after the other, sharing what they have in common.
#[derive(Debug, Default)]
pub(crate) struct Compiler<'a> {
    /// What `$ref` may name, by the last part of the reference.
    definitions: Option<&'a Map<String, Value>>,
    done: HashMap<String, Arc<Schema>>,
    open: Vec<String>,
    /// Generated schemas say `type: object` without fields where anything goes.
    open_objects: bool,
}

impl<'a> Compiler<'a> {
    /// For the schemas of a CustomResourceDefinition.
    pub(crate) fn structural() -> Self {
        Self::default()
    }

    /// For generated schemas, which refer to one another.
    pub(crate) fn generated(definitions: &'a Map<String, Value>) -> Self {
        Self {
            definitions: Some(definitions),
            open_objects: true,
            ..Self::default()
        }
    }

    pub(crate) fn compile(&mut self, source: &Value, path: &str) -> Result<Schema, CompileError> {
        if let Some(reference) = source.get("$ref").and_then(Value::as_str) {
            let target = self.reference(reference, path)?;
            return Ok(with_siblings((*target).clone(), source));
        }
        let mut schema = Schema {
            kind: self.kind(source, path)?,
            ..Schema::default()
        };
        let flag = |name: &str| source.get(name).and_then(Value::as_bool).unwrap_or_default();
        schema.nullable = flag("nullable");
        schema.embedded = flag("x-kubernetes-embedded-resource");
        schema.default = source.get("default").cloned();
        for (name, field) in source
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let field = self.compile(field, &format!("{path}.properties[{name}]"))?;
            schema.properties.insert(name.clone(), Arc::new(field));
        }
        match source.get("additionalProperties") {
            Some(Value::Bool(true)) => schema.additional = Some(Arc::new(super::ANY.clone())),
            Some(map @ Value::Object(_)) => {
                schema.additional = Some(Arc::new(self.compile(map, &format!("{path}.additionalProperties"))?));
            }
            _ => {}
        }
        if let Some(items) = source.get("items") {
            schema.items = Some(Arc::new(self.compile(items, &format!("{path}.items"))?));
        }
        let bare = schema.kind == Type::Object && schema.properties.is_empty() && schema.additional.is_none();
        schema.preserve_unknown =
            flag("x-kubernetes-preserve-unknown-fields") || (self.open_objects && bare) || schema.kind == Type::Any;
        schema.checks = self.checks(source, path)?;
        Ok(with_siblings(schema, source))
    }

    fn reference(&mut self, reference: &str, path: &str) -> Result<Arc<Schema>, CompileError> {
        let name = reference.rsplit('/').next().unwrap_or_default();
        if let Some(done) = self.done.get(name) {
            return Ok(Arc::clone(done));
        }
        if self.open.iter().any(|open| open == name) {
            return Ok(Arc::new(super::ANY.clone()));
        }
        let target = self.definitions.and_then(|definitions| definitions.get(name));
        let Some(target) = target else {
            return Err(error(path, format!("{reference} is not defined")));
        };
        self.open.push(name.to_owned());
        let mut schema = self.compile(target, name)?;
        if name.ends_with(".resource.Quantity") {
            schema.checks.get_or_insert_default().format = Some(QUANTITY.to_owned());
        }
        let schema = Arc::new(schema);
        self.open.pop();
        self.done.insert(name.to_owned(), Arc::clone(&schema));
        Ok(schema)
    }

    fn kind(&self, source: &Value, path: &str) -> Result<Type, CompileError> {
        if source.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true) {
            return Ok(Type::IntOrString);
        }
        match source.get("type").and_then(Value::as_str) {
            None if source.get("properties").is_some() => Ok(Type::Object),
            None => Ok(Type::Any),
            Some("object") => Ok(Type::Object),
            Some("array") => Ok(Type::Array),
            Some("string") => Ok(Type::String),
            Some("integer") => Ok(Type::Integer),
            Some("number") => Ok(Type::Number),
            Some("boolean") => Ok(Type::Boolean),
            Some(other) => Err(error(path, format!("type {other:?} is not one of the JSON types"))),
        }
    }

    fn checks(&mut self, source: &Value, path: &str) -> Result<Option<Box<Checks>>, CompileError> {
        let number = |name: &str| source.get(name).and_then(Value::as_f64);
        let count = |name: &str| source.get(name).and_then(Value::as_u64);
        let flag = |name: &str| source.get(name).and_then(Value::as_bool).unwrap_or_default();
        if !source
            .as_object()
            .is_some_and(|map| map.keys().any(|key| CHECKED.contains(&key.as_str())))
        {
            return Ok(None);
        }
        let pattern = match source.get("pattern").and_then(Value::as_str) {
            Some(text) => Some(
                RegexBuilder::new(text)
                    .size_limit(1 << 20)
                    .build()
                    .map_err(|why| error(&format!("{path}.pattern"), why.to_string()))?,
            ),
            None => None,
        };
        let mut several = |name: &str| -> Result<Vec<Schema>, CompileError> {
            let list = source.get(name).and_then(Value::as_array).into_iter().flatten();
            list.enumerate()
                .map(|(n, one)| self.compile(one, &format!("{path}.{name}[{n}]")))
                .collect()
        };
        let (all_of, any_of, one_of) = (several("allOf")?, several("anyOf")?, several("oneOf")?);
        let not = match source.get("not") {
            Some(not) => Some(Box::new(self.compile(not, &format!("{path}.not"))?)),
            None => None,
        };
        Ok(Some(Box::new(Checks {
            required: strings_at(source, &["required"])
                .into_iter()
                .map(str::to_owned)
                .collect(),
            values: source
                .get("enum")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            format: source.get("format").and_then(Value::as_str).map(str::to_owned),
            pattern,
            minimum: number("minimum").map(|bound| (bound, flag("exclusiveMinimum"))),
            maximum: number("maximum").map(|bound| (bound, flag("exclusiveMaximum"))),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            unique_items: flag("uniqueItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            all_of,
            any_of,
            one_of,
            not,
        })))
    }
}

/// Applies what may stand beside a `$ref` as well as in a schema itself.
fn with_siblings(mut schema: Schema, source: &Value) -> Schema {
    let text = |name: &str| source.get(name).and_then(Value::as_str);
    match text("x-kubernetes-list-type") {
        Some("set") => schema.list = ListType::Set,
        Some("map") => {
            let keys = strings_at(source, &["x-kubernetes-list-map-keys"]);
            schema.list = ListType::Map(keys.into_iter().map(str::to_owned).collect());
        }
        _ => {}
    }
    if text("x-kubernetes-map-type") == Some("atomic") || text("x-kubernetes-struct-type") == Some("atomic") {
        schema.atomic = true;
    }
    if let Some(strategies) = text("x-kubernetes-patch-strategy") {
        schema.strategy = Strategy {
            merge: strategies.split(',').any(|one| one == "merge"),
            retain_keys: strategies.split(',').any(|one| one == "retainKeys"),
            merge_key: text("x-kubernetes-patch-merge-key").map(str::to_owned),
        };
    }
    if let Some(default) = source.get("default") {
        schema.default = Some(default.clone());
    }
    schema
}

fn error(path: &str, what: impl Into<String>) -> CompileError {
    CompileError {
        path: path.to_owned(),
        what: what.into(),
    }
}

/// Adds apiVersion, kind and metadata to the root of an object's schema.
pub(crate) fn as_object(mut schema: Schema, metadata: &Arc<Schema>) -> Schema {
    let text = Arc::new(Schema {
        kind: Type::String,
        ..Schema::default()
    });
    schema.kind = Type::Object;
    schema.properties.insert("apiVersion".into(), Arc::clone(&text));
    schema.properties.insert("kind".into(), text);
    schema.properties.insert("metadata".into(), Arc::clone(metadata));
    let properties: BTreeMap<String, Arc<Schema>> = std::mem::take(&mut schema.properties)
        .into_iter()
        .map(|(name, field)| (name, embed(field, metadata)))
        .collect();
    Schema { properties, ..schema }
}

/// Gives every embedded resource below a node its metadata.
fn embed(node: Arc<Schema>, metadata: &Arc<Schema>) -> Arc<Schema> {
    if !has_embedded(&node) {
        return node;
    }
    let mut node = (*node).clone();
    node.properties = node
        .properties
        .into_iter()
        .map(|(name, field)| (name, embed(field, metadata)))
        .collect();
    node.additional = node.additional.map(|field| embed(field, metadata));
    node.items = node.items.map(|field| embed(field, metadata));
    Arc::new(if node.embedded { as_object(node, metadata) } else { node })
}

fn has_embedded(node: &Schema) -> bool {
    node.embedded
        || node
            .properties
            .values()
            .chain(&node.additional)
            .chain(&node.items)
            .any(|field| has_embedded(field))
}

/// The format of amounts, which generated schemas only know as texts.
pub(crate) const QUANTITY: &str = "quantity";

const CHECKED: [&str; 20] = [
    "required",
    "enum",
    "format",
    "pattern",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
];

//! Structural schemas: what a kind's fields are, how lists merge, what is defaulted, what is refused.
//!
//! Built-in kinds and custom ones go through the same [`Schema`]: [`compile`] reads OpenAPI, [`builtin`] reads the generated
//! schemas of k8s-openapi and adds what those leave out (list types, merge keys). On the way in, [`normalise`] walks an object
//! once: it drops nulls and unknown fields and sets defaults; [`validate`] then lists everything that is wrong.

use std::{collections::BTreeMap, sync::Arc};

use regex::Regex;
use serde_json::Value;

use crate::cel::rules::Rule;

pub(crate) mod builtin;
pub(crate) mod compile;
mod format;
mod lists;
pub(crate) mod normalise;
pub(crate) mod validate;

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Type {
    /// Anything: no type is given.
    #[default]
    Any,
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    IntOrString,
}

/// Who owns what in a list, for server-side apply.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) enum ListType {
    /// One owner for the whole list.
    #[default]
    Atomic,
    /// Every scalar has its owner.
    Set,
    /// Every element has its owner; these fields tell elements apart.
    Map(Vec<String>),
}

impl ListType {
    /// The element that an element of a changed list was before; only keyed lists can tell.
    pub(crate) fn counterpart<'a>(&self, item: &Value, before: &'a [Value]) -> Option<&'a Value> {
        let Self::Map(keys) = self else { return None };
        before
            .iter()
            .find(|old| keys.iter().all(|key| old.get(key) == item.get(key)))
    }
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Strategy {
    /// Lists merge instead of being replaced.
    pub merge: bool,
    pub merge_key: Option<String>,
    /// A patch may name the keys that stay (`$retainKeys`).
    pub retain_keys: bool,
}

/// One node of a schema. `Schema::default()` accepts and keeps anything.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    pub kind: Type,
    pub nullable: bool,
    pub preserve_unknown: bool,
    /// A whole object with apiVersion, kind and metadata.
    pub embedded: bool,
    pub properties: BTreeMap<String, Arc<Schema>>,
    /// The schema of all other fields: the object is a map.
    pub additional: Option<Arc<Schema>>,
    pub items: Option<Arc<Schema>>,
    pub default: Option<Value>,
    pub list: ListType,
    /// An object with one owner.
    pub atomic: bool,
    pub strategy: Strategy,
    pub checks: Option<Box<Checks>>,
    /// Rules on the value as a whole; see [`rules::attach`](crate::cel::rules::attach).
    pub rules: Vec<Rule>,
}

/// Constraints on values; few nodes have any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub required: Vec<String>,
    pub values: Vec<Value>,
    pub format: Option<String>,
    pub pattern: Option<Regex>,
    pub minimum: Option<(f64, bool)>,
    pub maximum: Option<(f64, bool)>,
    pub multiple_of: Option<f64>,
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub min_items: Option<u64>,
    pub max_items: Option<u64>,
    pub unique_items: bool,
    pub min_properties: Option<u64>,
    pub max_properties: Option<u64>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

impl Schema {
    /// The schema of a field of an object; none if the field is unknown.
    pub(crate) fn field(&self, name: &str) -> Option<&Schema> {
        self.properties
            .get(name)
            .or(self.additional.as_ref())
            .map(|schema| &**schema)
    }

    /// The same, with anything accepted where nothing is known.
    pub(crate) fn field_or_any(&self, name: &str) -> &Schema {
        self.field(name).unwrap_or(&ANY)
    }

    /// The schema of the elements of a list.
    pub(crate) fn element(&self) -> &Schema {
        self.items.as_deref().unwrap_or(&ANY)
    }

    /// Fields that the schema does not name are kept.
    pub(crate) fn keeps_unknown(&self) -> bool {
        self.preserve_unknown || self.kind == Type::Any
    }
}

/// Accepts and keeps anything.
pub(crate) static ANY: Schema = Schema {
    kind: Type::Any,
    nullable: true,
    preserve_unknown: true,
    embedded: false,
    properties: BTreeMap::new(),
    additional: None,
    items: None,
    default: None,
    list: ListType::Atomic,
    atomic: false,
    strategy: Strategy {
        merge: false,
        merge_key: None,
        retain_keys: false,
    },
    checks: None,
    rules: Vec::new(),
};

/// `spec.ports[0].name`: how messages name a field.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// The same, where the second part is a path of its own and may be empty or start with a key.
pub(crate) fn join_path(path: &str, below: &str) -> String {
    if below.is_empty() || below.starts_with('[') {
        format!("{path}{below}")
    } else {
        join(path, below)
    }
}

#[cfg(test)]
mod tests;

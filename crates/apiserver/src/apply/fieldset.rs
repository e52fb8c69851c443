//! Sets of fields, and their JSON form (`fieldsV1`).

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::{Map, Value};

use crate::schema::{ListType, Schema};

/// One step into an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    /// `f:name`.
    Field(String),
    /// `k:{"name":"a"}`: the list element with these keys, in the order of their names.
    Key(Vec<(String, Value)>),
    /// `v:"a"`: this element of a set.
    Value(Value),
}

impl Eq for Step {}

impl Step {
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => format!("k:{}", Value::Object(keys.iter().cloned().collect())),
            Self::Value(value) => format!("v:{value}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => {
                let Value::Object(keys) = serde_json::from_str(rest).ok()? else {
                    return None;
                };
                let mut keys: Vec<(String, Value)> = keys.into_iter().collect();
                keys.sort_by(|a, b| a.0.cmp(&b.0));
                Some(Self::Key(keys))
            }
            "v" => Some(Self::Value(serde_json::from_str(rest).ok()?)),
            _ => None,
        }
    }

    /// `.data`, `[name="a"]`, `[="x"]`: how a conflict names a field.
    fn display(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
            Self::Value(value) => format!("[={value}]"),
        }
    }
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(ours), Self::Field(theirs)) => ours.cmp(theirs),
            _ => self.encode().cmp(&other.encode()),
        }
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A set of fields: a tree of steps, some of whose nodes are members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    pub member: bool,
    pub children: BTreeMap<Step, FieldSet>,
}

impl FieldSet {
    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    pub(crate) fn child(&self, step: &Step) -> Option<&FieldSet> {
        self.children.get(step)
    }

    /// The node for a path, made if need be.
    pub(crate) fn at(&mut self, step: Step) -> &mut FieldSet {
        self.children.entry(step).or_default()
    }

    /// Adds another set.
    pub(crate) fn union(&mut self, other: &FieldSet) {
        self.member |= other.member;
        for (step, theirs) in &other.children {
            self.at(step.clone()).union(theirs);
        }
    }

    /// The members of both.
    #[must_use]
    pub(crate) fn intersection(&self, other: &FieldSet) -> FieldSet {
        let both = |(step, ours): (&Step, &FieldSet)| Some((step.clone(), ours.intersection(other.child(step)?)));
        let children = self
            .children
            .iter()
            .filter_map(both)
            .filter(|(_, set)| !set.is_empty())
            .collect();
        FieldSet {
            member: self.member && other.member,
            children,
        }
    }

    /// Takes the members of another set out.
    pub(crate) fn subtract(&mut self, other: &FieldSet) {
        self.member &= !other.member;
        for (step, theirs) in &other.children {
            if let Some(ours) = self.children.get_mut(step) {
                ours.subtract(theirs);
            }
        }
        self.children.retain(|_, set| !set.is_empty());
    }

    /// Every member, as a conflict names it: those of a node before those further below.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        if self.member {
            paths.push(String::new());
        }
        self.collect("", &mut paths);
        paths
    }

    fn collect(&self, prefix: &str, paths: &mut Vec<String>) {
        let below = |step: &Step| format!("{prefix}{}", step.display());
        let members = self.children.iter().filter(|(_, set)| set.member);
        paths.extend(members.map(|(step, _)| below(step)));
        for (step, set) in &self.children {
            set.collect(&below(step), paths);
        }
    }

    /// The JSON form; the root itself is never a member.
    pub(crate) fn encode(&self) -> Value {
        let mut map = Map::new();
        for (step, set) in &self.children {
            let mut child = Map::new();
            if set.member && !set.children.is_empty() {
                child.insert(".".into(), Value::Object(Map::new()));
            }
            if let Value::Object(below) = set.encode() {
                child.extend(below);
            }
            map.insert(step.encode(), Value::Object(child));
        }
        Value::Object(map)
    }

    /// Reads the JSON form; what it does not understand is left out.
    pub(crate) fn decode(value: &Value) -> Self {
        let mut set = Self::default();
        for (text, below) in value.as_object().into_iter().flatten() {
            if let Some(step) = Step::decode(text) {
                let mut child = Self::decode(below);
                child.member = below.get(".").is_some() || below.as_object().is_none_or(Map::is_empty);
                set.children.insert(step, child);
            }
        }
        set
    }
}

/// The step to an element of a list. None for an atomic list, or when a key is missing.
pub(crate) fn element_step(item: &Value, schema: &Schema) -> Option<Step> {
    match &schema.list {
        ListType::Atomic => None,
        ListType::Set => Some(Step::Value(item.clone())),
        ListType::Map(keys) => {
            let mut found = Vec::with_capacity(keys.len());
            for key in keys {
                let default = || schema.element().field(key).and_then(|field| field.default.clone());
                if let Some(value) = item.get(key).cloned().or_else(default) {
                    found.push((key.clone(), value));
                }
            }
            found.sort_by(|a, b| a.0.cmp(&b.0));
            (!found.is_empty()).then_some(Step::Key(found))
        }
    }
}

/// Whether a value has one owner although it has parts.
pub(crate) fn is_atomic(value: &Value, schema: &Schema) -> bool {
    match value {
        Value::Object(_) => schema.atomic,
        Value::Array(_) => schema.list == ListType::Atomic,
        _ => true,
    }
}

/// The fields that a configuration states.
pub(crate) fn of_value(value: &Value, schema: &Schema) -> FieldSet {
    let mut set = FieldSet::default();
    collect(value, schema, &mut set);
    set
}

fn collect(value: &Value, schema: &Schema, set: &mut FieldSet) {
    if is_atomic(value, schema) {
        set.member = true;
        return;
    }
    match value {
        Value::Object(map) => {
            for (name, field) in map {
                let child = set.at(Step::Field(name.clone()));
                collect(field, schema.field_or_any(name), child);
                let is_map_entry = !schema.properties.contains_key(name);
                child.member |= is_map_entry || field.as_object().is_some_and(Map::is_empty);
            }
        }
        Value::Array(items) => {
            for item in items {
                if let Some(step) = element_step(item, schema) {
                    let child = set.at(step);
                    collect(item, schema.element(), child);
                    child.member = true;
                }
            }
        }
        _ => {}
    }
}

//! What differs between two states of an object, field by field.

use serde_json::{Map, Value};

use super::fieldset::{FieldSet, Step, element_step, is_atomic};
use crate::schema::Schema;

/// The fields that a change added, modified and removed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

impl Comparison {
    /// The fields that have another value than before, or a first one.
    pub(crate) fn changed(&self) -> FieldSet {
        let mut changed = self.added.clone();
        changed.union(&self.modified);
        changed
    }
}

pub(crate) fn compare(old: &Value, new: &Value, schema: &Schema) -> Comparison {
    let mut result = Comparison::default();
    let mut path = Vec::new();
    walk(Some(old), Some(new), schema, &mut path, &mut result);
    result
}

fn walk(old: Option<&Value>, new: Option<&Value>, schema: &Schema, path: &mut Vec<Step>, out: &mut Comparison) {
    let some = |value: Option<&Value>| value.is_some_and(|value| !value.is_null());
    if !some(old) && !some(new) {
        // A null that the schema allows is a value, and somebody's.
        if schema.nullable && old.is_none() != new.is_none() {
            leaf(old, new, path, out);
        }
        return;
    }
    let shape = new
        .filter(|value| !value.is_null())
        .or(old)
        .expect("one of the two is there");
    let same_shape = match (old, new) {
        (Some(Value::Object(_)), Some(Value::Object(_))) | (Some(Value::Array(_)), Some(Value::Array(_))) => true,
        (Some(old), Some(new)) if !old.is_null() && !new.is_null() => false,
        _ => true,
    };
    let empty = |value: Option<&Value>| match value {
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        _ => true,
    };
    if is_atomic(shape, schema) || !same_shape || (empty(old) && empty(new)) {
        return leaf(old, new, path, out);
    }
    match shape {
        Value::Object(_) => {
            let none = Map::new();
            let (before, after) = (as_map(old, &none), as_map(new, &none));
            let names = before
                .keys()
                .chain(after.keys().filter(|name| !before.contains_key(*name)));
            for name in names {
                path.push(Step::Field(name.clone()));
                walk(before.get(name), after.get(name), schema.field_or_any(name), path, out);
                path.pop();
            }
        }
        Value::Array(_) => {
            let (before, after) = (keyed(old, schema), keyed(new, schema));
            let find = |list: &[(Step, &'_ Value)], step: &Step| list.iter().position(|(known, _)| known == step);
            for (step, value) in &before {
                path.push(step.clone());
                walk(
                    Some(value),
                    find(&after, step).map(|at| after[at].1),
                    schema.element(),
                    path,
                    out,
                );
                path.pop();
            }
            for (step, value) in after.iter().filter(|(step, _)| find(&before, step).is_none()) {
                path.push(step.clone());
                walk(None, Some(value), schema.element(), path, out);
                path.pop();
            }
        }
        _ => {}
    }
    // A null stands for a field that is there but empty: what fills it does not add it.
    if old.is_none() {
        insert(&mut out.added, path);
    } else if new.is_none() {
        insert(&mut out.removed, path);
    }
}

fn leaf(old: Option<&Value>, new: Option<&Value>, path: &[Step], out: &mut Comparison) {
    match (old, new) {
        (None, Some(_)) => insert(&mut out.added, path),
        (Some(_), None) => insert(&mut out.removed, path),
        (Some(old), Some(new)) if old != new => insert(&mut out.modified, path),
        _ => {}
    }
}

fn insert(set: &mut FieldSet, path: &[Step]) {
    let mut node = set;
    for step in path {
        node = node.at(step.clone());
    }
    node.member = true;
}

fn as_map<'a>(value: Option<&'a Value>, none: &'a Map<String, Value>) -> &'a Map<String, Value> {
    value.and_then(Value::as_object).unwrap_or(none)
}

fn keyed<'a>(value: Option<&'a Value>, schema: &Schema) -> Vec<(Step, &'a Value)> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items
        .filter_map(|item| Some((element_step(item, schema)?, item)))
        .collect()
}

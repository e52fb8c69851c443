//! Removes what a manager applied before and no longer states.

use serde_json::Value;

use super::fieldset::{FieldSet, Step, element_step, is_atomic};
use crate::schema::Schema;

/// Removes every field of `last` that nobody in `owned` owns, itself or a part of it. A named field of a struct counts as a
/// member of `last` if anything below it is one.
pub(crate) fn prune(value: &mut Value, last: &FieldSet, owned: &FieldSet, schema: &Schema) {
    if is_atomic(value, schema) {
        return;
    }
    match value {
        Value::Object(map) => {
            map.retain(|name, field| {
                let step = Step::Field(name.clone());
                let Some(last) = last.child(&step) else { return true };
                let known = schema.properties.contains_key(name);
                keep(field, last, owned.child(&step), schema.field_or_any(name), known)
            });
        }
        Value::Array(items) => items.retain_mut(|item| {
            let Some(step) = element_step(item, schema) else {
                return true;
            };
            let Some(last) = last.child(&step) else { return true };
            keep(item, last, owned.child(&step), schema.element(), false)
        }),
        _ => {}
    }
}

fn keep(field: &mut Value, last: &FieldSet, owned: Option<&FieldSet>, schema: &Schema, named: bool) -> bool {
    let was_ours = last.member || (named && !last.is_empty());
    match owned.filter(|owned| !owned.is_empty()) {
        None if was_ours => false,
        owned => {
            let none = FieldSet::default();
            prune(field, last, owned.unwrap_or(&none), schema);
            true
        }
    }
}

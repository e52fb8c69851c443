//! Lays an applied configuration over the live object.

use serde_json::{Map, Value};

use super::fieldset::{element_step, is_atomic};
use crate::schema::Schema;

/// The live object with everything that `config` states. Atomic values are replaced, maps and keyed lists are merged.
pub(crate) fn merge(live: &Value, config: &Value, schema: &Schema) -> Value {
    if is_atomic(config, schema) {
        return config.clone();
    }
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => Value::Object(merge_map(live, config, schema)),
        (Value::Array(live), Value::Array(config)) => Value::Array(merge_list(live, config, schema)),
        _ => config.clone(),
    }
}

fn merge_map(live: &Map<String, Value>, config: &Map<String, Value>, schema: &Schema) -> Map<String, Value> {
    let mut merged = live.clone();
    for (name, wanted) in config {
        let value = match live.get(name) {
            Some(have) => merge(have, wanted, schema.field_or_any(name)),
            None => wanted.clone(),
        };
        merged.insert(name.clone(), value);
    }
    merged
}

/// Elements that both have come in the order of the configuration; elements that only the live list has keep their place
/// before the shared element that follows them.
fn merge_list(live: &[Value], config: &[Value], schema: &Schema) -> Vec<Value> {
    let step = |item: &Value| element_step(item, schema);
    let shared = |item: &Value| config.iter().position(|wanted| step(wanted) == step(item));
    let mut merged = Vec::with_capacity(live.len() + config.len());
    let mut next = 0;
    for item in live {
        match shared(item) {
            None => merged.push(item.clone()),
            Some(at) if at >= next => {
                merged.extend(
                    config[next..=at]
                        .iter()
                        .map(|wanted| merge_element(live, wanted, schema)),
                );
                next = at + 1;
            }
            Some(_) => {}
        }
    }
    merged.extend(config[next..].iter().map(|wanted| merge_element(live, wanted, schema)));
    merged
}

fn merge_element(live: &[Value], wanted: &Value, schema: &Schema) -> Value {
    let same = |item: &&Value| element_step(item, schema) == element_step(wanted, schema);
    live.iter()
        .find(same)
        .map_or_else(|| wanted.clone(), |item| merge(item, wanted, schema.element()))
}

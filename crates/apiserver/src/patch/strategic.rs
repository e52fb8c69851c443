//! Strategic merge patch: like a JSON merge patch, but lists that have a merge key merge element by element, and directives say more.
//!
//! | in a patch | means |
//! |---|---|
//! | `"$patch": "replace"` in a map | this map replaces the original |
//! | `"$patch": "delete"` in a map | the map, or the list element with this key, goes |
//! | `{"$patch": "replace"}` as a list element | the other elements replace the list |
//! | `"$setElementOrder/f": […]` | the order of list `f` afterwards |
//! | `"$deleteFromPrimitiveList/f": […]` | these scalars leave list `f` |
//! | `"$retainKeys": […]` | all other keys of this map go |

use serde_json::{Map, Value};

use crate::{gotext, schema::Schema};

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrategicError {
    #[error("map: {element} does not contain declared merge key: {key}")]
    NoMergeKey { element: String, key: String },
    #[error("unknown patch type: {directive} in map: {map}")]
    Directive { directive: String, map: String },
    #[error("expected a JSON object as the patch")]
    NotAnObject,
}

pub(crate) fn apply(original: &Value, patch: &Value, schema: &Schema) -> Result<Value, StrategicError> {
    let (Some(original), Some(patch)) = (original.as_object(), patch.as_object()) else {
        return Err(StrategicError::NotAnObject);
    };
    merge_map(original, patch, schema).map(Value::Object)
}

fn merge_map(
    original: &Map<String, Value>,
    patch: &Map<String, Value>,
    schema: &Schema,
) -> Result<Map<String, Value>, StrategicError> {
    match patch.get(PATCH).and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => return clean(patch, schema),
        Some("delete") => return Ok(Map::new()),
        Some(other) => {
            return Err(StrategicError::Directive {
                directive: other.to_owned(),
                map: gotext::plain(&patch.clone().into()),
            });
        }
    }
    let mut merged = original.clone();
    if let Some(retained) = patch.get(RETAIN).and_then(Value::as_array) {
        merged.retain(|key, _| retained.iter().any(|kept| kept == key));
    }
    for (name, wanted) in patch {
        if let Some(list) = name.strip_prefix(DELETE_FROM) {
            if let (Some(Value::Array(items)), Some(gone)) = (merged.get_mut(list), wanted.as_array()) {
                items.retain(|item| !gone.contains(item));
            }
        } else if name.starts_with('$') {
            // Directives are read where they apply.
        } else if wanted.is_null() {
            merged.shift_remove(name);
        } else {
            let order = patch.get(&format!("{ORDER}{name}")).and_then(Value::as_array);
            let value = merge_field(merged.get(name), wanted, schema.field_or_any(name), order)?;
            merged.insert(name.clone(), value);
        }
    }
    for (name, order) in patch
        .iter()
        .filter_map(|(name, order)| Some((name.strip_prefix(ORDER)?, order.as_array()?)))
    {
        if let (false, Some(Value::Array(items))) = (patch.contains_key(name), merged.get_mut(name)) {
            let key = schema.field_or_any(name).strategy.merge_key.clone();
            *items = ordered(std::mem::take(items), &[], order, key.as_deref());
        }
    }
    Ok(merged)
}

fn merge_field(
    original: Option<&Value>,
    patch: &Value,
    schema: &Schema,
    order: Option<&Vec<Value>>,
) -> Result<Value, StrategicError> {
    match (original, patch) {
        (Some(Value::Object(original)), Value::Object(patch)) => Ok(merge_map(original, patch, schema)?.into()),
        (_, Value::Object(patch)) => Ok(clean(patch, schema)?.into()),
        (original, Value::Array(patch)) => {
            let original = original.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
            merge_list(original, patch, schema, order).map(Value::Array)
        }
        (_, scalar) => Ok(scalar.clone()),
    }
}

fn merge_list(
    original: &[Value],
    patch: &[Value],
    schema: &Schema,
    order: Option<&Vec<Value>>,
) -> Result<Vec<Value>, StrategicError> {
    let directive = |element: &Value| element.get(PATCH).and_then(Value::as_str).map(str::to_owned);
    let replaces = patch
        .iter()
        .any(|element| directive(element).as_deref() == Some("replace"));
    if replaces || !schema.strategy.merge {
        let kept = patch.iter().filter(|element| directive(element).is_none());
        return kept.map(|element| clean_value(element, schema.element())).collect();
    }
    let Some(key) = schema.strategy.merge_key.as_deref() else {
        let mut merged = original.to_vec();
        merged.extend(patch.iter().filter(|item| !original.contains(item)).cloned());
        return Ok(match order {
            Some(order) => ordered(merged, original, order, None),
            None => merged,
        });
    };
    let mut merged = original.to_vec();
    for element in patch {
        let Some(id) = element.get(key) else {
            return Err(StrategicError::NoMergeKey {
                element: gotext::plain(element),
                key: key.to_owned(),
            });
        };
        let at = merged.iter().position(|item| item.get(key) == Some(id));
        match (directive(element).as_deref(), at) {
            (Some("delete"), _) => merged.retain(|item| item.get(key) != Some(id)),
            (_, Some(at)) => merged[at] = merge_field(Some(&merged[at]), element, schema.element(), None)?,
            (_, None) => merged.push(clean_value(element, schema.element())?),
        }
    }
    Ok(match order {
        Some(order) => ordered(merged, original, order, Some(key)),
        None => merged,
    })
}

/// Puts the elements that `order` names in that order; each of the others stays in front of the first named element that
/// it preceded in `original`.
fn ordered(items: Vec<Value>, original: &[Value], order: &[Value], key: Option<&str>) -> Vec<Value> {
    let id = |item: &Value| match key {
        Some(key) => item.get(key).cloned().unwrap_or_default(),
        None => item.clone(),
    };
    let rank = |item: &Value| order.iter().position(|named| id(named) == id(item));
    let before = |item: &Value| original.iter().position(|old| id(old) == id(item));
    let (mut named, others): (Vec<Value>, Vec<Value>) = items.into_iter().partition(|item| rank(item).is_some());
    named.sort_by_key(rank);
    let mut others = others.into_iter().peekable();
    let mut result = Vec::with_capacity(named.len());
    for item in named {
        if let Some(place) = before(&item) {
            while let Some(other) = others.next_if(|other| before(other).is_some_and(|other| other < place)) {
                result.push(other);
            }
        }
        result.push(item);
    }
    result.extend(others);
    result
}

/// A part of a patch that has no counterpart: its directives and nulls mean nothing there.
fn clean(patch: &Map<String, Value>, schema: &Schema) -> Result<Map<String, Value>, StrategicError> {
    if patch.get(PATCH).and_then(Value::as_str) == Some("delete") {
        return Ok(Map::new());
    }
    let plain = patch
        .iter()
        .filter(|(name, value)| !name.starts_with('$') && !value.is_null());
    plain
        .map(|(name, value)| Ok((name.clone(), clean_value(value, schema.field_or_any(name))?)))
        .collect()
}

fn clean_value(value: &Value, schema: &Schema) -> Result<Value, StrategicError> {
    match value {
        Value::Object(map) => Ok(clean(map, schema)?.into()),
        Value::Array(items) => merge_list(&[], items, schema, None).map(Value::Array),
        scalar => Ok(scalar.clone()),
    }
}

const PATCH: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::schema::compile::Compiler;

    fn schema() -> Schema {
        Compiler::structural()
            .compile(
                &json!({"type": "object", "properties": {
                    "containers": {"type": "array", "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name",
                        "items": {"type": "object", "properties": {
                            "args": {"type": "array", "items": {"type": "string"}},
                            "ports": {"type": "array", "x-kubernetes-patch-strategy": "merge",
                                      "x-kubernetes-patch-merge-key": "port"}}}},
                    "finalizers": {"type": "array", "x-kubernetes-patch-strategy": "merge"},
                    "strategy": {"type": "object", "x-kubernetes-patch-strategy": "retainKeys"},
                }}),
                "",
            )
            .unwrap()
    }

    fn patched(original: &Value, patch: &Value) -> Value {
        apply(original, patch, &schema()).unwrap()
    }

    #[test]
    fn lists_merge_by_key_and_other_lists_are_replaced() {
        let original = json!({"containers": [{"name": "a", "image": "1", "args": ["x"]}, {"name": "b", "image": "1"}]});
        let patch = json!({"containers": [{"name": "b", "image": "2"}, {"name": "a", "args": ["y"]}, {"name": "c"}]});
        assert_eq!(
            patched(&original, &patch),
            json!({"containers": [{"name": "a", "image": "1", "args": ["y"]}, {"name": "b", "image": "2"}, {"name": "c"}]})
        );
    }

    #[test]
    fn directives_delete_replace_order_and_retain() {
        let original = json!({"containers": [{"name": "a"}, {"name": "b"}], "finalizers": ["x", "y"],
                              "strategy": {"type": "Rolling", "rolling": {}}});
        let gone = json!({"containers": [{"name": "a", "$patch": "delete"}], "$deleteFromPrimitiveList/finalizers": ["x"],
                          "strategy": {"$retainKeys": ["type"], "type": "Recreate"}});
        assert_eq!(
            patched(&original, &gone),
            json!({"containers": [{"name": "b"}], "finalizers": ["y"], "strategy": {"type": "Recreate"}})
        );
        let replaced = json!({"containers": [{"$patch": "replace"}, {"name": "z"}]});
        assert_eq!(patched(&original, &replaced)["containers"], json!([{"name": "z"}]));
        let turned = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]});
        assert_eq!(
            patched(&original, &turned)["containers"],
            json!([{"name": "b"}, {"name": "a"}])
        );
        let nameless = apply(&original, &json!({"containers": [{"image": "1"}]}), &schema()).unwrap_err();
        assert_eq!(
            nameless.to_string(),
            "map: map[image:1] does not contain declared merge key: name"
        );
        let strange = apply(&original, &json!({"strategy": {"$patch": "mend"}}), &schema()).unwrap_err();
        assert_eq!(strange.to_string(), "unknown patch type: mend in map: map[$patch:mend]");
    }

    #[test]
    fn elements_the_patch_does_not_name_keep_their_place() {
        let original = json!({"containers": [{"name": "injected"}, {"name": "a"}, {"name": "b"}]});
        let patch = json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b", "v": 1}]});
        assert_eq!(
            patched(&original, &patch)["containers"],
            json!([{"name": "injected"}, {"name": "b", "v": 1}, {"name": "a"}])
        );
    }

    proptest! {
        /// A patch without directives or nulls can be applied twice, and then changes nothing more.
        #[test]
        fn applying_twice_is_applying_once(
            have in prop::collection::btree_map("[a-d]", 0u8..4, 0..4),
            want in prop::collection::btree_map("[a-d]", 0u8..4, 0..4),
        ) {
            let list = |map: std::collections::BTreeMap<String, u8>| -> Value {
                json!({"containers": map.into_iter().map(|(name, v)| json!({"name": name, "v": v})).collect::<Vec<_>>()})
            };
            let (have, want) = (list(have), list(want));
            let once = patched(&have, &want);
            prop_assert_eq!(&patched(&once, &want), &once);
            for wanted in want["containers"].as_array().unwrap() {
                prop_assert!(once["containers"].as_array().unwrap().contains(wanted));
            }
        }
    }
}

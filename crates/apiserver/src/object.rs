//! Reading and writing the metadata that every object has, on untyped JSON.

use jiff::Timestamp;
use serde_json::{Map, Value};

/// Reads metadata; what is absent reads as empty.
pub(crate) trait Object {
    fn meta(&self, field: &str) -> Option<&Value>;

    fn meta_str(&self, field: &str) -> &str {
        self.meta(field).and_then(Value::as_str).unwrap_or_default()
    }
    fn name(&self) -> &str {
        self.meta_str("name")
    }
    fn namespace(&self) -> &str {
        self.meta_str("namespace")
    }
    fn uid(&self) -> &str {
        self.meta_str("uid")
    }
    fn resource_version(&self) -> &str {
        self.meta_str("resourceVersion")
    }
    fn is_terminating(&self) -> bool {
        self.meta("deletionTimestamp").is_some()
    }
    fn finalizers(&self) -> Vec<&str> {
        let list = self.meta("finalizers").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }
}

impl Object for Value {
    fn meta(&self, field: &str) -> Option<&Value> {
        self.get("metadata")?.get(field).filter(|value| !value.is_null())
    }
}

/// Writes metadata, making the maps on the way.
pub(crate) trait ObjectMut {
    fn metadata_mut(&mut self) -> &mut Map<String, Value>;

    fn set_meta(&mut self, field: &str, value: impl Into<Value>) {
        self.metadata_mut().insert(field.to_owned(), value.into());
    }
    fn drop_meta(&mut self, field: &str) -> Option<Value> {
        self.metadata_mut().shift_remove(field)
    }
}

impl ObjectMut for Value {
    fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        child_mut(self, "metadata")
    }
}

/// The map under `field` of a map, made if it is missing or of another type.
pub(crate) fn child_mut<'a>(parent: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !parent.is_object() {
        *parent = Value::Object(Map::new());
    }
    let map = parent.as_object_mut().expect("made an object above");
    let child = map.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child.as_object_mut().expect("made an object above")
}

/// Sets a field that is absent or null.
pub(crate) fn set_default(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), value.into());
    }
}

/// Text at a path of field names.
pub(crate) fn text_at<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter()
        .try_fold(value, |at, field| at.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The list at a path of field names; empty when there is none.
pub(crate) fn list_at<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    let found = path
        .iter()
        .try_fold(value, |at, field| at.get(field))
        .and_then(Value::as_array);
    found.map_or(&[], Vec::as_slice)
}

/// The strings of the list at a path.
pub(crate) fn strings_at<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a str> {
    list_at(value, path).iter().filter_map(Value::as_str).collect()
}

/// `2026-11-21T00:29:33Z`: whole seconds, as the API writes times.
pub(crate) fn time(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A map without a key, for comparisons.
pub(crate) fn without(object: &Value, fields: &[&str]) -> Map<String, Value> {
    let map = object.as_object().into_iter().flatten();
    map.filter(|(field, _)| !fields.contains(&field.as_str()))
        .map(|(field, value)| (field.clone(), value.clone()))
        .collect()
}

/// Puts the fields that every object starts with first, in the order in which the API writes them.
pub(crate) fn order(object: &mut Value, first: &[&str]) {
    let Some(map) = object.as_object_mut() else { return };
    let mut ordered = Map::with_capacity(map.len());
    for field in first {
        if let Some(value) = map.shift_remove(*field) {
            ordered.insert((*field).to_owned(), value);
        }
    }
    ordered.append(map);
    *map = ordered;
}

pub(crate) const METADATA_ORDER: [&str; 11] = [
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
];

//! The rules of metadata, which all kinds share.

use serde_json::Value;

use crate::{
    field::FieldError,
    gotext,
    kinds::{Kind, names},
    object::{Object as _, list_at, text_at},
};

/// Everything that is wrong with the metadata of a complete object.
pub(super) fn check(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = match old {
        None => wrong_names(kind, object),
        Some(old) => new_holders(object, old),
    };
    errors.extend(wrong_maps(object));
    errors.extend(wrong_owners(object));
    errors.extend(wrong_finalizers(kind, object));
    errors
}

/// A name stays what it is, so it is looked at once.
fn wrong_names(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let rule = kind.rules.names();
    let prefix = object.meta_str("generateName");
    let mut errors = Vec::new();
    if !prefix.is_empty() {
        // A dash at the end will be followed by something.
        let checked = match prefix.strip_suffix('-') {
            Some(rest) if !rest.is_empty() => format!("{rest}a"),
            _ => prefix.to_owned(),
        };
        let wrong = rule.wrong(&checked).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid("metadata.generateName", prefix, why)));
    }
    let wrong = rule.wrong(object.name()).into_iter();
    errors.extend(wrong.map(|why| FieldError::invalid("metadata.name", object.name(), why)));
    errors
}

/// Whoever waits for the end of an object counts on nobody joining late.
fn new_holders(object: &Value, old: &Value) -> Vec<FieldError> {
    let (now, before) = (object.finalizers(), old.finalizers());
    let mut new: Vec<&str> = now.into_iter().filter(|one| !before.contains(one)).collect();
    if !old.is_terminating() || new.is_empty() {
        return Vec::new();
    }
    new.sort_unstable();
    let found = gotext::strings(&new);
    let detail = format!("no new finalizers can be added if the object is being deleted, found new finalizers {found}");
    vec![FieldError::forbidden("metadata.finalizers", detail)]
}

/// Labels and annotations.
fn wrong_maps(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let empty = serde_json::Map::new();
    let map = |field: &str| object.meta(field).and_then(Value::as_object).unwrap_or(&empty);
    for (name, value) in map("labels") {
        let wrong = names::wrong_qualified(name).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid("metadata.labels", name.as_str(), why)));
        let value = value.as_str().unwrap_or_default();
        let why = names::wrong_label_text(value);
        errors.extend(why.map(|why| FieldError::invalid("metadata.labels", value, why)));
    }
    for name in map("annotations").keys() {
        let wrong = names::wrong_qualified(&name.to_lowercase()).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid("metadata.annotations", name.as_str(), why)));
    }
    let size: usize = map("annotations")
        .iter()
        .map(|(name, value)| name.len() + value.as_str().map_or(0, str::len))
        .sum();
    if size > MAX_ANNOTATIONS {
        errors.push(FieldError::too_long("metadata.annotations", MAX_ANNOTATIONS as u64));
    }
    errors
}

fn wrong_owners(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut controller = None;
    let owners = list_at(object, &["metadata", "ownerReferences"]);
    // Which of the owners it is, the API does not say.
    let at = "metadata.ownerReferences";
    for owner in owners {
        for (field, why) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if text_at(owner, &[field]).is_empty() {
                errors.push(FieldError::invalid(format!("{at}.{field}"), "", why));
            }
        }
        if owner["apiVersion"] == "v1" && owner["kind"] == "Event" {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            errors.push(FieldError::invalid(at, owner.clone(), why));
        }
        if owner["controller"] == true {
            let name = format!("{}/{}", text_at(owner, &["kind"]), text_at(owner, &["name"]));
            match &controller {
                None => controller = Some(name),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                    );
                    errors.push(FieldError::invalid(at, owners.to_vec(), why));
                }
            }
        }
    }
    errors
}

fn wrong_finalizers(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let at = "metadata.finalizers";
    let finalizers = object.finalizers();
    let mut errors = Vec::new();
    for name in &finalizers {
        let wrong = names::wrong_qualified(name).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(at, *name, why)));
    }
    if finalizers.contains(&ORPHAN) && finalizers.contains(&FOREGROUND) {
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.push(FieldError::invalid(at, finalizers.clone(), why));
    }
    if kind.is_custom() || SHORT_FINALIZERS.contains(&kind.group()) {
        return errors;
    }
    let is_known = |name: &str| name.contains('/') || ["kubernetes", ORPHAN, FOREGROUND].contains(&name);
    for (n, name) in finalizers.iter().enumerate().filter(|(_, name)| !is_known(name)) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.push(FieldError::invalid(format!("{at}[{n}]"), *name, why));
    }
    errors
}

/// What custom resources are only warned of: a short finalizer may be somebody else's too.
pub(super) fn warnings(object: &Value, old: Option<&Value>) -> Vec<String> {
    let before = old.map(|old| old.finalizers()).unwrap_or_default();
    let mut new = object.finalizers();
    new.retain(|name| !before.contains(name) && !name.contains('/') && ![ORPHAN, FOREGROUND].contains(name));
    new.sort_unstable();
    let advice = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other \
                  finalizer writers";
    new.into_iter()
        .map(|name| format!("metadata.finalizers: {name:?}: {advice}"))
        .collect()
}

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";
/// The built-in groups whose objects may have finalizers of short names.
const SHORT_FINALIZERS: [&str; 3] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
];

/// All annotations of one object together, in bytes.
const MAX_ANNOTATIONS: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wrong(metadata: &Value, old: Option<&Value>) -> Vec<String> {
        let (registry, _) = crate::kinds::builtin::registry();
        let maps = registry.find("", "v1", "configmaps").unwrap();
        let old = old.map(|metadata| json!({"metadata": metadata}));
        let errors = check(maps, &json!({"metadata": metadata}), old.as_ref());
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn owners_are_whole_and_one_of_them_controls() {
        assert_eq!(
            wrong(
                &json!({"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}),
                None
            ),
            ["metadata.ownerReferences.uid: Invalid value: \"\": must not be empty"]
        );
        let owner =
            |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "1", "controller": true});
        let two = wrong(&json!({"name": "a", "ownerReferences": [owner("p"), owner("q")]}), None);
        assert_eq!(two.len(), 1);
        assert!(
            two[0].ends_with("Found \"true\" in references for Pod/p and Pod/q"),
            "{two:?}"
        );
    }

    #[test]
    fn finalizers_say_whose_they_are_and_none_joins_late() {
        let named = |finalizers: &[&str]| json!({"name": "a", "finalizers": finalizers});
        assert!(wrong(&named(&["x.io/a", "orphan"]), None).is_empty());
        assert_eq!(
            wrong(&named(&["mine"]), None),
            [
                "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully \
              qualified"
            ]
        );
        assert_eq!(wrong(&named(&["orphan", "foregroundDeletion"]), None).len(), 1);
        let dying = json!({"name": "a", "finalizers": ["x.io/a"], "deletionTimestamp": "2026-01-01T00:00:00Z"});
        assert_eq!(
            wrong(&named(&["x.io/c", "x.io/a", "x.io/b"]), Some(&dying)),
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
              finalizers []string{\"x.io/b\", \"x.io/c\"}"
            ]
        );
        assert_eq!(
            warnings(&json!({"metadata": named(&["mine", "x.io/a"])}), None).len(),
            1
        );
    }

    #[test]
    fn a_prefix_for_names_must_make_names() {
        assert!(wrong(&json!({"name": "a-x", "generateName": "a-"}), None).is_empty());
        assert_eq!(wrong(&json!({"name": "A-x", "generateName": "A-"}), None).len(), 2);
    }
}

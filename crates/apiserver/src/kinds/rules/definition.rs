//! CustomResourceDefinition.

use serde_json::{Map, Value, json};

use super::{Context, Rules};
use crate::{
    field::FieldError,
    kinds::custom,
    object::{Object as _, child_mut, list_at, set_default, text_at},
    status::Status,
};

#[derive(Debug)]
pub(crate) struct Definitions;

impl Rules for Definitions {
    fn default(&self, object: &mut Value) {
        child_mut(object, "spec");
        let spec = object["spec"].as_object_mut().expect("made above");
        let conversion = spec.entry("conversion").or_insert_with(|| json!({}));
        if let Some(conversion) = conversion.as_object_mut() {
            set_default(conversion, "strategy", "None");
        }
        if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
            let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
            set_default(names, "singular", kind.to_lowercase());
            set_default(names, "listKind", format!("{kind}List"));
        }
    }

    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] =
            json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []});
        note_stored(object);
        Ok(())
    }

    fn update(&self, _old: &Value, new: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        note_stored(new);
        Ok(())
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let spec = &object["spec"];
        let text = |path: &[&str]| text_at(spec, path);
        let mut errors = Vec::new();
        let expected = format!("{}.{}", text(&["names", "plural"]), text(&["group"]));
        if object.name() != expected {
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid("metadata.name", object.name(), detail));
        }
        if !["Cluster", "Namespaced"].contains(&text(&["scope"])) {
            errors.push(FieldError::not_supported(
                "spec.scope",
                text(&["scope"]),
                ["Cluster", "Namespaced"],
            ));
        }
        if text(&["conversion", "strategy"]) != "None" {
            let strategy = text(&["conversion", "strategy"]);
            errors.push(FieldError::not_supported(
                "spec.conversion.strategy",
                strategy,
                ["None"],
            ));
        }
        let versions = list_at(spec, &["versions"]);
        if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
            let detail = "must have exactly one version marked as storage version";
            errors.push(FieldError::invalid("spec.versions", Value::Null, detail));
        }
        for (n, version) in versions.iter().enumerate() {
            errors.extend(wrong_schema(version, n));
        }
        if let Some(old) = old {
            for path in [
                &["spec", "group"][..],
                &["spec", "scope"],
                &["spec", "names", "kind"],
                &["spec", "names", "plural"],
            ] {
                errors.extend(super::immutable(old, object, path));
            }
        }
        errors
    }
}

fn wrong_schema(version: &Value, n: usize) -> Vec<FieldError> {
    let at = format!("spec.versions[{n}].schema.openAPIV3Schema");
    let Some(schema) = version.get("schema").and_then(|schema| schema.get("openAPIV3Schema")) else {
        return vec![FieldError::required(at, "schemas are required")];
    };
    if schema["type"] != "object" {
        return vec![FieldError::invalid(
            format!("{at}.type"),
            schema["type"].clone(),
            "must be object at the root",
        )];
    }
    match custom::schema_and_rules(version, n) {
        Ok((_, wrong_rules)) => wrong_rules,
        Err(error) => vec![FieldError::invalid(error.path, "", error.what)],
    }
}

/// Notes the storage version among those that may still be stored.
fn note_stored(object: &mut Value) {
    let versions = list_at(object, &["spec", "versions"]);
    let storage = versions.iter().find(|version| version["storage"] == true);
    let storage = storage.map(|version| version["name"].clone()).unwrap_or_default();
    let stored = child_mut(object, "status")
        .entry("storedVersions")
        .or_insert_with(|| json!([]));
    if let Some(stored) = stored.as_array_mut().filter(|stored| !stored.contains(&storage)) {
        stored.push(storage);
    }
}

/// The next step of a definition's status towards being established; none when there is nothing left to do.
///
/// The names are accepted first, then the kind is served; a watcher sees both steps.
pub(crate) fn next_status(definition: &Value, now: &str) -> Option<Value> {
    let mut status = definition["status"].clone();
    status["acceptedNames"] = definition["spec"]["names"].clone();
    let is_installed = condition_status(definition, "Established").is_some();
    let message = "the initial names have been accepted";
    set_condition(
        &mut status,
        "NamesAccepted",
        "True",
        "NoConflicts",
        "no conflicts found",
        now,
    );
    if is_installed {
        set_condition(&mut status, "Established", "True", "InitialNamesAccepted", message, now);
    } else {
        set_condition(&mut status, "Established", "False", "Installing", message, now);
    }
    (status != definition["status"]).then_some(status)
}

/// Marks a definition whose objects are about to be deleted.
pub(crate) fn set_terminating(definition: &mut Value, now: &str) {
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    let status = child_mut(definition, "status");
    let mut owned = Value::Object(std::mem::take(status));
    set_condition(
        &mut owned,
        "Terminating",
        "True",
        "InstanceDeletionPending",
        message,
        now,
    );
    definition["status"] = owned;
}

fn condition_status<'a>(definition: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = list_at(definition, &["status", "conditions"]);
    let found = conditions.iter().find(|one| one["type"] == kind)?;
    found["status"].as_str()
}

/// Sets a condition; one that says the same already stays as it is.
fn set_condition(status: &mut Value, kind: &str, state: &str, reason: &str, message: &str, now: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else {
        return;
    };
    let mut condition = Map::new();
    for (field, value) in [
        ("type", kind),
        ("status", state),
        ("lastTransitionTime", now),
        ("reason", reason),
        ("message", message),
    ] {
        condition.insert(field.into(), value.into());
    }
    match conditions.iter_mut().find(|one| one["type"] == kind) {
        Some(known) if known["status"] == state => {}
        Some(known) => *known = condition.into(),
        None => conditions.push(condition.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_established_in_two_steps() {
        let mut definition = json!({"spec": {"names": {"plural": "xs", "kind": "X"},
            "versions": [{"name": "v1", "storage": true}]}});
        definition["status"] = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}});
        note_stored(&mut definition);
        assert_eq!(definition["status"]["storedVersions"], json!(["v1"]));
        definition["status"] = next_status(&definition, "t1").expect("a first step");
        assert_eq!(definition["status"]["acceptedNames"], definition["spec"]["names"]);
        assert_eq!(condition_status(&definition, "Established"), Some("False"));
        definition["status"] = next_status(&definition, "t2").expect("a second step");
        assert_eq!(condition_status(&definition, "Established"), Some("True"));
        assert_eq!(next_status(&definition, "t3"), None);
        definition["spec"]["names"]["shortNames"] = json!(["x"]);
        let renamed = next_status(&definition, "t4").expect("names have changed");
        assert_eq!(renamed["acceptedNames"]["shortNames"], json!(["x"]));
        assert_eq!(renamed["conditions"], definition["status"]["conditions"]);
    }
}

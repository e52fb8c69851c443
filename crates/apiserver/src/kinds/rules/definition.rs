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
            let fixed: &[&[&str]] = &[&["spec", "group"], &["spec", "names", "plural"]];
            // Nothing is stored yet that these would matter to before it is served.
            let fixed_once_served: &[&[&str]] = &[&["spec", "scope"], &["spec", "names", "kind"]];
            let is_served = condition_status(old, "Established") == Some("True");
            let all = fixed.iter().chain(fixed_once_served.iter().filter(|_| is_served));
            errors.extend(all.filter_map(|path| super::immutable(old, object, path)));
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

/// The status of a condition, if the definition has it.
pub(crate) fn condition_status<'a>(definition: &'a Value, kind: &str) -> Option<&'a str> {
    let conditions = list_at(definition, &["status", "conditions"]);
    let found = conditions.iter().find(|one| one["type"] == kind)?;
    found["status"].as_str()
}

/// Sets a condition. Its time is that of the last change of its status.
pub(super) fn set_condition(status: &mut Value, kind: &str, state: &str, reason: &str, message: &str, now: &str) {
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
        Some(known) => {
            if known["status"] == state {
                condition.insert("lastTransitionTime".into(), known["lastTransitionTime"].clone());
            }
            *known = condition.into();
        }
        None => conditions.push(condition.into()),
    }
}

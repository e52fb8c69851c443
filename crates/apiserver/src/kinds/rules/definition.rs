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

    fn create(&self, object: &mut Value, context: &Context<'_>) -> Result<(), Status> {
        establish(object, context.now);
        Ok(())
    }

    fn update(&self, old: &Value, new: &mut Value, context: &Context<'_>) -> Result<(), Status> {
        if old["spec"] != new["spec"] {
            establish(new, context.now);
        }
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

/// Fills the status: names are accepted and served at once.
fn establish(object: &mut Value, now: &str) {
    let names = object["spec"]["names"].clone();
    let versions = list_at(object, &["spec", "versions"]);
    let storage = versions.iter().find(|version| version["storage"] == true);
    let storage = storage.map(|version| version["name"].clone()).unwrap_or_default();
    let status = child_mut(object, "status");
    status.insert("acceptedNames".into(), names);
    let stored = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Some(stored) = stored.as_array_mut().filter(|stored| !stored.contains(&storage)) {
        stored.push(storage);
    }
    let condition = |kind: &str, reason: &str, message: &str| {
        let mut condition = Map::new();
        for (field, value) in [
            ("type", kind),
            ("status", "True"),
            ("lastTransitionTime", now),
            ("reason", reason),
            ("message", message),
        ] {
            condition.insert(field.into(), value.into());
        }
        Value::Object(condition)
    };
    status.entry("conditions").or_insert_with(|| {
        json!([
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                "InitialNamesAccepted",
                "the initial names have been accepted"
            ),
        ])
    });
}

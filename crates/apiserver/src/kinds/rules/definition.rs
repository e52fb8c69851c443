//! CustomResourceDefinition.

use serde_json::{Map, Value, json};

use super::{Context, Rules, structural};
use crate::{
    field::FieldError,
    kinds::{custom, names},
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
        errors.extend(wrong_group(object, text(&["group"]), old));
        if !["", "Cluster", "Namespaced"].contains(&text(&["scope"])) {
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
            errors.extend(wrong_columns(version, n));
        }
        for field in ["plural", "kind"]
            .into_iter()
            .filter(|field| text(&["names", field]).is_empty())
        {
            errors.push(FieldError::required(format!("spec.names.{field}"), ""));
        }
        for (n, stored) in list_at(object, &["status", "storedVersions"]).iter().enumerate() {
            if !versions.iter().any(|version| version["name"] == *stored) {
                let name = stored.as_str().unwrap_or_default();
                let why = format!(
                    "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a \
                     storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
                );
                errors.push(FieldError::invalid(format!("status.storedVersions[{n}]"), name, why));
            }
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

/// A group is a domain, so that nobody else has it; those of Kubernetes need its consent.
fn wrong_group(object: &Value, group: &str, old: Option<&Value>) -> Vec<FieldError> {
    if group.is_empty() {
        return vec![FieldError::required("spec.group", "")];
    }
    let wrong = names::wrong_subdomain(group);
    if !wrong.is_empty() {
        return vec![FieldError::invalid("spec.group", group, wrong.join(","))];
    }
    if !group.contains('.') {
        return vec![FieldError::invalid(
            "spec.group",
            group,
            "should be a domain with at least one dot",
        )];
    }
    let is_kubernetes = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if old.is_some() || !["k8s.io", "kubernetes.io"].into_iter().any(is_kubernetes) {
        return Vec::new();
    }
    let at = format!("metadata.annotations[{APPROVAL}]");
    let approval = text_at(object, &["metadata", "annotations", APPROVAL]);
    let needs = format!("protected groups must have approval annotation {APPROVAL:?}");
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match approval {
        "" => vec![FieldError::required(at, format!("{needs}, {see}"))],
        given if given.starts_with("unapproved") || given.contains("://") => Vec::new(),
        given => {
            let why = format!("{needs} with either a URL or a reason starting with \"unapproved\", {see}");
            vec![FieldError::invalid(at, given, why)]
        }
    }
}

fn wrong_columns(version: &Value, n: usize) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (m, column) in list_at(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let at = |field: &str| format!("spec.versions[{n}].additionalPrinterColumns[{m}].{field}");
        for field in ["name", "type", "jsonPath"] {
            if text_at(column, &[field]).is_empty() {
                errors.push(FieldError::required(at(field), ""));
            }
        }
        let kind = text_at(column, &["type"]);
        let known = ["boolean", "date", "integer", "number", "string"];
        if !kind.is_empty() && !known.contains(&kind) {
            errors.push(FieldError::not_supported(at("type"), kind, known));
        }
    }
    errors
}

fn wrong_schema(version: &Value, n: usize) -> Vec<FieldError> {
    let at = format!("spec.versions[{n}].schema.openAPIV3Schema");
    let Some(schema) = version.get("schema").and_then(|schema| schema.get("openAPIV3Schema")) else {
        return vec![FieldError::required(at, "schemas are required")];
    };
    let wrong = structural::check(schema, &at);
    if !wrong.is_empty() {
        return wrong;
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

/// Says where Kubernetes agreed to a definition in one of its own groups.
const APPROVAL: &str = "api-approved.kubernetes.io";

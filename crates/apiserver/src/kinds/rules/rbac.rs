//! Roles and bindings. Whether the writer may grant what they grant is decided in [`crate::rbac`].

use serde_json::{Value, json};

use super::{NameRule, Rules};
use crate::{
    field::FieldError,
    object::{list_at, set_default, text_at},
};

#[derive(Debug)]
pub(crate) struct Roles;

impl Rules for Roles {
    fn default(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            set_default(map, "rules", Value::Array(Vec::new()));
        }
    }

    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (n, rule) in list_at(object, &["rules"]).iter().enumerate() {
            let has = |field: &str| !list_at(rule, &[field]).is_empty();
            if !has("verbs") {
                errors.push(FieldError::required(
                    format!("rules[{n}].verbs"),
                    "verbs must contain at least one value",
                ));
            }
            if !has("nonResourceURLs") && !has("apiGroups") {
                let detail = "resource rules must supply at least one api group";
                errors.push(FieldError::required(format!("rules[{n}].apiGroups"), detail));
            }
            if !has("nonResourceURLs") && !has("resources") {
                let detail = "resource rules must supply at least one resource";
                errors.push(FieldError::required(format!("rules[{n}].resources"), detail));
            }
        }
        errors
    }

    fn names(&self) -> NameRule {
        NameRule::PathSegment
    }
}

#[derive(Debug)]
pub(crate) struct Bindings;

impl Rules for Bindings {
    fn default(&self, object: &mut Value) {
        if let Some(role) = object.get_mut("roleRef").and_then(Value::as_object_mut) {
            set_default(role, "apiGroup", GROUP);
        }
        let subjects = object.get_mut("subjects").and_then(Value::as_array_mut);
        for subject in subjects.into_iter().flatten().filter_map(Value::as_object_mut) {
            if matches!(subject.get("kind").and_then(Value::as_str), Some("User" | "Group")) {
                set_default(subject, "apiGroup", GROUP);
            }
        }
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(old) = old
            && old["roleRef"] != object["roleRef"]
        {
            let named = |field: &str| text_at(object, &["roleRef", field]);
            let shown = json!({"APIGroup": named("apiGroup"), "Kind": named("kind"), "Name": named("name")});
            errors.push(FieldError::invalid("roleRef", shown, "cannot change roleRef"));
        }
        let kind = text_at(object, &["roleRef", "kind"]);
        if !["Role", "ClusterRole"].contains(&kind) {
            errors.push(FieldError::not_supported("roleRef.kind", kind, ["Role", "ClusterRole"]));
        }
        if text_at(object, &["roleRef", "name"]).is_empty() {
            errors.push(FieldError::required("roleRef.name", ""));
        }
        for (n, subject) in list_at(object, &["subjects"]).iter().enumerate() {
            let kind = text_at(subject, &["kind"]);
            if !["ServiceAccount", "User", "Group"].contains(&kind) {
                let allowed = ["ServiceAccount", "User", "Group"];
                errors.push(FieldError::not_supported(format!("subjects[{n}].kind"), kind, allowed));
            }
            if kind == "ServiceAccount" && text_at(subject, &["namespace"]).is_empty() {
                errors.push(FieldError::required(format!("subjects[{n}].namespace"), ""));
            }
        }
        errors
    }

    fn names(&self) -> NameRule {
        NameRule::PathSegment
    }
}

const GROUP: &str = "rbac.authorization.k8s.io";

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
        let is_namespaced = object["kind"] == "Role";
        let rules = list_at(object, &["rules"]).iter().enumerate();
        rules
            .flat_map(|(n, rule)| wrong_rule(rule, is_namespaced, &format!("rules[{n}]")))
            .collect()
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
        let is_namespaced = object["kind"] == "RoleBinding";
        let role = |field: &str| text_at(object, &["roleRef", field]);
        let known: &[&str] = if is_namespaced {
            &["Role", "ClusterRole"]
        } else {
            &["ClusterRole"]
        };
        if role("apiGroup") != GROUP {
            errors.push(FieldError::not_supported("roleRef.apiGroup", role("apiGroup"), [GROUP]));
        }
        if !known.contains(&role("kind")) {
            let known = known.iter().copied();
            errors.push(FieldError::not_supported("roleRef.kind", role("kind"), known));
        }
        if role("name").is_empty() {
            errors.push(FieldError::required("roleRef.name", ""));
        }
        let wrong = NameRule::PathSegment.wrong(role("name")).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid("roleRef.name", role("name"), why)));
        for (n, subject) in list_at(object, &["subjects"]).iter().enumerate() {
            errors.extend(wrong_subject(subject, is_namespaced, &format!("subjects[{n}]")));
        }
        if let Some(old) = old
            && old["roleRef"] != object["roleRef"]
        {
            let shown = json!({"APIGroup": role("apiGroup"), "Kind": role("kind"), "Name": role("name")});
            errors.push(FieldError::invalid("roleRef", shown, "cannot change roleRef"));
        }
        errors
    }

    fn names(&self) -> NameRule {
        NameRule::PathSegment
    }
}

fn wrong_rule(rule: &Value, is_namespaced: bool, at: &str) -> Vec<FieldError> {
    let has = |field: &str| !list_at(rule, &[field]).is_empty();
    let mut errors = Vec::new();
    if !has("verbs") {
        let why = "verbs must contain at least one value";
        errors.push(FieldError::required(format!("{at}.verbs"), why));
    }
    if has("nonResourceURLs") {
        let mut wrong = |why: &str| {
            let given = rule["nonResourceURLs"].clone();
            errors.push(FieldError::invalid(format!("{at}.nonResourceURLs"), given, why));
        };
        if is_namespaced {
            wrong("namespaced rules cannot apply to non-resource URLs");
        }
        if has("apiGroups") || has("resources") || has("resourceNames") {
            wrong("rules cannot apply to both regular resources and non-resource URLs");
        }
        return errors;
    }
    for (field, what) in [("apiGroups", "api group"), ("resources", "resource")] {
        if !has(field) {
            let why = format!("resource rules must supply at least one {what}");
            errors.push(FieldError::required(format!("{at}.{field}"), why));
        }
    }
    errors
}

fn wrong_subject(subject: &Value, is_namespaced: bool, at: &str) -> Vec<FieldError> {
    let text = |field: &str| text_at(subject, &[field]);
    let mut errors = Vec::new();
    if text("name").is_empty() {
        errors.push(FieldError::required(format!("{at}.name"), ""));
    }
    let mut group = |wanted| {
        if text("apiGroup") != wanted {
            errors.push(FieldError::not_supported(
                format!("{at}.apiGroup"),
                text("apiGroup"),
                [wanted],
            ));
        }
    };
    match text("kind") {
        "ServiceAccount" => {
            group("");
            if !text("name").is_empty() {
                let wrong = NameRule::Subdomain.wrong(text("name")).into_iter();
                errors.extend(wrong.map(|why| FieldError::invalid(format!("{at}.name"), text("name"), why)));
            }
            if !is_namespaced && text("namespace").is_empty() {
                errors.push(FieldError::required(format!("{at}.namespace"), ""));
            }
        }
        "User" | "Group" => group(GROUP),
        other => {
            let known = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(format!("{at}.kind"), other, known));
        }
    }
    errors
}

const GROUP: &str = "rbac.authorization.k8s.io";

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_are_about_resources_or_about_paths() {
        let wrong = |kind: &str, rule: Value| texts(&Roles.validate(&json!({"kind": kind, "rules": [rule]}), None));
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz"]});
        assert!(wrong("ClusterRole", paths.clone()).is_empty());
        assert_eq!(
            wrong("Role", paths),
            [
                "rules[0].nonResourceURLs: Invalid value: [\"/healthz\"]: namespaced rules cannot apply to non-resource URLs"
            ]
        );
        assert_eq!(wrong("Role", json!({})).len(), 3);
        let both = json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]});
        assert_eq!(wrong("ClusterRole", both).len(), 1);
    }

    #[test]
    fn subjects_are_whom_a_binding_can_mean() {
        let wrong = |kind: &str, subject: Value| {
            let role = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"});
            let mut binding = json!({"kind": kind, "roleRef": role, "subjects": [subject]});
            Bindings.default(&mut binding);
            texts(&Bindings.validate(&binding, None))
        };
        let account = json!({"kind": "ServiceAccount", "name": "robot"});
        assert!(wrong("RoleBinding", account.clone()).is_empty());
        assert_eq!(
            wrong("ClusterRoleBinding", account),
            ["subjects[0].namespace: Required value"]
        );
        assert!(wrong("RoleBinding", json!({"kind": "User", "name": "a b"})).is_empty());
        assert_eq!(wrong("RoleBinding", json!({"kind": "Robot", "name": "x"})).len(), 1);
        assert_eq!(wrong("RoleBinding", json!({"kind": "User"})).len(), 1);
    }
}

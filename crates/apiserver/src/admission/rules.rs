//! Defaults and checks of policies and bindings themselves.

use serde_json::{Map, Value, json};

use super::policy::compile;
use crate::{
    field::FieldError,
    kinds::rules::{Context, Rules},
    object::{child_mut, list_at, set_default, strings_at, text_at},
    status::Status,
};

/// ValidatingAdmissionPolicy.
#[derive(Debug)]
pub(crate) struct PolicyRules;

/// ValidatingAdmissionPolicyBinding.
#[derive(Debug)]
pub(crate) struct BindingRules;

impl Rules for PolicyRules {
    fn default(&self, object: &mut Value) {
        let spec = child_mut(object, "spec");
        if let Some(matching) = spec.get_mut("matchConstraints").and_then(Value::as_object_mut) {
            default_matching(matching);
        }
        set_default(spec, "failurePolicy", "Fail");
    }

    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({});
        Ok(())
    }

    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        let failure = text_at(spec, &["failurePolicy"]);
        if !["Fail", "Ignore"].contains(&failure) {
            errors.push(FieldError::not_supported(
                "spec.failurePolicy",
                failure,
                ["Fail", "Ignore"],
            ));
        }
        match spec.get("matchConstraints") {
            Some(matching) if !list_at(matching, &["resourceRules"]).is_empty() => {
                errors.extend(wrong_matching(matching, "spec.matchConstraints"));
            }
            Some(_) => errors.push(FieldError::required("spec.matchConstraints.resourceRules", "")),
            None => errors.push(FieldError::required("spec.matchConstraints", "")),
        }
        for field in ["matchConditions", "variables"] {
            for (n, one) in list_at(spec, &[field]).iter().enumerate() {
                let at = format!("spec.{field}[{n}]");
                if text_at(one, &["name"]).is_empty() {
                    errors.push(FieldError::required(format!("{at}.name"), ""));
                }
                errors.extend(wrong_expression(one, "expression", &at, true));
            }
        }
        let validations = list_at(spec, &["validations"]);
        if validations.is_empty() && list_at(spec, &["auditAnnotations"]).is_empty() {
            let detail = "validations or auditAnnotations must contain at least one item";
            errors.push(FieldError::required("spec.validations", detail));
        }
        for (n, one) in validations.iter().enumerate() {
            let at = format!("spec.validations[{n}]");
            errors.extend(wrong_expression(one, "expression", &at, true));
            errors.extend(wrong_expression(one, "messageExpression", &at, false));
            errors.extend(wrong_message(one, &at));
            let reason = text_at(one, &["reason"]);
            if !reason.is_empty() && !REASONS.contains(&reason) {
                errors.push(FieldError::not_supported(format!("{at}.reason"), reason, REASONS));
            }
        }
        errors
    }
}

impl Rules for BindingRules {
    fn default(&self, object: &mut Value) {
        let spec = child_mut(object, "spec");
        if let Some(matching) = spec.get_mut("matchResources").and_then(Value::as_object_mut) {
            default_matching(matching);
        }
    }

    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        if text_at(spec, &["policyName"]).is_empty() {
            errors.push(FieldError::required("spec.policyName", ""));
        }
        if let Some(matching) = spec.get("matchResources") {
            errors.extend(wrong_matching(matching, "spec.matchResources"));
        }
        if let Some(params) = spec.get("paramRef") {
            let named = !text_at(params, &["name"]).is_empty();
            if named == params.get("selector").is_some() {
                let detail = "one of name or selector must be specified";
                errors.push(if named {
                    FieldError::forbidden("spec.paramRef.name", "name and selector are mutually exclusive")
                } else {
                    FieldError::required("spec.paramRef", detail)
                });
            }
            let missing = text_at(params, &["parameterNotFoundAction"]);
            if missing.is_empty() {
                errors.push(FieldError::required("spec.paramRef.parameterNotFoundAction", ""));
            } else if !["Allow", "Deny"].contains(&missing) {
                let field = "spec.paramRef.parameterNotFoundAction";
                errors.push(FieldError::not_supported(field, missing, ["Deny", "Allow"]));
            }
        }
        let actions = strings_at(spec, &["validationActions"]);
        if actions.is_empty() {
            errors.push(FieldError::required("spec.validationActions", ""));
        }
        for (n, action) in actions.iter().enumerate() {
            let field = format!("spec.validationActions[{n}]");
            if !ACTIONS.contains(action) {
                errors.push(FieldError::not_supported(field, *action, ACTIONS));
            } else if actions[..n].contains(action) {
                errors.push(FieldError::duplicate(field, *action));
            }
        }
        if actions.contains(&"Deny") && actions.contains(&"Warn") {
            let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API \
                          response and headers serves no purpose)";
            errors.push(FieldError::invalid(
                "spec.validationActions",
                spec["validationActions"].clone(),
                detail,
            ));
        }
        errors
    }
}

fn default_matching(matching: &mut Map<String, Value>) {
    for selector in ["namespaceSelector", "objectSelector"] {
        matching.entry(selector).or_insert_with(|| json!({}));
    }
    set_default(matching, "matchPolicy", "Equivalent");
    for field in ["resourceRules", "excludeResourceRules"] {
        let rules = matching.get_mut(field).and_then(Value::as_array_mut);
        for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
            set_default(rule, "scope", "*");
        }
    }
}

fn wrong_matching(matching: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let policy = text_at(matching, &["matchPolicy"]);
    if !["Exact", "Equivalent"].contains(&policy) {
        let field = format!("{path}.matchPolicy");
        errors.push(FieldError::not_supported(field, policy, ["Equivalent", "Exact"]));
    }
    for list in ["resourceRules", "excludeResourceRules"] {
        for (n, rule) in list_at(matching, &[list]).iter().enumerate() {
            let at = format!("{path}.{list}[{n}]");
            for field in ["operations", "apiGroups", "apiVersions", "resources"] {
                let values = strings_at(rule, &[field]);
                if values.is_empty() {
                    errors.push(FieldError::required(format!("{at}.{field}"), ""));
                }
                if field != "resources" && values.len() > 1 && values.contains(&"*") {
                    let detail = "if '*' is present, must not specify other values";
                    errors.push(FieldError::invalid(
                        format!("{at}.{field}"),
                        rule[field].clone(),
                        detail,
                    ));
                }
            }
            for (m, operation) in strings_at(rule, &["operations"]).iter().enumerate() {
                if !OPERATIONS.contains(operation) {
                    errors.push(FieldError::not_supported(
                        format!("{at}.operations[{m}]"),
                        *operation,
                        OPERATIONS,
                    ));
                }
            }
            let scope = text_at(rule, &["scope"]);
            if !SCOPES.contains(&scope) {
                errors.push(FieldError::not_supported(format!("{at}.scope"), scope, SCOPES));
            }
        }
    }
    errors
}

fn wrong_expression(one: &Value, field: &str, at: &str, is_required: bool) -> Option<FieldError> {
    let source = text_at(one, &[field]);
    let path = format!("{at}.{field}");
    if source.trim().is_empty() {
        return is_required.then(|| FieldError::required(path, format!("{field} is not specified")));
    }
    compile(source.trim())
        .err()
        .map(|why| FieldError::invalid(path, source, why))
}

fn wrong_message(one: &Value, at: &str) -> Option<FieldError> {
    let (message, expression) = (text_at(one, &["message"]), text_at(one, &["expression"]).trim());
    let path = format!("{at}.message");
    if !message.is_empty() && message.trim().is_empty() {
        return Some(FieldError::invalid(
            path,
            message,
            "message must be non-empty if specified",
        ));
    }
    if message.trim().contains('\n') {
        return Some(FieldError::invalid(
            path,
            message,
            "message must not contain line breaks",
        ));
    }
    (expression.contains('\n') && message.is_empty())
        .then(|| FieldError::required(path, "message must be specified if expression contains line breaks"))
}

const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const REASONS: [&str; 4] = ["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
const SCOPES: [&str; 3] = ["*", "Cluster", "Namespaced"];

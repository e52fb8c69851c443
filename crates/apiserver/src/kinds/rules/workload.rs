//! Deployment, ReplicaSet and DaemonSet.

use serde_json::{Value, json};

use super::{Context, Rules, conditions, containers, immutable, pod, selectors};
use crate::{
    field::FieldError,
    object::{child_mut, list_at, set_default, text_at},
    selector::LabelSelector,
    status::Status,
};

#[derive(Debug)]
pub(crate) struct Deployments;

impl Rules for Deployments {
    fn default(&self, object: &mut Value) {
        template(object);
        let spec = child_mut(object, "spec");
        set_default(spec, "replicas", 1);
        set_default(spec, "revisionHistoryLimit", 10);
        set_default(spec, "progressDeadlineSeconds", 600);
        let strategy = spec.entry("strategy").or_insert_with(|| json!({}));
        rolling(strategy, json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
    }

    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({});
        Ok(())
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        checked(object, old)
    }
}

#[derive(Debug)]
pub(crate) struct DaemonSets;

impl Rules for DaemonSets {
    fn default(&self, object: &mut Value) {
        template(object);
        let spec = child_mut(object, "spec");
        set_default(spec, "revisionHistoryLimit", 10);
        let strategy = spec.entry("updateStrategy").or_insert_with(|| json!({}));
        rolling(strategy, json!({"maxUnavailable": 1, "maxSurge": 0}));
    }

    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0,
            "numberReady": 0});
        Ok(())
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        checked(object, old)
    }
}

#[derive(Debug)]
pub(crate) struct ReplicaSets;

impl Rules for ReplicaSets {
    fn default(&self, object: &mut Value) {
        template(object);
        set_default(child_mut(object, "spec"), "replicas", 1);
    }

    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({"replicas": 0});
        Ok(())
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        checked(object, old)
    }
}

pub(super) fn template(object: &mut Value) {
    let times: &[&str] = match object["kind"].as_str() {
        Some("Deployment") => &["lastUpdateTime", "lastTransitionTime"],
        _ => &["lastTransitionTime"],
    };
    conditions(object, times);
    child_mut(object, "spec");
    let template = child_mut(&mut object["spec"], "template");
    let spec = template.entry("spec").or_insert_with(|| json!({}));
    pod::default_spec(spec);
}

pub(super) fn rolling(strategy: &mut Value, parameters: Value) {
    let Some(strategy) = strategy.as_object_mut() else {
        return;
    };
    set_default(strategy, "type", "RollingUpdate");
    if strategy["type"] != "RollingUpdate" {
        return;
    }
    let rolling = strategy.entry("rollingUpdate").or_insert_with(|| json!({}));
    if let (Some(rolling), Value::Object(parameters)) = (rolling.as_object_mut(), parameters) {
        for (name, value) in parameters {
            set_default(rolling, &name, value);
        }
    }
}

pub(super) fn checked(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let spec = &object["spec"];
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        if let Some(count) = spec[field].as_i64().filter(|count| *count < 0) {
            let why = "must be greater than or equal to 0";
            errors.push(FieldError::invalid(format!("spec.{field}"), count, why));
        }
    }
    errors.extend(selectors::check(&spec["selector"], "spec.selector"));
    let (selector, labels) = (&spec["selector"], &spec["template"]["metadata"]["labels"]);
    let selects = |field: &str| selector[field].as_object().is_some_and(|map| !map.is_empty());
    if selector.is_object() && !selects("matchLabels") && list_at(selector, &["matchExpressions"]).is_empty() {
        let kind = match text_at(object, &["kind"]) {
            // The real server takes one of these for the other.
            "ReplicaSet" => "deployment".to_owned(),
            kind => kind.to_lowercase(),
        };
        let why = format!("empty selector is invalid for {kind}");
        errors.push(FieldError::invalid("spec.selector", selector.clone(), why));
    } else if selector.is_object() && !LabelSelector::from_object(selector).matches(labels.as_object()) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid(
            "spec.template.metadata.labels",
            labels.clone(),
            why,
        ));
    }
    // A StatefulSet's pods have volumes that their template does not name.
    if object["kind"] != "StatefulSet" {
        errors.extend(containers::check(&spec["template"]["spec"], "spec.template.spec"));
    }
    let policy = text_at(spec, &["template", "spec", "restartPolicy"]);
    if ["OnFailure", "Never"].contains(&policy) {
        let at = "spec.template.spec.restartPolicy";
        errors.push(FieldError::not_supported(at, policy, ["Always"]));
    }
    if let Some(old) = old {
        errors.extend(immutable(old, object, &["spec", "selector"]));
    }
    errors
}

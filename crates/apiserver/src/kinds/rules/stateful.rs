//! StatefulSet.

use serde_json::{Value, json};

use super::{Context, Rules, workload};
use crate::{
    field::FieldError,
    object::{child_mut, set_default, text_at, without},
    status::Status,
};

#[derive(Debug)]
pub(crate) struct StatefulSets;

impl Rules for StatefulSets {
    fn default(&self, object: &mut Value) {
        workload::template(object);
        let spec = child_mut(object, "spec");
        set_default(spec, "replicas", 1);
        set_default(spec, "serviceName", "");
        set_default(spec, "podManagementPolicy", "OrderedReady");
        set_default(spec, "revisionHistoryLimit", 10);
        let strategy = spec.entry("updateStrategy").or_insert_with(|| json!({}));
        workload::rolling(strategy, json!({"partition": 0}));
        let kept = spec
            .entry("persistentVolumeClaimRetentionPolicy")
            .or_insert_with(|| json!({}));
        if let Some(kept) = kept.as_object_mut() {
            set_default(kept, "whenDeleted", "Retain");
            set_default(kept, "whenScaled", "Retain");
        }
        let claims = spec.get_mut("volumeClaimTemplates").and_then(Value::as_array_mut);
        claims.into_iter().flatten().for_each(claim);
    }

    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({"replicas": 0, "availableReplicas": 0});
        Ok(())
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = workload::checked(object, old);
        let policy = text_at(object, &["spec", "podManagementPolicy"]);
        if !["OrderedReady", "Parallel"].contains(&policy) {
            let detail = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid("spec.podManagementPolicy", policy, detail));
        }
        let fixed = |object: &Value| without(&object["spec"], &CHANGEABLE);
        if old.is_some_and(|old| fixed(old) != fixed(object)) {
            errors.retain(|error| !error.field.starts_with("spec.selector"));
            errors.push(FieldError::forbidden("spec", FIXED));
        }
        errors
    }
}

/// A claim that is made for each pod, which is written like a whole object.
fn claim(claim: &mut Value) {
    if let Some(claim) = claim.as_object_mut() {
        set_default(claim, "kind", "PersistentVolumeClaim");
        set_default(claim, "apiVersion", "v1");
    }
    set_default(child_mut(claim, "spec"), "volumeMode", "Filesystem");
    set_default(child_mut(claim, "status"), "phase", "Pending");
}

/// What an update may change.
const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];
const FIXED: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
    'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> Value {
        let template =
            json!({"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut set = json!({"kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {"template": template,
            "selector": {"matchLabels": {"app": "db"}}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        StatefulSets.default(&mut set);
        set
    }

    #[test]
    fn what_is_left_out_is_filled_in() {
        let set = set();
        let spec = &set["spec"];
        assert_eq!(
            (&spec["replicas"], &spec["podManagementPolicy"]),
            (&json!(1), &json!("OrderedReady"))
        );
        assert_eq!(
            spec["updateStrategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}})
        );
        assert_eq!(spec["volumeClaimTemplates"][0]["spec"]["volumeMode"], "Filesystem");
        let mut again = set.clone();
        StatefulSets.default(&mut again);
        assert_eq!(again, set);
        assert_eq!(StatefulSets.validate(&set, None), []);
    }

    #[test]
    fn only_some_fields_change() {
        let old = set();
        let mut new = set();
        new["spec"]["replicas"] = json!(5);
        assert_eq!(StatefulSets.validate(&new, Some(&old)), []);
        new["spec"]["serviceName"] = json!("other");
        let errors = StatefulSets.validate(&new, Some(&old));
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            errors[0]
                .to_string()
                .starts_with("spec: Forbidden: updates to statefulset spec")
        );
    }
}

//! PodDisruptionBudget. Nobody computes its status here; a controller may, and evictions heed it.

use serde_json::{Value, json};

use super::{Context, Rules};
use crate::{field::FieldError, object::text_at, status::Status};

#[derive(Debug)]
pub(crate) struct DisruptionBudgets;

impl Rules for DisruptionBudgets {
    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] =
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0});
        Ok(())
    }

    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let spec = &object["spec"];
        let mut errors = Vec::new();
        let stated = |field: &str| spec.get(field).filter(|value| !value.is_null());
        if stated("minAvailable").is_some() && stated("maxUnavailable").is_some() {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid("spec", spec.clone(), detail));
        }
        for field in ["minAvailable", "maxUnavailable"] {
            if let Some((value, detail)) = stated(field).and_then(|value| Some((value, wrong_amount(value)?))) {
                errors.push(FieldError::invalid(format!("spec.{field}"), value.clone(), detail));
            }
        }
        let policy = text_at(spec, &["unhealthyPodEvictionPolicy"]);
        let known = ["AlwaysAllow", "IfHealthyBudget"];
        if !policy.is_empty() && !known.contains(&policy) {
            errors.push(FieldError::not_supported(
                "spec.unhealthyPodEvictionPolicy",
                policy,
                known,
            ));
        }
        errors
    }
}

/// What is wrong with a number of pods, or a share of them.
fn wrong_amount(value: &Value) -> Option<&'static str> {
    let Some(text) = value.as_str() else {
        let is_negative = value.as_i64().is_some_and(|number| number < 0);
        return is_negative.then_some("must be greater than or equal to 0");
    };
    let digits = text.strip_suffix('%').unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
             validation is '[0-9]+%')",
        );
    }
    let is_too_much = digits.parse::<u32>().map_or(true, |share| share > 100);
    is_too_much.then_some("must not be greater than 100%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_that_cannot_be_are_refused() {
        let wrong = |spec: Value| {
            let errors = DisruptionBudgets.validate(&json!({"spec": spec}), None);
            errors.into_iter().map(|error| error.field).collect::<Vec<_>>()
        };
        for good in [
            json!({}),
            json!({"minAvailable": 0}),
            json!({"maxUnavailable": "100%"}),
            json!({"minAvailable": "0%"}),
        ] {
            assert_eq!(wrong(good.clone()), [""; 0], "{good}");
        }
        assert_eq!(wrong(json!({"minAvailable": 1, "maxUnavailable": 1})), ["spec"]);
        for bad in [json!(-1), json!("101%"), json!("many"), json!("%"), json!("5")] {
            assert_eq!(wrong(json!({"minAvailable": bad})), ["spec.minAvailable"], "{bad}");
        }
        assert_eq!(
            wrong(json!({"unhealthyPodEvictionPolicy": "Never"})),
            ["spec.unhealthyPodEvictionPolicy"]
        );
    }
}

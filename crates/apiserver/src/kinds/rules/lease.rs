//! Lease.

use serde_json::Value;

use super::Rules;
use crate::field::FieldError;

#[derive(Debug)]
pub(crate) struct Leases;

impl Rules for Leases {
    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if let Some(seconds) = object["spec"]["leaseDurationSeconds"]
            .as_i64()
            .filter(|seconds| *seconds <= 0)
        {
            errors.push(FieldError::invalid(
                "spec.leaseDurationSeconds",
                seconds,
                "must be greater than 0",
            ));
        }
        if let Some(count) = object["spec"]["leaseTransitions"].as_i64().filter(|count| *count < 0) {
            errors.push(FieldError::invalid(
                "spec.leaseTransitions",
                count,
                "must be greater than or equal to 0",
            ));
        }
        errors
    }
}

//! Node.

use serde_json::{Value, json};

use super::Rules;
use crate::{field::FieldError, object::text_at};

#[derive(Debug)]
pub(crate) struct Nodes;

impl Rules for Nodes {
    /// `podCIDR` is the first of `podCIDRs`.
    fn default(&self, object: &mut Value) {
        let one = text_at(object, &["spec", "podCIDR"]).to_owned();
        let first = object["spec"]["podCIDRs"][0].as_str().unwrap_or_default().to_owned();
        if !one.is_empty() && first.is_empty() {
            object["spec"]["podCIDRs"] = json!([one]);
        } else if one.is_empty() && !first.is_empty() {
            object["spec"]["podCIDR"] = first.into();
        }
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let before = old.map(|old| &old["spec"]["podCIDRs"]).filter(|cidrs| !cidrs.is_null());
        match before {
            Some(before) if *before != object["spec"]["podCIDRs"] => {
                vec![FieldError::forbidden(
                    "spec.podCIDRs",
                    "node updates may not change podCIDR except from \"\" to valid",
                )]
            }
            _ => Vec::new(),
        }
    }
}

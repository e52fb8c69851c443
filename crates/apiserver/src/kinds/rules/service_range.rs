//! ServiceCIDR. The server takes addresses from the ranges that it was started with; further ones are kept, not used.

use ipnet::IpNet;
use serde_json::Value;

use super::{Rules, immutable};
use crate::{
    field::FieldError,
    object::{list_at, set_default, strings_at},
};

#[derive(Debug)]
pub(crate) struct ServiceRanges;

impl Rules for ServiceRanges {
    /// These conditions have a reason and a message even when they are empty.
    fn default(&self, object: &mut Value) {
        let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten().filter_map(Value::as_object_mut) {
            set_default(condition, "reason", "");
            set_default(condition, "message", "");
        }
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        if let Some(old) = old {
            return immutable(old, object, &["spec", "cidrs"]).into_iter().collect();
        }
        let ranges = strings_at(object, &["spec", "cidrs"]);
        if !(1..=2).contains(&ranges.len()) {
            let why = "must specify one or two CIDRs, one of each IP family";
            let given = list_at(object, &["spec", "cidrs"]).to_vec();
            return vec![FieldError::invalid("spec.cidrs", given, why)];
        }
        let mut errors = Vec::new();
        let mut families = Vec::new();
        for (n, range) in ranges.into_iter().enumerate() {
            let at = format!("spec.cidrs[{n}]");
            match range.parse::<IpNet>() {
                Err(_) => {
                    let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                    errors.push(FieldError::invalid(at, range, why));
                }
                Ok(net) if net.trunc() != net => {
                    let why = format!(
                        "must not have bits set beyond the prefix length (e.g. {:?})",
                        net.trunc().to_string()
                    );
                    errors.push(FieldError::invalid(at, range, why));
                }
                Ok(net) if families.contains(&net.addr().is_ipv4()) => {
                    errors.push(FieldError::invalid(at, range, "must be of the other IP family"));
                }
                Ok(net) => families.push(net.addr().is_ipv4()),
            }
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranges_are_one_of_each_family_and_stay() {
        let of = |ranges: Value| json!({"spec": {"cidrs": ranges}});
        for good in [json!(["10.0.0.0/16"]), json!(["10.0.0.0/16", "2001:db8::/112"])] {
            assert!(ServiceRanges.validate(&of(good), None).is_empty());
        }
        for bad in [
            json!([]),
            json!(["x"]),
            json!(["10.0.0.1/16"]),
            json!(["10.0.0.0/16", "10.1.0.0/16"]),
        ] {
            assert_eq!(ServiceRanges.validate(&of(bad), None).len(), 1);
        }
        let (old, new) = (of(json!(["10.0.0.0/16"])), of(json!(["10.1.0.0/16"])));
        assert_eq!(ServiceRanges.validate(&new, Some(&old)).len(), 1);
    }
}

//! NetworkPolicy.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Rules, selectors};
use crate::{
    field::FieldError,
    object::{child_mut, list_at, set_default, text_at},
};

#[derive(Debug)]
pub(crate) struct NetworkPolicies;

impl Rules for NetworkPolicies {
    /// A policy is for ingress, and for egress too if it says anything about that.
    fn default(&self, object: &mut Value) {
        let has_egress = !list_at(object, &["spec", "egress"]).is_empty();
        let spec = child_mut(object, "spec");
        let types = if has_egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        };
        if spec
            .get("policyTypes")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty)
        {
            spec.insert("policyTypes".into(), types);
        }
        set_default(spec, "podSelector", json!({}));
    }

    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = selectors::check(&object["spec"]["podSelector"], "spec.podSelector");
        for (direction, side) in [("ingress", "from"), ("egress", "to")] {
            for (n, rule) in list_at(object, &["spec", direction]).iter().enumerate() {
                let at = format!("spec.{direction}[{n}]");
                for (m, port) in list_at(rule, &["ports"]).iter().enumerate() {
                    errors.extend(wrong_port(port, &format!("{at}.ports[{m}]")));
                }
                for (m, peer) in list_at(rule, &[side]).iter().enumerate() {
                    errors.extend(wrong_peer(peer, &format!("{at}.{side}[{m}]")));
                }
            }
        }
        let types = list_at(object, &["spec", "policyTypes"]);
        if types.len() > 2 {
            let why = "may not specify more than two policyTypes";
            errors.push(FieldError::invalid("spec.policyTypes", json!(types), why));
        }
        for (n, kind) in types.iter().enumerate() {
            if kind != "Ingress" && kind != "Egress" {
                let at = format!("spec.policyTypes[{n}]");
                errors.push(FieldError::not_supported(at, kind.clone(), ["Egress", "Ingress"]));
            }
        }
        errors
    }
}

fn wrong_port(port: &Value, at: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let protocol = text_at(port, &["protocol"]);
    if !["", "TCP", "UDP", "SCTP"].contains(&protocol) {
        errors.push(FieldError::not_supported(
            format!("{at}.protocol"),
            protocol,
            ["SCTP", "TCP", "UDP"],
        ));
    }
    let number = port["port"].as_i64();
    if let Some(wrong) = number.filter(|number| !(1..=65_535).contains(number)) {
        errors.push(FieldError::invalid(
            format!("{at}.port"),
            wrong,
            "must be between 1 and 65535, inclusive",
        ));
    }
    if let Some(end) = port["endPort"].as_i64() {
        let why = match number {
            None => "may not be specified when `port` is non-numeric",
            Some(number) if end < number => "must be greater than or equal to `port`",
            _ => return errors,
        };
        errors.push(FieldError::invalid(format!("{at}.endPort"), end, why));
    }
    errors
}

fn wrong_peer(peer: &Value, at: &str) -> Vec<FieldError> {
    let block = &peer["ipBlock"];
    let fields = ["podSelector", "namespaceSelector"];
    let selects = fields.iter().any(|field| peer[field].is_object());
    if !block.is_object() {
        return match selects {
            true => {
                let wrong = |field| selectors::check(&peer[field], &format!("{at}.{field}"));
                fields.into_iter().flat_map(wrong).collect()
            }
            false => vec![FieldError::required(at, "must specify a peer")],
        };
    }
    if selects {
        return vec![FieldError::forbidden(
            at,
            "may not specify both ipBlock and another peer",
        )];
    }
    let at = format!("{at}.ipBlock");
    let cidr = text_at(block, &["cidr"]);
    if cidr.is_empty() {
        return vec![FieldError::required(format!("{at}.cidr"), "")];
    }
    let Ok(outer) = cidr.parse::<IpNet>() else {
        return vec![FieldError::invalid(format!("{at}.cidr"), cidr, NOT_A_PREFIX)];
    };
    let mut errors = Vec::new();
    for (n, except) in list_at(block, &["except"]).iter().enumerate() {
        let text = except.as_str().unwrap_or_default();
        let why = match text.parse::<IpNet>() {
            Err(_) => NOT_A_PREFIX,
            Ok(inner) if outer.contains(&inner) && outer.prefix_len() < inner.prefix_len() => continue,
            Ok(_) => "must be a strict subset of `cidr`",
        };
        errors.push(FieldError::invalid(format!("{at}.except[{n}]"), text, why));
    }
    errors
}

const NOT_A_PREFIX: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(peer: &Value) -> Vec<String> {
        wrong_peer(peer, "p").iter().map(ToString::to_string).collect()
    }

    #[test]
    fn exceptions_lie_within_their_block() {
        let block = |except: &str| json!({"ipBlock": {"cidr": "10.0.0.0/8", "except": [except]}});
        assert!(wrong(&block("10.1.0.0/16")).is_empty());
        for except in ["11.1.0.0/16", "10.0.0.0/8", "2001:db8::/64", "x"] {
            assert_eq!(wrong(&block(except)).len(), 1, "{except}");
        }
        assert_eq!(wrong(&json!({})), ["p: Required value: must specify a peer"]);
        assert_eq!(
            wrong(&json!({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}})).len(),
            1
        );
    }

    #[test]
    fn directions_follow_from_the_rules() {
        let mut policy = json!({"spec": {"egress": [{}]}});
        NetworkPolicies.default(&mut policy);
        assert_eq!(
            policy["spec"],
            json!({"egress": [{}], "policyTypes": ["Ingress", "Egress"], "podSelector": {}})
        );
    }

    #[test]
    fn a_range_of_ports_does_not_run_backwards() {
        assert!(wrong_port(&json!({"port": 80, "endPort": 90}), "p").is_empty());
        assert_eq!(wrong_port(&json!({"port": 80, "endPort": 79}), "p").len(), 1);
        assert_eq!(wrong_port(&json!({"port": "http", "endPort": 79}), "p").len(), 1);
        assert_eq!(wrong_port(&json!({"port": 0, "protocol": "ICMP"}), "p").len(), 2);
    }
}

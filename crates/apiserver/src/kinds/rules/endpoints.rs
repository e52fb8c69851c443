//! EndpointSlice, and the older Endpoints.

use std::net::IpAddr;

use serde_json::Value;

use super::{Rules, immutable};
use crate::{
    field::FieldError,
    object::{list_at, set_default, strings_at, text_at},
};

#[derive(Debug)]
pub(crate) struct EndpointSlices;

impl Rules for EndpointSlices {
    fn default(&self, object: &mut Value) {
        let ports = object.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            set_default(port, "name", "");
            set_default(port, "protocol", "TCP");
        }
        // Go writes an empty list as null here, and so do we.
        if list_at(object, &["endpoints"]).is_empty() && object.is_object() {
            object["endpoints"] = Value::Null;
        }
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut seen = Vec::new();
        for (n, port) in list_at(object, &["ports"]).iter().enumerate() {
            let name = text_at(port, &["name"]);
            if seen.contains(&name) {
                errors.push(FieldError::duplicate(format!("ports[{n}].name"), name));
            }
            seen.push(name);
        }
        let family = text_at(object, &["addressType"]);
        if family.is_empty() {
            errors.push(FieldError::required("addressType", ""));
        } else if !["IPv4", "IPv6", "FQDN"].contains(&family) {
            errors.push(FieldError::not_supported(
                "addressType",
                family,
                ["FQDN", "IPv4", "IPv6"],
            ));
        }
        // What was let in once is not looked at again.
        if old.is_none_or(|old| old["endpoints"] != object["endpoints"]) {
            errors.extend(wrong_endpoints(object, family));
        }
        if let Some(old) = old {
            errors.extend(immutable(old, object, &["addressType"]));
        }
        errors
    }
}

/// The older kind: addresses and ports in subsets.
#[derive(Debug)]
pub(crate) struct Endpoints;

impl Rules for Endpoints {
    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if old.is_some_and(|old| old["subsets"] == object["subsets"]) {
            return errors;
        }
        for (n, subset) in list_at(object, &["subsets"]).iter().enumerate() {
            let both = ["addresses", "notReadyAddresses"];
            if both.iter().all(|field| list_at(subset, &[field]).is_empty()) {
                let why = "must specify `addresses` or `notReadyAddresses`";
                errors.push(FieldError::required(format!("subsets[{n}]"), why));
            }
            for field in both {
                for (m, address) in list_at(subset, &[field]).iter().enumerate() {
                    let ip = text_at(address, &["ip"]);
                    let family = if ip.contains(':') { "IPv6" } else { "IPv4" };
                    let at = format!("subsets[{n}].{field}[{m}].ip");
                    errors.extend(wrong_address(family, ip).map(|why| FieldError::invalid(at, ip, why)));
                }
            }
        }
        errors
    }
}

fn wrong_endpoints(object: &Value, family: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (n, endpoint) in list_at(object, &["endpoints"]).iter().enumerate() {
        let addresses = strings_at(endpoint, &["addresses"]);
        if addresses.is_empty() {
            let detail = "must contain at least 1 item";
            errors.push(FieldError::required(format!("endpoints[{n}].addresses"), detail));
        }
        for (m, address) in addresses.into_iter().enumerate() {
            let at = format!("endpoints[{n}].addresses[{m}]");
            errors.extend(wrong_address(family, address).map(|why| FieldError::invalid(at, address, why)));
        }
    }
    errors
}

/// Why nothing can be reached at an address of this family.
fn wrong_address(family: &str, address: &str) -> Option<&'static str> {
    if family == "FQDN" {
        return None;
    }
    let Ok(parsed) = address.parse::<IpAddr>() else {
        return Some("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    };
    match (family, parsed) {
        ("IPv4", IpAddr::V6(_)) => return Some("must be an IPv4 address"),
        ("IPv6", IpAddr::V4(_)) => return Some("must be an IPv6 address"),
        _ => {}
    }
    let (link_local, group) = match parsed {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if parsed.is_unspecified() {
        Some("may not be unspecified (0.0.0.0 or ::)")
    } else if parsed.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    } else if link_local {
        Some("may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    } else if group {
        Some("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_lead_somewhere() {
        let wrong = |subset: &Value| -> Vec<String> {
            let errors = Endpoints.validate(&serde_json::json!({"subsets": [subset]}), None);
            errors.iter().map(ToString::to_string).collect()
        };
        assert!(wrong(&serde_json::json!({"addresses": [{"ip": "10.0.0.1"}, {"ip": "2001:db8::1"}]})).is_empty());
        assert_eq!(
            wrong(&serde_json::json!({"addresses": [{"ip": "127.0.0.1"}]})),
            [
                "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)"
            ]
        );
        assert_eq!(
            wrong(&serde_json::json!({})),
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]
        );
    }

    #[test]
    fn addresses_must_be_of_their_family_and_reachable() {
        for (family, address) in [("IPv4", "10.0.0.1"), ("IPv6", "2001:db8::1"), ("FQDN", "a.example")] {
            assert_eq!(wrong_address(family, address), None, "{address}");
        }
        for (family, address) in [
            ("IPv4", "x"),
            ("IPv4", "::1"),
            ("IPv6", "10.0.0.1"),
            ("IPv4", "0.0.0.0"),
            ("IPv6", "::1"),
            ("IPv4", "169.254.1.1"),
            ("IPv6", "fe80::1"),
            ("IPv4", "224.0.0.9"),
            ("IPv6", "ff02::1"),
        ] {
            assert!(wrong_address(family, address).is_some(), "{address}");
        }
    }
}

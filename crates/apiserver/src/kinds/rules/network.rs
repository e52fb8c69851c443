//! EndpointSlice, Lease and Event.

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
        if let Some(map) = object.as_object_mut() {
            set_default(map, "endpoints", Value::Array(Vec::new()));
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
        if !["IPv4", "IPv6", "FQDN"].contains(&family) {
            errors.push(FieldError::not_supported(
                "addressType",
                family,
                ["FQDN", "IPv4", "IPv6"],
            ));
        }
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
        if let Some(old) = old {
            errors.extend(immutable(old, object, &["addressType"]));
        }
        errors
    }
}

fn wrong_address(family: &str, address: &str) -> Option<&'static str> {
    match (family, address.parse::<IpAddr>()) {
        ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => {}
        ("IPv4", _) => return Some("must be a valid IPv4 address"),
        ("IPv6", _) => return Some("must be a valid IPv6 address"),
        _ => return None,
    }
    let address = address.parse::<IpAddr>().ok()?;
    if address.is_unspecified() {
        Some("may not be unspecified (0.0.0.0 or ::)")
    } else if address.is_loopback() {
        Some("may not be in the loopback range (127.0.0.0/8, ::1/128)")
    } else {
        None
    }
}

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

#[derive(Debug)]
pub(crate) struct Events;

impl Rules for Events {
    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let (own, involved) = (
            text_at(object, &["metadata", "namespace"]),
            text_at(object, &["involvedObject", "namespace"]),
        );
        let fits = if involved.is_empty() {
            own == "default" || own == "kube-system"
        } else {
            own == involved
        };
        if fits {
            return Vec::new();
        }
        vec![FieldError::invalid(
            "involvedObject.namespace",
            involved,
            "does not match event.namespace",
        )]
    }
}

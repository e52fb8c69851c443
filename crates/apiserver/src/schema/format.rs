//! The `format`s that the API server checks; others are documentation.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ipnet::IpNet;
use serde_json::Value;

pub(crate) fn matches(format: &str, value: &Value) -> bool {
    if let Some(number) = value.as_i64() {
        return format != "int32" || i32::try_from(number).is_ok();
    }
    let Some(text) = value.as_str() else { return true };
    match format {
        "date-time" | "datetime" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "byte" => BASE64_STANDARD.decode(text).is_ok(),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => text.parse::<IpNet>().is_ok(),
        "uuid" => uuid::Uuid::try_parse(text).is_ok(),
        "hostname" => text.len() <= 253 && text.split('.').all(crate::kinds::names::is_dns_label),
        _ => true,
    }
}

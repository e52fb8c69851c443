//! Elements of the maps and sets of clusterset IPs, as nft lists them in JSON. What is not readable as ours is drift, and is left out.

use std::net::{IpAddr, SocketAddr};

use hostnet::{Protocol, VipElements, VipPort};
use serde_json::Value;

/// All of one slot's map.
pub(crate) fn slot(elements: &[Value], slot: usize, vips: &mut VipElements) {
    for (port, backend) in backends(elements) {
        vips.put(port, slot, backend);
    }
}

/// What a map says of ports.
pub(crate) fn backends(elements: &[Value]) -> impl Iterator<Item = (VipPort, SocketAddr)> {
    elements
        .iter()
        .filter_map(|element| match element.as_array()?.as_slice() {
            [key, value] => Some((port(key)?, backend(value)?)),
            _ => None,
        })
}

/// `address . protocol . port`
pub(crate) fn port(element: &Value) -> Option<VipPort> {
    let [ip, protocol, port] = parts(element)? else {
        return None;
    };
    Some(VipPort {
        address: address(ip)?,
        protocol: match protocol.as_str()? {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return None,
        },
        port: number(port)?,
    })
}

/// `address . address`, the same twice.
pub(crate) fn pod(element: &Value) -> Option<IpAddr> {
    match parts(element)? {
        [one, two] if one == two => address(one),
        _ => None,
    }
}

fn backend(value: &Value) -> Option<SocketAddr> {
    match parts(value)? {
        [ip, port] => Some(SocketAddr::new(address(ip)?, number(port)?)),
        _ => None,
    }
}

fn parts(element: &Value) -> Option<&[Value]> {
    element.get("concat")?.as_array().map(Vec::as_slice)
}

/// An address.
pub(crate) fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn number(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn elements_as_nft_1_0_6_lists_them() {
        let mut vips = VipElements::default();
        let listed = json!([
            [{"concat": ["244.174.0.1", "tcp", 80]}, {"concat": ["10.1.0.2", 8080]}],
            [{"concat": ["fd74::1", "sctp", 81]}, {"concat": ["fd01::2", 8081]}],
            [{"concat": ["by hand", "tcp", 80]}, {"concat": ["10.1.0.2", 8080]}],
            "by hand",
        ]);
        slot(listed.as_array().unwrap(), 7, &mut vips);
        let found: Vec<_> = vips
            .slots
            .iter()
            .map(|(port, slots)| (port.to_string(), slots[7].unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                ("244.174.0.1 . tcp . 80".to_owned(), "10.1.0.2:8080".parse().unwrap()),
                ("fd74::1 . sctp . 81".to_owned(), "[fd01::2]:8081".parse().unwrap()),
            ]
        );
        assert_eq!(
            pod(&json!({"concat": ["10.1.0.2", "10.1.0.2"]})),
            "10.1.0.2".parse().ok()
        );
        assert_eq!(pod(&json!({"concat": ["10.1.0.2", "10.1.0.3"]})), None);
    }
}

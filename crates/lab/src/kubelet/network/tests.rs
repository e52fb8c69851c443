use serde_json::json;

use super::*;

fn node(name: &str, prefixes: &[&str], addresses: &[&str]) -> Node {
    let addresses: Vec<_> = addresses
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address}))
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": name}, "spec": {"podCIDRs": prefixes}, "status": {"addresses": addresses},
    }))
    .unwrap()
}

fn route(prefix: &str, via: &str) -> Route {
    Route {
        prefix: prefix.parse().unwrap(),
        via: via.parse().unwrap(),
    }
}

#[test]
fn other_nodes_are_reached_in_each_family_they_have() {
    let nodes = [
        node("me", &["10.1.0.0/24"], &["192.0.2.3"]),
        node("both", &["10.1.1.0/24", "fd00::/64"], &["192.0.2.4", "2001:db8::4"]),
        node("half", &["10.1.2.0/24", "fd01::/64"], &["192.0.2.5"]),
    ];
    let expected = [
        route("10.1.1.0/24", "192.0.2.4"),
        route("fd00::/64", "2001:db8::4"),
        route("10.1.2.0/24", "192.0.2.5"),
    ];
    assert_eq!(routes("me", nodes.iter()), BTreeSet::from(expected));
}

#[test]
fn only_the_difference_is_done() {
    let stay = route("10.1.0.0/24", "192.0.2.3");
    let wanted = BTreeSet::from([stay.clone(), route("10.1.1.0/24", "192.0.2.9")]);
    let observed = BTreeSet::from([
        stay,
        route("10.1.1.0/24", "192.0.2.4"),
        route("10.1.2.0/24", "192.0.2.5"),
    ]);
    assert_eq!(
        difference(&wanted, &observed),
        "route del 10.1.2.0/24 proto 90\nroute replace 10.1.1.0/24 via 192.0.2.9 proto 90\n"
    );
    assert_eq!(difference(&wanted, &wanted), "");
}

#[test]
fn routes_are_read_as_ip_writes_them() {
    let json = br#"[{"dst":"10.1.1.0/24","gateway":"192.0.2.4","dev":"eth0","protocol":"90","flags":[]}]"#;
    assert_eq!(parse_routes(json), [route("10.1.1.0/24", "192.0.2.4")]);
    assert_eq!(parse_routes(b""), []);
}

#[test]
fn masquerading_spares_what_stays_in_the_cluster() {
    let prefix = |text: &str| text.parse::<IpNet>().unwrap();
    let text = masquerading(
        &[prefix("10.1.1.0/24"), prefix("fd00:0:0:1::/64")],
        &[prefix("10.1.0.0/16"), prefix("fd00::/56")],
    );
    assert!(
        text.contains("ip saddr 10.1.1.0/24 ip daddr != { 10.1.0.0/16, 224.0.0.0/4 } masquerade"),
        "{text}"
    );
    assert!(
        text.contains("ip6 saddr fd00:0:0:1::/64 ip6 daddr != { fd00::/56, ff00::/8 } masquerade"),
        "{text}"
    );
}

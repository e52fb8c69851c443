//! What others do to our state is noticed and mended; what is theirs is left alone.

use std::time::Duration;

use hostnet::{Via, plan};
use hostnet_linux::Monitor;

use crate::node::{DEADLINE, Sandbox, desired, peer_vtep, privileged, settle, wait_until};

#[test]
fn drift_is_mended() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let _tun = node.tun();
    let wanted = desired(Via::Tun);
    node.settle(&wanted);
    let meddling: &[(&str, &[&str])] = &[
        ("ip", &["route", "del", "10.2.0.0/16", "table", "174", "metric", "100"]),
        ("ip", &["route", "del", "unreachable", "10.2.0.0/16", "table", "175"]),
        (
            "ip",
            &["-6", "route", "del", "fd02::/48", "table", "174", "metric", "100"],
        ),
        (
            "ip",
            &[
                "route",
                "change",
                "10.2.0.0/16",
                "table",
                "174",
                "metric",
                "100",
                "proto",
                "174",
                "dev",
                "eth0",
            ],
        ),
        (
            "ip",
            &[
                "route",
                "add",
                "10.77.0.0/16",
                "table",
                "174",
                "proto",
                "174",
                "dev",
                "eth0",
            ],
        ),
        ("ip", &["rule", "del", "priority", "174", "lookup", "175"]),
        ("ip", &["-6", "rule", "del", "priority", "174", "lookup", "174"]),
        (
            "ip",
            &[
                "rule",
                "add",
                "from",
                "10.9.0.0/16",
                "lookup",
                "99",
                "priority",
                "174",
                "protocol",
                "174",
            ],
        ),
        ("ip", &["nexthop", "flush", "protocol", "174"]),
        ("ip", &["link", "set", "tombolo-vx", "mtu", "1280"]),
        ("ip", &["link", "set", "tombolo-vx", "down"]),
        ("ip", &["link", "set", "tombolo-vx", "address", "02:00:00:00:00:99"]),
        ("ip", &["link", "del", "tombolo-vx"]),
        ("ip", &["link", "set", "eth0", "mtu", "1400"]),
        ("ip", &["addr", "add", "10.55.0.1/32", "dev", "tombolo-vx"]),
        ("ip", &["-6", "addr", "flush", "dev", "tombolo-vx"]),
        ("ip", &["neigh", "flush", "dev", "tombolo-vx", "nud", "permanent"]),
        (
            "bridge",
            &[
                "fdb",
                "add",
                "02:00:00:00:00:98",
                "dev",
                "tombolo-vx",
                "dst",
                "192.0.2.98",
                "self",
                "permanent",
            ],
        ),
        (
            "bridge",
            &[
                "fdb",
                "replace",
                &peer_vtep().mac.to_string(),
                "dev",
                "tombolo-vx",
                "dst",
                "192.0.2.9",
                "self",
            ],
        ),
        ("nft", &["flush", "ruleset"]),
        ("nft", &["flush", "chain", "inet", "tombolo", "leaving"]),
        ("nft", &["insert", "rule", "inet", "tombolo", "leaving", "accept"]),
        (
            "nft",
            &["add", "element", "inet", "tombolo", "remote_v4", "{ 10.88.0.0/16 }"],
        ),
        (
            "nft",
            &["delete", "element", "inet", "tombolo", "remote_v6", "{ fd02::/48 }"],
        ),
        ("sysctl", &["-qw", "net.ipv4.ip_forward=0"]),
        ("sysctl", &["-qw", "net.ipv6.conf.all.forwarding=0"]),
        ("sysctl", &["-qw", "net.ipv4.conf.tombolo0.rp_filter=1"]),
    ];
    for (program, arguments) in meddling {
        node.exec(program, arguments);
        node.host(async |host| {
            let observed = host.observe("eth0").await.unwrap();
            assert_ne!(plan(&wanted, &observed).ops, [], "not noticed: {program} {arguments:?}");
            settle(host, &wanted).await;
        });
    }
}

#[test]
fn what_is_not_ours_stays() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let _tun = node.tun();
    node.ip("route add 10.2.0.0/16 via 192.0.2.99 table 174 metric 7");
    node.ip("route add 10.66.0.0/16 via 192.0.2.99 proto 174");
    node.ip("rule add from 10.66.0.0/16 lookup 99 priority 174");
    node.ip("rule add lookup 99 priority 500 protocol 174");
    node.ip("nexthop add id 2919235584 via 192.0.2.99 dev eth0 protocol 4");
    node.ip("nexthop add id 5 via 192.0.2.99 dev eth0 protocol 174");
    node.ip("neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent");
    node.exec(
        "nft",
        &["add table inet other; add chain inet other c { type filter hook forward priority 0; }"],
    );
    node.exec("nft", &["add rule inet other c counter packets 0 bytes 0 accept"]);
    let theirs = || {
        [
            node.ip("route show table main"),
            node.ip("route show table 174 proto boot"),
            node.ip("rule show table 99"),
            node.ip("nexthop show protocol 4"),
            node.ip("nexthop show id 5"),
            node.ip("addr show dev eth0"),
            node.ip("neigh show dev eth0 nud permanent"),
            node.exec("nft", &["list", "table", "inet", "other"]),
        ]
    };
    let before = theirs();
    node.settle(&desired(Via::Tun));
    assert_eq!(theirs(), before);
    node.settle(&desired(Via::Vtep(peer_vtep().address)));
    assert_eq!(theirs(), before);
    node.host(async |host| assert_eq!(host.cleanup().await.failures, [""; 0]));
    assert_eq!(theirs(), before);
}

#[test]
fn a_closed_tun_is_noticed_and_its_return_too() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let tun = node.tun();
    let wanted = desired(Via::Tun);
    node.settle(&wanted);
    drop(tun);
    wait_until("the kernel to flush the nexthops of the closed TUN", || {
        !node.ip("nexthop show").contains("tombolo0")
    });
    assert_eq!(node.settle(&wanted).state.nexthops.len(), 0);
    let _tun = node.tun();
    assert_eq!(node.settle(&wanted).state.nexthops.len(), 4);
}

#[test]
fn the_monitor_tells_of_ours_and_not_of_others() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let wanted = desired(Via::Vtep(peer_vtep().address));
    node.settle(&wanted);
    node.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut monitor = Monitor::open("eth0").unwrap();
            let fdb = format!("fdb del {} dev tombolo-vx dst 192.0.2.2 self", peer_vtep().mac);
            for (program, arguments) in [
                ("ip", "link set tombolo-vx mtu 1300"),
                ("ip", "link set eth0 mtu 1400"),
                ("ip", "route del 10.2.0.0/16 table 174 metric 100"),
                ("ip", "-6 route del unreachable fd03::/48 table 175"),
                ("ip", "rule del priority 174 lookup 175"),
                ("ip", "nexthop flush protocol 174"),
                ("ip", "addr del 10.1.0.1/32 dev lo"),
                ("ip", "neigh flush dev tombolo-vx nud permanent"),
                ("bridge", fdb.as_str()),
                ("nft", "flush chain inet tombolo leaving"),
                ("nft", "delete table inet tombolo"),
            ] {
                quiet(&mut monitor).await;
                node.exec(program, &arguments.split_whitespace().collect::<Vec<_>>());
                let noticed = tokio::time::timeout(DEADLINE, monitor.changed()).await;
                assert!(noticed.is_ok(), "not noticed: {program} {arguments}");
            }
            quiet(&mut monitor).await;
            node.ip("link add pod0 type veth peer name pod0-peer");
            node.ip("link set pod0 up");
            node.exec("nft", &["add", "table", "inet", "other"]);
            node.ip("route add 10.200.0.0/16 dev eth0");
            let others = tokio::time::timeout(3 * QUIET, monitor.changed()).await;
            assert!(others.is_err(), "others' changes were taken for ours");
        });
    });
}

/// Reads what is left of earlier changes.
async fn quiet(monitor: &mut Monitor) {
    while tokio::time::timeout(QUIET, monitor.changed()).await.is_ok() {}
}

/// Longer than the monitor waits for a burst to end.
const QUIET: Duration = Duration::from_millis(100);

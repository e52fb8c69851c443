//! What we write is what the kernel holds, and cleanup takes it away again.

use std::path::Path;

use hostnet::{Nexthop, Op, Via, plan, tags};
use hostnet_linux::{Cleaned, Feature, HostNet, NetNs, OpError};

use crate::node::{Sandbox, desired, peer_vtep, privileged};

#[test]
fn a_worker_holds_what_it_should() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let observed = node.settle(&desired(Via::Vtep(peer_vtep().address)));
    // In the words of another program, so that our reader does not vouch for our writer.
    let via = peer_vtep().address;
    let routes = node.ip("route show table 174");
    assert!(
        routes.contains(&format!(
            "via inet6 {via} dev tombolo-vx proto 174 src 10.1.0.1 metric 100 mtu 1300"
        )),
        "{routes}"
    );
    assert!(
        routes.contains("unreachable 10.3.0.0/16 proto 174 metric 4294967295"),
        "{routes}"
    );
    assert!(
        node.ip("-6 route show table 174")
            .contains("src fd01::1 metric 100 mtu 1300")
    );
    assert!(!node.ip("route show table 175").contains("nhid"));
    assert_eq!(node.ip("rule show priority 174").lines().count(), 2);
    let link = node.ip("-d link show tombolo-vx");
    for part in [
        "vxlan id 7450",
        "local 192.0.2.1 dev eth0",
        "dstport 4801",
        "nolearning",
        "df set",
        "mtu 1450",
    ] {
        assert!(link.contains(part), "{part} is missing: {link}");
    }
    let addresses = node.ip("-6 addr show dev tombolo-vx");
    assert_eq!(
        addresses.matches("inet6").count(),
        1,
        "more than the vtep address: {addresses}"
    );
    assert!(!addresses.contains("tentative"));
    let chains = observed.state.nft.unwrap().chains;
    assert!(chains.keys().eq(["hopeless", "leaving", "loops", "source"]));
    assert_eq!(node.exec("cat", &["/proc/sys/net/ipv4/ip_forward"]).trim(), "1");
}

#[test]
fn an_active_gateway_holds_what_it_should() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let tun = node.tun();
    let observed = node.settle(&desired(Via::Tun));
    assert_eq!(
        observed
            .state
            .nexthops
            .values()
            .filter(|to| **to == Nexthop::Tun)
            .count(),
        4
    );
    for table in ["174", "175"] {
        for family in ["-4", "-6"] {
            let routes = node.ip(&format!("{family} route show table {table}"));
            assert!(routes.contains("dev tombolo0"), "{routes}");
        }
    }
    assert_eq!(
        node.exec("cat", &["/proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal"])
            .trim(),
        "1"
    );
    drop(tun);
}

#[test]
fn an_ipv6_underlay_and_nodes_without_ipv6_by_default_work() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    node.exec("sysctl", &["-qw", "net.ipv6.conf.default.disable_ipv6=1"]);
    let _tun = node.tun();
    let mut wanted = desired(Via::Tun);
    wanted.underlay.local = "2001:db8::1".parse().unwrap();
    wanted.peers[0].underlay = "2001:db8::2".parse().unwrap();
    let observed = node.settle(&wanted);
    assert_eq!(observed.state.vxlan.unwrap().mtu, 1430);
    assert_eq!(
        observed.state.fdb.values().map(ToString::to_string).collect::<Vec<_>>(),
        ["2001:db8::2"]
    );
}

#[test]
fn an_address_that_no_cni_gives_is_ours_to_give() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let mut wanted = desired(Via::Vtep(peer_vtep().address));
    for (source, address) in wanted.sources.iter_mut().zip(["10.101.7.7", "fd01:0:0:7::7"]) {
        source.address = address.parse().unwrap();
        source.assign = true;
    }
    node.settle(&wanted);
    assert!(node.ip("route get 10.2.0.1").contains("src 10.101.7.7"));
    assert!(node.ip("-6 route get fd02::1").contains("src fd01:0:0:7::7"));
    // And back to the CNI's: the routes follow, the addresses go.
    let observed = node.settle(&desired(Via::Vtep(peer_vtep().address)));
    assert_eq!(observed.state.addresses.len(), 2, "the vtep and the anchor");
}

#[test]
fn a_failover_moves_every_prefix_with_one_replace_a_family() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let _tun = node.tun();
    let mut wanted = desired(Via::Vtep(peer_vtep().address));
    node.settle(&wanted);
    let way = |to: &str| node.ip(&format!("route get {to}"));
    assert!(
        ["10.2.0.1", "10.102.0.1", "fd02::1"]
            .into_iter()
            .all(|to| way(to).contains("dev tombolo-vx"))
    );

    wanted.clusters.get_mut("west").unwrap().via = Via::Tun;
    node.host(async |host| {
        let steps = plan(&wanted, &host.observe("eth0").await.unwrap());
        assert!(
            matches!(steps.ops[..], [Op::SetNexthop(..), Op::SetNexthop(..)]),
            "{:?}",
            steps.ops
        );
        assert!(host.apply(&steps).await.failures.is_empty());
    });
    assert!(
        ["10.2.0.1", "10.102.0.1", "fd02::1"]
            .into_iter()
            .all(|to| way(to).contains("dev tombolo0"))
    );
    node.settle(&wanted);
}

#[test]
fn cleanup_leaves_nothing_of_ours_and_gives_settings_back() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    node.exec(
        "sysctl",
        &[
            "-qw",
            "net.ipv4.ip_forward=0",
            "net.ipv4.conf.all.rp_filter=1",
            "net.ipv4.conf.eth0.rp_filter=1",
        ],
    );
    let tun = node.tun();
    node.settle(&desired(Via::Tun));
    drop(tun);
    // Whoever sets a value after us owns it.
    node.exec("sysctl", &["-qw", "net.ipv6.conf.all.forwarding=0"]);
    node.exec("sysctl", &["-qw", "net.ipv6.conf.all.forwarding=1"]);
    node.exec("sysctl", &["-qw", "net.ipv4.conf.eth0.rp_filter=0"]);

    // Another process, without any memory but the file.
    let cleaned = node.host(async |host| host.cleanup().await);
    assert_eq!(cleaned.failures, [""; 0]);
    for (what, left) in [
        (
            "rules",
            node.ip("rule show priority 174") + &node.ip("-6 rule show priority 174"),
        ),
        ("nexthops", node.ip("nexthop show")),
        (
            "routes",
            node.ip("route show table all proto 174") + &node.ip("-6 route show table all proto 174"),
        ),
        ("tables", node.exec("nft", &["list", "tables"])),
    ] {
        assert_eq!(left.trim(), "", "{what}");
    }
    assert!(!node.ip("link show").contains(tags::LINK_PREFIX));
    let setting = |path: &str| node.exec("cat", &[&format!("/proc/sys/net/{path}")]).trim().to_owned();
    assert_eq!(setting("ipv4/ip_forward"), "0", "ours is given back");
    assert_eq!(setting("ipv4/conf/eth0/rp_filter"), "0", "theirs is left");
    assert!(!node.state.path().join("sysctls.json").exists());
    assert_eq!(
        node.host(async |host| host.cleanup().await),
        Cleaned::default(),
        "nothing is left to clean"
    );
}

#[test]
fn namespaces_are_those_of_ip_netns() {
    if !privileged() {
        return;
    }
    let sandbox = Sandbox::new("names");
    assert!(
        std::process::Command::new("ip")
            .args(["netns", "exec", sandbox.name(), "true"])
            .status()
            .unwrap()
            .success()
    );
    assert!(NetNs::create(sandbox.name()).is_err(), "a name is given once");
    let name = format!("tbt-{}-byhand", std::process::id());
    assert!(
        std::process::Command::new("ip")
            .args(["netns", "add", &name])
            .status()
            .unwrap()
            .success()
    );
    let theirs = NetNs::open(&name).unwrap();
    let inside = theirs
        .run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap())
        .unwrap();
    assert_ne!(inside, std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    theirs.delete().unwrap();
    assert!(NetNs::open(&name).is_err());
}

#[test]
fn a_node_without_nft_is_named_and_the_rest_is_done() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let wanted = desired(Via::Vtep(peer_vtep().address));
    let failures = node.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let host = HostNet::open(node.state.path())
                .unwrap()
                .with_nft_program(Path::new("/nonexistent/nft"));
            let observed = host.observe("eth0").await.unwrap();
            host.apply(&plan(&wanted, &observed)).await.failures
        })
    });
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(
        matches!(failures[0].cause, OpError::Unsupported(Feature::NftProgram)),
        "{failures:?}"
    );
    assert!(node.ip("route get 10.2.0.1").contains("dev tombolo-vx"));
}

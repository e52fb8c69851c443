//! Writes a topology down as `ip` commands and sysctls: pure.
//!
//! Every link is made between two namespaces at once, so that nothing ever appears in the namespace of the machine. Links are
//! named for what they lead to, within their namespace; no name depends on a person's choice, so none can be too long.
//!
//! The routers and the internet know one another by link-local addresses, also for IPv4 (`via inet6`): the only addresses in the
//! lab are those of hosts.

use std::fmt::Write;

use ipnet::IpNet;

use crate::topology::{Host, INTERNET, IpFamily, Network, Topology};

/// What to do, in this order: create the namespaces, set their sysctls, make the links, set up each namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wiring {
    /// A batch for the machine's namespace.
    pub(crate) links: String,
    /// One for each host.
    pub(crate) hosts: Vec<HostSetup>,
}

/// What one namespace needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostSetup {
    pub(crate) host: String,
    pub(crate) sysctls: &'static [(&'static str, &'static str)],
    pub(crate) batch: String,
}

/// Plans a lab's namespaces and links. `namespace` names the one of a host.
pub(crate) fn wiring(topology: &Topology, namespace: impl Fn(&str) -> String) -> Wiring {
    let mtu = topology.underlay_mtu;
    let mut links = String::new();
    let mut hosts = Vec::new();
    let mut internet = internet(topology.ip_family);
    let mut link = |here: &str, name: &str, there: &str, peer: &str| {
        let (here, there) = (namespace(here), namespace(there));
        line(
            &mut links,
            format_args!("link add {name} mtu {mtu} netns {here} type veth peer name {peer} mtu {mtu} netns {there}"),
        );
    };
    for (network, members) in topology.networks() {
        link(&network.switch, UPLINK, INTERNET, &network_port(network));
        write_network_route(&mut internet, network);
        for (index, host) in members.iter().enumerate() {
            link(&host.name, HOST_LINK, &network.switch, &host_port(index));
            hosts.push(HostSetup {
                host: host.name.clone(),
                sysctls: ROUTER,
                batch: host_batch(host, network),
            });
        }
        let batch = switch_batch(network, members.len(), mtu);
        hosts.push(HostSetup {
            host: network.switch.clone(),
            sysctls: ROUTER,
            batch,
        });
    }
    hosts.push(HostSetup {
        host: INTERNET.to_owned(),
        sysctls: ROUTER,
        batch: internet,
    });
    Wiring { links, hosts }
}

/// Where a host's network is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) switch: String,
    /// The link's name there.
    pub(crate) link: String,
    /// For the switch's namespace.
    pub(crate) cut: String,
    /// For the switch's namespace.
    pub(crate) heal: String,
}

/// The switch's port that leads to a host; for a switch, the one that leads to the internet.
pub(crate) fn port_to(topology: &Topology, host: &str) -> Option<Port> {
    for (network, members) in topology.networks() {
        let (port, heal) = if let Some(index) = members.iter().position(|member| member.name == host) {
            (host_port(index), format!("link set {} up\n", host_port(index)))
        } else if network.switch == host {
            (UPLINK.to_owned(), uplink_batch(network))
        } else {
            continue;
        };
        return Some(Port {
            switch: network.switch.clone(),
            cut: format!("link set {port} down\n"),
            link: port,
            heal,
        });
    }
    None
}

fn internet(family: IpFamily) -> String {
    let mut batch = String::from("link set lo up\n");
    // Only so that its ICMP errors have a source.
    if family != IpFamily::V6 {
        batch.push_str("address add 203.0.113.254/32 dev lo\n");
    }
    if family != IpFamily::V4 {
        batch.push_str("address add 2001:db8:ffff::1/128 dev lo\n");
    }
    batch
}

fn write_network_route(batch: &mut String, network: &Network) {
    let port = network_port(network);
    line(batch, format_args!("address add fe80::1/64 dev {port} nodad"));
    line(batch, format_args!("link set {port} up"));
    for router in &network.router {
        line(
            batch,
            format_args!("route add {} {} dev {port}", router.trunc(), via(*router, "fe80::2")),
        );
    }
}

fn switch_batch(network: &Network, members: usize, mtu: u16) -> String {
    let mut batch = String::from("link set lo up\n");
    line(
        &mut batch,
        format_args!("link add {BRIDGE} address {BRIDGE_MAC} mtu {mtu} type bridge stp_state 0 mcast_snooping 0"),
    );
    for index in 0..members {
        line(
            &mut batch,
            format_args!("link set {} master {BRIDGE} up", host_port(index)),
        );
    }
    for router in &network.router {
        line(
            &mut batch,
            format_args!("address add {router} dev {BRIDGE}{}", nodad(*router)),
        );
    }
    line(&mut batch, format_args!("link set {BRIDGE} up"));
    batch + &uplink_batch(network)
}

/// Connects a network to the internet. A link that goes down takes its routes and IPv6 addresses with it, so this heals a cut, too.
pub(crate) fn uplink_batch(network: &Network) -> String {
    let mut batch = String::new();
    line(&mut batch, format_args!("link set {UPLINK} address {UPLINK_MAC}"));
    line(&mut batch, format_args!("link set {UPLINK} up"));
    line(
        &mut batch,
        format_args!("address replace fe80::2/64 dev {UPLINK} nodad"),
    );
    for router in &network.router {
        // `default` would take its family from the router's address.
        let everything = if router.addr().is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        line(
            &mut batch,
            format_args!("route replace {everything} {} dev {UPLINK}", via(*router, "fe80::1")),
        );
    }
    batch
}

fn host_batch(host: &Host, network: &Network) -> String {
    let mut batch = String::from("link set lo up\n");
    for address in &host.addresses {
        line(
            &mut batch,
            format_args!("address add {address} dev {HOST_LINK}{}", nodad(*address)),
        );
    }
    line(&mut batch, format_args!("link set {HOST_LINK} up"));
    for router in &network.router {
        line(
            &mut batch,
            format_args!("route add default via {} dev {HOST_LINK}", router.addr()),
        );
    }
    batch
}

fn via(prefix: IpNet, link_local: &str) -> String {
    let family = if prefix.addr().is_ipv4() { "inet6 " } else { "" };
    format!("via {family}{link_local}")
}

/// Nobody else can have the address, and waiting for the proof takes a second.
pub(crate) fn nodad(address: IpNet) -> &'static str {
    if address.addr().is_ipv4() { "" } else { " nodad" }
}

fn host_port(index: usize) -> String {
    format!("port{index}")
}

fn network_port(network: &Network) -> String {
    format!("net{}", network.number)
}

pub(crate) fn line(batch: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(batch, "{text}").expect("writing to a String cannot fail");
}

/// A host's only link of its own.
pub(crate) const HOST_LINK: &str = "eth0";
pub(crate) const UPLINK: &str = "uplink";
pub(crate) const BRIDGE: &str = "switch";
/// Fixed, so that neighbours need not learn anew when something is put into a link: a bridge would else take the address of one of
/// its ports, and a new uplink come with another.
const BRIDGE_MAC: &str = "02:00:5e:00:53:01";
const UPLINK_MAC: &str = "02:00:5e:00:53:02";

/// Hosts forward as well: nodes do, and to the others it makes no difference. `rp_filter` would else be the machine's own.
const ROUTER: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/forwarding", "1"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Options;

    fn topology(ip_family: IpFamily) -> Topology {
        Topology::generate(&Options {
            lab: "t".parse().unwrap(),
            seed: 7,
            clusters: (0..46)
                .map(|number| {
                    format!("cluster-{number}-of-the-lab")[..18]
                        .trim_end_matches('-')
                        .to_owned()
                })
                .collect(),
            gateways: 2,
            workers: 10,
            ip_family,
            underlay_mtu: 1400,
            is_overlapping: false,
            servers: Vec::new(),
        })
        .unwrap()
    }

    #[test]
    fn link_names_fit_and_are_alone_in_their_namespace() {
        let wiring = wiring(&topology(IpFamily::Dual), |host| format!("tl-t-{host}"));
        let mut seen = std::collections::BTreeSet::new();
        for words in wiring.links.lines().map(|line| line.split(' ').collect::<Vec<_>>()) {
            for (name, namespace) in [(words[2], words[6]), (words[11], words[15])] {
                assert!(name.len() <= 15, "{name} is longer than a link's name can be");
                assert!(seen.insert((namespace, name)), "{name} is twice in {namespace}");
            }
        }
        assert_eq!(seen.len(), 2 * (46 * 14 + 2));
    }

    #[test]
    fn a_family_that_is_not_asked_for_leaves_no_trace() {
        let text = |family| {
            let wiring = wiring(&topology(family), str::to_owned);
            wiring
                .hosts
                .iter()
                .map(|setup| setup.batch.as_str())
                .collect::<String>()
        };
        assert!(!text(IpFamily::V4).contains("2001:db8"));
        assert!(!text(IpFamily::V6).contains("192.0.2."));
        assert!(text(IpFamily::Dual).contains("2001:db8") && text(IpFamily::Dual).contains("192.0.2."));
    }

    #[test]
    fn every_host_and_every_network_has_a_port() {
        let topology = topology(IpFamily::V4);
        let cut = |host: &str| port_to(&topology, host).map(|port| (port.switch, port.cut));
        let cluster = &topology.clusters[1];
        let switch = &cluster.network.switch;
        assert_eq!(
            cut("broker"),
            Some(("broker-switch".into(), "link set port0 down\n".into()))
        );
        assert_eq!(
            cut(&cluster.nodes[2].host.name),
            Some((switch.clone(), "link set port3 down\n".into()))
        );
        assert_eq!(cut(switch), Some((switch.clone(), "link set uplink down\n".into())));
        assert_eq!(port_to(&topology, "nobody"), None);
    }
}

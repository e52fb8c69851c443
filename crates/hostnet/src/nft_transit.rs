//! The chain that leaves transit untracked on a gateway.
//!
//! Which gateway carries a packet may change at any time, and each direction may use another. Connection tracking that saw only part of a
//! flow calls the rest invalid, and a neighbour that drops what is invalid stalls the flow for good. So pod-to-pod packets that
//! only pass through are not tracked. Three kinds still are:
//! * those of pods on this node, because their NetworkPolicy is conntrack's;
//! * flows to a service address, which kube-proxy translates here, and whose answers it must translate back here. Their clients are
//!   kept in a set that the packets themselves fill;
//! * probes to one port of nodes, and their answers. Where they pass and others do not, somebody drops what is not tracked.

use std::collections::BTreeSet;

use ipnet::IpNet;

use crate::desired::Untracked;
use crate::nft::Chain;
use crate::state::Family;
use crate::tags;

/// The chain.
pub(crate) fn chain() -> Chain {
    let (vx, tun) = (tags::VXLAN_LINK, tags::TUN_LINK);
    let mut chain = Chain::new("transit", "filter", "prerouting", RAW);
    for (name, port) in [("probe", "dport"), ("probe-answer", "sport")] {
        let number = tags::TRACKED_PROBE_PORT;
        chain.rule(
            name,
            &format!("iifname {{ \"{vx}\", \"{tun}\" }} udp {port} {number} accept"),
        );
    }
    chain.rule_per_family(
        "service-flow",
        &format!(
            "iifname \"{tun}\" {{ip}} saddr @remote_pods_{{v}} {{ip}} daddr != @local_pods_{{v}} meta l4proto {{ tcp, udp, sctp }} \
             update @{FLOWS}_{{v}} {{ {{ip}} saddr . meta l4proto . th sport }} accept"
        ),
    );
    chain.rule_per_family(
        "service-answer",
        &format!("iifname \"{vx}\" {{ip}} daddr . meta l4proto . th dport @{FLOWS}_{{v}} accept"),
    );
    chain.rule_per_family(
        "transit-out",
        &format!("iifname \"{vx}\" {{ip}} saddr @local_pods_{{v}} {{ip}} daddr @remote_pods_{{v}} notrack"),
    );
    chain.rule_per_family(
        "transit-in",
        &format!(
            "iifname \"{tun}\" {{ip}} saddr @remote_pods_{{v}} {{ip}} daddr @local_pods_{{v}} {{ip}} daddr != @node_pods_{{v}} notrack"
        ),
    );
    chain
}

/// Its sets of prefixes.
pub(crate) fn prefixes(untracked: &Untracked) -> [(&'static str, &BTreeSet<IpNet>); 3] {
    [
        ("local_pods", &untracked.local),
        ("remote_pods", &untracked.remote),
        ("node_pods", &untracked.here),
    ]
}

/// The declaration of the set that packets fill.
pub(crate) fn flows() -> String {
    let one = |family| {
        let (address, v) = match family {
            Family::V4 => ("ipv4_addr", "v4"),
            Family::V6 => ("ipv6_addr", "v6"),
        };
        format!(
            "  set {FLOWS}_{v} {{\n    type {address} . inet_proto . inet_service\n    size 65535\n    flags dynamic,timeout\n    timeout 1h\n  }}\n"
        )
    };
    Family::ALL.map(one).concat()
}

/// The sets that packets fill begin with this; their elements are nobody's drift.
pub const FLOWS: &str = "service_flows";
const RAW: i32 = -300;

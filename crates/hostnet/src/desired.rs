//! What a node needs, in the words of the clusterset; how the kernel says it is [`crate::target`]'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::vips::Vips;
use crate::vtep::Vtep;

/// The whole need of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Desired {
    /// What carries the VXLAN.
    pub underlay: Underlay,
    /// This node's own end of the VXLAN.
    pub vtep: Vtep,
    /// The other nodes of this cluster: every gateway candidate, and on gateways every node.
    pub peers: Vec<Peer>,
    /// This cluster's pod and service prefixes, and the published range of node addresses where there is one.
    pub local: BTreeSet<IpNet>,
    /// The address of this node inside `local`, at most one a family counts: the source of the host's own packets and of ICMP.
    pub sources: Vec<Source>,
    /// The other clusters by id. A cluster that is leaving or unreachable stays here with [`Via::Unreachable`] for as long as its
    /// prefixes must not leak to the default route.
    pub clusters: BTreeMap<String, RemoteCluster>,
    /// This node may carry cables (active or not).
    pub gateway: bool,
    /// Clusterset IPs.
    pub vips: Vips,
    /// On a gateway: what only passes through is not tracked. None tracks everything.
    pub untracked: Option<Untracked>,
    /// False leaves out the rules that keep client addresses. For tests that show what those rules are for.
    pub keep_source: bool,
}

/// Between which addresses a gateway does not track what passes through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Untracked {
    /// Pods of this cluster.
    pub local: BTreeSet<IpNet>,
    /// Pods of the others.
    pub remote: BTreeSet<IpNet>,
    /// Pods on this node, which stay tracked.
    pub here: BTreeSet<IpNet>,
}

/// The node's own network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Underlay {
    /// The link of the node's address.
    pub device: String,
    /// The node's address, outer source of the VXLAN.
    pub local: IpAddr,
}

/// Another node of this cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Its end of the VXLAN.
    pub vtep: Vtep,
    /// Its address on the underlay, of the family of [`Underlay::local`].
    pub underlay: IpAddr,
}

/// A source address for routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Inside [`Desired::local`].
    pub address: IpAddr,
    /// True: no CNI assigns it, so it goes on our own link. False: it is the CNI's, and we only use it while it is there.
    pub assign: bool,
}

/// One other cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemoteCluster {
    /// Its accepted pod and service prefixes, overlapping no other's.
    pub prefixes: BTreeSet<IpNet>,
    /// Path MTU of the cable to it; a way over the VXLAN is capped by the VXLAN's own MTU.
    pub mtu: u32,
    /// The way of this node's own packets.
    pub via: Via,
    /// On a gateway: what other nodes of this cluster send here goes into the TUN; false answers unreachable.
    pub transit: bool,
}

/// A way out of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Via {
    /// This node carries the cable.
    Tun,
    /// The gateway whose VXLAN end has this address.
    Vtep(Ipv6Addr),
    /// No way now: senders get ICMP unreachable.
    Unreachable,
}

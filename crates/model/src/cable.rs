use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::{ClusterId, GatewayId, PublicKey};

/// What the data plane of one gateway is told to do. A new plan replaces the old one whole; what did not change is not disturbed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CablePlan {
    /// Cables to keep.
    pub peers: Vec<PeerPlan>,
    /// Longest prefix → the cluster that packets for it go to.
    pub send: Vec<(IpNet, ClusterId)>,
    /// Prefix → the cluster whose gateways, any of them, may use it as an inner source.
    pub accept: Vec<(IpNet, ClusterId)>,
    /// Which gateway packets for a cluster go to. A dead one is passed over for any live one of that cluster.
    pub chosen: BTreeMap<ClusterId, GatewayId>,
    /// Gateways behind which packets get lost: they are used only if there is no other, and are told so.
    pub avoid: BTreeSet<GatewayId>,
    /// Gateways behind which packets of full size seem to get lost: their cables are to be tried with such packets at once.
    pub suspects: BTreeSet<GatewayId>,
    /// Gateways of our cluster, each with a cluster to which it has lost all cables: the cables there are to be tried at once, however
    /// seldom they are otherwise.
    pub doubts: BTreeSet<(GatewayId, ClusterId)>,
    /// Deep probes of this node from these UDP ports go by these gateways, whichever it is that traffic takes.
    pub detours: BTreeMap<u16, GatewayId>,
    /// Nodes of this cluster, by addresses in the pod network, that answer the deep probes of others.
    pub addresses: Vec<IpAddr>,
    /// MTU of packets inside the cables, bytes.
    pub mtu: u16,
    /// What we say of ourselves in probes.
    pub role: ProbeRole,
    /// Whether traffic of other nodes comes this way, so that the chosen cables are probed at the fast pace.
    pub carries: bool,
    /// Sources of our own ICMP errors (packet too big), at most one a family. Empty: the error comes from the packet's own
    /// destination. Never an address of this node, because the kernel drops what comes in from a link with a local source.
    pub icmp_sources: Vec<IpAddr>,
}

/// One cable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerPlan {
    /// The other end.
    pub gateway: GatewayId,
    /// Its identity.
    pub public_key: PublicKey,
    /// Where it may be; handshakes go to all of them at once until one answers.
    pub candidates: Vec<SocketAddr>,
    /// The reserved address of its probes; none for a stock WireGuard peer.
    pub probe_address: Option<Ipv6Addr>,
    /// MTU inside the cable as far as the links at both ends are concerned, bytes. What lies between is measured.
    pub mtu: u16,
    /// Parallel lanes of the cable: what both ends have, and one towards a stock peer.
    pub lanes: u8,
}

/// What a gateway says of itself in every probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeRole {
    /// Whether it holds the active role of its cluster.
    pub active: bool,
    /// It is about to end: traffic should use another.
    pub draining: bool,
    /// Epoch of the role.
    pub epoch: u64,
}

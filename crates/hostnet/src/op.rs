//! The steps of a plan, and what a plan could not do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::nft::NftTable;
use crate::state::{Nexthop, Route, RouteKey, Rule, VxlanLink, as_pairs};
use crate::sysctl::SysctlKey;
use crate::tags;
use crate::vips::{VipPort, VipUpdate};
use crate::vtep::Mac;

/// What to do, in order, and what has to wait for somebody else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Steps. Each is safe on its own: stopping after any of them leaks nothing and is mended by the next plan.
    pub ops: Vec<Op>,
    /// Parts of the need that the node cannot have now.
    pub blocked: Vec<Blocked>,
}

/// One change to the kernel. Links, tables, protocol and priorities are ours and implied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Op {
    /// Replaces the whole nft table in one transaction.
    WriteNft(NftTable),
    /// Changes elements of the nft table, in one transaction.
    UpdateVips(VipUpdate),
    /// Makes conntrack forget UDP flows to these ports that lead to none of these backends. Without that, a client that keeps its socket would
    /// keep its backend, whatever became of it, for as long as it sends.
    EndFlows(#[serde(with = "as_pairs")] BTreeMap<VipPort, BTreeSet<SocketAddr>>),
    /// Removes the VXLAN link, to make it anew.
    DeleteVxlan,
    /// Makes the VXLAN link, still down.
    CreateVxlan(VxlanLink),
    /// Sets the MTU of the VXLAN link.
    SetVxlanMtu(u32),
    /// Writes a sysctl, remembering the value before.
    SetSysctl(SysctlKey, String),
    /// Sets the VXLAN link up.
    RaiseVxlan,
    /// Adds an address to the VXLAN link, without duplicate address detection.
    AddAddress(IpNet),
    /// Removes an address from the VXLAN link.
    RemoveAddress(IpNet),
    /// Adds or replaces a permanent neighbour on the VXLAN link.
    SetNeighbour(Ipv6Addr, Mac),
    /// Removes a neighbour from the VXLAN link.
    RemoveNeighbour(Ipv6Addr),
    /// Adds or replaces a forwarding entry of the VXLAN link.
    SetFdb(Mac, IpAddr),
    /// Removes a forwarding entry.
    RemoveFdb(Mac, IpAddr),
    /// Adds or atomically replaces a nexthop object.
    SetNexthop(u32, Nexthop),
    /// Removes a nexthop object.
    RemoveNexthop(u32),
    /// Adds a route; fails if there is one with this key, which is then not ours.
    AddRoute(RouteKey, Route),
    /// Replaces a route of ours.
    ReplaceRoute(RouteKey, Route),
    /// Removes a route.
    RemoveRoute(RouteKey),
    /// Appends a policy rule behind those of equal priority.
    AddRule(Rule),
    /// Removes the first such rule.
    RemoveRule(Rule),
}

/// Why a part of the need is left out for now. The backstops answer for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
pub enum Blocked {
    /// There is no link with the underlay's name.
    #[error(
        "link {device} does not exist, so there is no VXLAN to the other nodes; check the node's address and its link"
    )]
    UnderlayAbsent {
        /// The name that was looked for.
        device: String,
    },
    /// This node should carry cables, and there is no TUN device.
    #[error(
        "TUN device {} does not exist; the gateway agent makes it: check that its pod runs and that /dev/net/tun is there",
        tags::TUN_LINK
    )]
    TunAbsent,
    /// The TUN device exists, but nobody holds it open or it is down.
    #[error(
        "TUN device {} has no reader; check that the gateway agent runs on this node",
        tags::TUN_LINK
    )]
    TunWithoutReader,
    /// The source address for routes is not on the node.
    #[error(
        "address {address} is not on this node, so host packets to other clusters have the wrong source; check the CNI"
    )]
    SourceAbsent {
        /// The address that was looked for.
        address: IpAddr,
    },
    /// A peer cannot be reached over this underlay.
    #[error(
        "node address {peer} is not of the family of this node's {local}; give both nodes an address of one family"
    )]
    PeerFamily {
        /// The peer's address.
        peer: IpAddr,
        /// Ours.
        local: IpAddr,
    },
}

impl Plan {
    /// True if the kernel already holds all that it can.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vx = tags::VXLAN_LINK;
        match self {
            Self::WriteNft(_) => write!(f, "write nft table inet {}", tags::NFT_TABLE),
            Self::UpdateVips(update) => write!(
                f,
                "remove {} and add {} elements of clusterset IPs in nft table inet {}",
                update.remove.len(),
                update.add.len(),
                tags::NFT_TABLE
            ),
            Self::EndFlows(ports) => write!(
                f,
                "forget UDP flows to {} ports of clusterset IPs by backends that are gone",
                ports.len()
            ),
            Self::DeleteVxlan => write!(f, "delete link {vx}"),
            Self::CreateVxlan(link) => {
                write!(
                    f,
                    "create link {vx} (VNI {}, port {}, MTU {})",
                    link.vni, link.port, link.mtu
                )
            }
            Self::SetVxlanMtu(mtu) => write!(f, "set MTU of link {vx} to {mtu}"),
            Self::SetSysctl(key, value) => write!(f, "set {key} to {value}"),
            Self::RaiseVxlan => write!(f, "set link {vx} up"),
            Self::AddAddress(address) => write!(f, "add address {address} to link {vx}"),
            Self::RemoveAddress(address) => write!(f, "remove address {address} from link {vx}"),
            Self::SetNeighbour(address, mac) => write!(f, "set neighbour {address} at {mac} on link {vx}"),
            Self::RemoveNeighbour(address) => write!(f, "remove neighbour {address} from link {vx}"),
            Self::SetFdb(mac, node) => write!(f, "set forwarding of {mac} on link {vx} to node {node}"),
            Self::RemoveFdb(mac, node) => write!(f, "remove forwarding of {mac} on link {vx} to node {node}"),
            Self::SetNexthop(id, Nexthop::Vtep(via)) => write!(f, "set nexthop {id} to {via} on link {vx}"),
            Self::SetNexthop(id, Nexthop::Tun) => write!(f, "set nexthop {id} to link {}", tags::TUN_LINK),
            Self::SetNexthop(id, Nexthop::Link) => write!(f, "set nexthop {id} to link {vx}"),
            Self::SetNexthop(id, Nexthop::Other) => write!(f, "set nexthop {id} to an unknown target"),
            Self::RemoveNexthop(id) => write!(f, "remove nexthop {id}"),
            Self::AddRoute(key, _) => write!(f, "add route {key}"),
            Self::ReplaceRoute(key, _) => write!(f, "replace route {key}"),
            Self::RemoveRoute(key) => write!(f, "remove route {key}"),
            Self::AddRule(rule) => write!(f, "add rule {rule}"),
            Self::RemoveRule(rule) => write!(f, "remove rule {rule}"),
        }
    }
}

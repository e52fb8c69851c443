//! The kernel's state in the kernel's words: what is ours in it, and the facts around it that decisions need.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::nft::NftShape;
use crate::sysctl::SysctlKey;
use crate::tags;
use crate::vips::VipElements;
use crate::vtep::Mac;

/// One observation of a node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// What we do not own but decide by.
    pub facts: Facts,
    /// What is ours.
    pub state: State,
    /// Packets that had hit each counting rule of ours when the rules were read last, by the rule's name. Figures only: no decision looks at
    /// them.
    pub counters: BTreeMap<String, u64>,
}

/// What others own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// MTU of the underlay link; none if there is no such link.
    pub underlay_mtu: Option<u32>,
    /// The gateway agent's TUN device.
    pub tun: Option<TunLink>,
    /// Every address of the node but those on our own link.
    pub addresses: BTreeSet<IpAddr>,
}

/// The state of the TUN device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TunLink {
    /// Up, and an agent holds it open. The kernel refuses nexthops on a TUN without a reader, and flushes them when it goes.
    pub carrier: bool,
}

/// What is ours in the kernel. As a target it is what should be, as part of [`Observed`] it is what is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The link [`tags::VXLAN_LINK`].
    pub vxlan: Option<VxlanLink>,
    /// Addresses on the VXLAN link.
    pub addresses: BTreeSet<IpNet>,
    /// Inner Ethernet address → node address.
    pub fdb: BTreeMap<Mac, IpAddr>,
    /// Permanent neighbours on the VXLAN link.
    pub neighbours: BTreeMap<Ipv6Addr, Mac>,
    /// Nexthop objects by id.
    pub nexthops: BTreeMap<u32, Nexthop>,
    /// Routes in our tables with our protocol.
    #[serde(with = "as_pairs")]
    pub routes: BTreeMap<RouteKey, Route>,
    /// Policy rules in the kernel's order (equal priorities run in order of arrival).
    pub rules: Vec<Rule>,
    /// The nft table; none if it is absent.
    pub nft: Option<NftShape>,
    /// Elements of the nft table's changing sets and maps.
    pub vips: VipElements,
    /// As a target: values to be set. As observed: the values of all keys that a target may name.
    pub sysctls: BTreeMap<SysctlKey, String>,
}

/// The VXLAN link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VxlanLink {
    /// Network identifier.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// Lower link, if it is bound to one that exists.
    pub underlay: Option<String>,
    /// Outer source.
    pub local: Option<IpAddr>,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Learns inner addresses from packets: a peer could move another's. Must be false.
    pub learning: bool,
    /// Outer packets carry Don't Fragment. Must be true, or the kernel fragments silently.
    pub df: bool,
    /// Its MTU.
    pub mtu: u32,
    /// It is up.
    pub up: bool,
}

/// A nexthop object. All of ours are of family inet6, which carries IPv4 routes as well, so that a replace never crosses families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Nexthop {
    /// A node on the VXLAN.
    Vtep(Ipv6Addr),
    /// The TUN device.
    Tun,
    /// The VXLAN link, whoever is behind it: for addresses that are translated before they get there.
    Link,
    /// Something else under our tag: drift.
    Other,
}

/// What makes a route unique in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouteKey {
    /// [`tags::TABLE_OWN`] or [`tags::TABLE_TRANSIT`].
    pub table: u32,
    /// Destination.
    pub prefix: IpNet,
    /// Metric; the lowest wins.
    pub metric: u32,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Route {
    /// Answers ICMP unreachable.
    Unreachable,
    /// Goes by a nexthop object.
    Via {
        /// Id of the object.
        nexthop: u32,
        /// Route MTU, which also clamps TCP.
        mtu: Option<u32>,
        /// Preferred source.
        source: Option<IpAddr>,
    },
    /// Something else under our tag: drift.
    Other,
}

/// A policy rule of ours: our priority and protocol are implied.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// Its address family.
    pub family: Family,
    /// Only packets from these sources. We make no such rule: it breaks MSS clamping in one direction.
    pub from: Option<IpNet>,
    /// Only packets to these destinations.
    pub to: Option<IpNet>,
    /// Only packets that came in by this link.
    pub iif: Option<String>,
    /// Only packets with this mark.
    pub mark: Option<u32>,
    /// The table to look up.
    pub table: u32,
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl State {
    /// Forgets what the kernel drops together with a link of ours, on a node that has the addresses `elsewhere` on other links.
    pub(crate) fn drop_link(&mut self, link: &str, elsewhere: &BTreeSet<IpAddr>) {
        if link == tags::VXLAN_LINK {
            self.vxlan = None;
            for address in std::mem::take(&mut self.addresses) {
                self.drop_source(address.addr(), elsewhere);
            }
            self.fdb.clear();
            self.neighbours.clear();
        }
        self.sysctls.retain(|key, _| key.device() != Some(link));
        self.drop_nexthops(|nexthop| match nexthop {
            Nexthop::Vtep(_) | Nexthop::Link => link == tags::VXLAN_LINK,
            Nexthop::Tun => link == tags::TUN_LINK,
            Nexthop::Other => false,
        });
    }

    /// Follows an address that went: the kernel removes IPv4 routes that prefer it, and makes IPv6 routes forget it,
    /// unless another link has it too.
    pub(crate) fn drop_source(&mut self, address: IpAddr, elsewhere: &BTreeSet<IpAddr>) {
        if elsewhere.contains(&address) {
            return;
        }
        let prefers = |route: &Route| matches!(route, Route::Via { source, .. } if *source == Some(address));
        self.routes.retain(|_, route| !(address.is_ipv4() && prefers(route)));
        for route in self.routes.values_mut() {
            if let Route::Via { source, .. } = route
                && *source == Some(address)
            {
                *source = None;
            }
        }
    }

    /// Removes nexthop objects, and with them the routes that use them, as the kernel does.
    pub(crate) fn drop_nexthops(&mut self, gone: impl Fn(&Nexthop) -> bool) {
        self.nexthops.retain(|_, nexthop| !gone(nexthop));
        let left = &self.nexthops;
        self.routes.retain(|_, route| match route {
            Route::Via { nexthop, .. } => left.contains_key(nexthop),
            Route::Unreachable | Route::Other => true,
        });
    }
}

impl VxlanLink {
    /// True if the kernel can turn `self` into `target` without making the link anew (MTU and up can change, the rest cannot).
    pub(crate) fn can_become(&self, target: &Self) -> bool {
        *target
            == Self {
                mtu: target.mtu,
                up: target.up,
                ..self.clone()
            }
    }
}

impl Rule {
    /// `lookup table`
    pub fn all(family: Family, table: u32) -> Self {
        Self {
            family,
            from: None,
            to: None,
            iif: None,
            mark: None,
            table,
        }
    }

    /// `iif link lookup table`
    pub fn incoming(family: Family, link: &str, table: u32) -> Self {
        Self {
            iif: Some(link.to_owned()),
            ..Self::all(family, table)
        }
    }
}

impl Family {
    /// Both, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} table {} metric {}", self.prefix, self.table, self.metric)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some(iif) = &self.iif {
            write!(f, " iif {iif}")?;
        }
        if let Some(mark) = self.mark {
            write!(f, " fwmark {mark:#x}")?;
        }
        write!(f, " lookup {}", self.table)
    }
}

/// Maps with keys that are not text, as lists of pairs: JSON has no other keys.
pub(crate) mod as_pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K, V, S>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error>
    where
        K: Serialize,
        V: Serialize,
        S: Serializer,
    {
        to.collect_seq(map.iter())
    }

    pub(crate) fn deserialize<'de, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<(K, V)>::deserialize(from)?.into_iter().collect())
    }
}

//! From the need of a node to the state that its kernel should have, given what the kernel can have now.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::desired::{Desired, Via};
use crate::nft::NftTable;
use crate::op::Blocked;
use crate::state::{Family, Nexthop, Observed, Route, RouteKey, Rule, State, VxlanLink};
use crate::sysctl;
use crate::tags;
use crate::vtep::hash;

/// What should be.
pub(crate) struct Target {
    pub(crate) state: State,
    pub(crate) nft: NftTable,
    pub(crate) blocked: BTreeSet<Blocked>,
}

/// The MTU of a VXLAN over an underlay of `underlay_mtu` bytes: the outer headers take 50 bytes on IPv4 and 70 on IPv6.
///
/// Never below 1,280: the kernel takes IPv6, and so every vtep, off a smaller link.
pub fn vxlan_mtu(underlay_mtu: u32, local: IpAddr) -> u32 {
    let outer = if local.is_ipv4() { 50 } else { 70 };
    underlay_mtu.saturating_sub(outer).max(IPV6_MIN_MTU)
}

/// Computes what should be.
pub(crate) fn target(desired: &Desired, observed: &Observed) -> Target {
    let nft = NftTable::for_node(desired);
    let mut target = Target {
        state: State {
            nft: Some(nft.shape().clone()),
            vips: nft.vips().clone(),
            ..State::default()
        },
        nft,
        blocked: BTreeSet::new(),
    };
    target.vxlan(desired, observed);
    let sources = target.sources(desired, observed);
    target.routes(desired, observed, &sources);
    target.vip_routes(desired, &sources);
    target.rules();
    target.state.sysctls = sysctl::needed(desired, observed, &families(desired));
    target
}

impl Target {
    fn vxlan(&mut self, desired: &Desired, observed: &Observed) {
        let underlay = &desired.underlay;
        let Some(underlay_mtu) = observed.facts.underlay_mtu else {
            self.blocked.insert(Blocked::UnderlayAbsent {
                device: underlay.device.clone(),
            });
            return;
        };
        self.state.vxlan = Some(VxlanLink {
            vni: tags::VXLAN_VNI,
            port: tags::VXLAN_PORT,
            underlay: Some(underlay.device.clone()),
            local: Some(underlay.local),
            mac: desired.vtep.mac,
            learning: false,
            df: true,
            mtu: vxlan_mtu(underlay_mtu, underlay.local),
            up: true,
        });
        self.state.addresses.insert(link_local(desired.vtep.address.into()));
        if families(desired).contains(&Family::V4) {
            self.state
                .addresses
                .insert(IpNet::from(IpAddr::from(tags::LINK_ANCHOR)));
        }
        let assigned = desired.sources.iter().filter(|source| source.assign);
        self.state
            .addresses
            .extend(assigned.map(|source| IpNet::from(source.address)));
        for peer in &desired.peers {
            if Family::of(peer.underlay) == Family::of(underlay.local) {
                self.state.fdb.insert(peer.vtep.mac, peer.underlay);
                self.state.neighbours.insert(peer.vtep.address, peer.vtep.mac);
            } else {
                self.blocked.insert(Blocked::PeerFamily {
                    peer: peer.underlay,
                    local: underlay.local,
                });
            }
        }
    }

    fn routes(&mut self, desired: &Desired, observed: &Observed, sources: &BTreeMap<Family, IpAddr>) {
        let ids: BTreeMap<_, _> = own_nexthop_ids(desired).collect();
        for (id, cluster) in &desired.clusters {
            let nexthop = match cluster.via {
                Via::Tun => self.through_tun(observed),
                Via::Vtep(address) => self.state.vxlan.is_some().then_some(Nexthop::Vtep(address)),
                Via::Unreachable => None,
            };
            let over_vxlan = self
                .state
                .vxlan
                .as_ref()
                .filter(|_| matches!(cluster.via, Via::Vtep(_)));
            let mtu = over_vxlan.map_or(cluster.mtu, |link| link.mtu.min(cluster.mtu));
            let transit = if desired.gateway && cluster.transit {
                self.through_tun(observed)
            } else {
                None
            };

            for prefix in cluster.prefixes.iter().map(IpNet::trunc) {
                let family = Family::of(prefix.addr());
                let source = sources.get(&family).copied();
                let own_id = ids[id.as_str()].of(family);
                let transit_id = tags::NEXTHOP_TRANSIT + offset(family);
                // A measured path may be narrower than IPv6 may be told.
                let floor = if family == Family::V6 { IPV6_MIN_MTU } else { 0 };
                let [mtu, cable_mtu] = [mtu.max(floor), cluster.mtu.max(floor)];
                self.route(tags::TABLE_OWN, prefix, nexthop.map(|to| (own_id, to, mtu)), source);
                self.route(
                    tags::TABLE_TRANSIT,
                    prefix,
                    transit.map(|to| (transit_id, to, cable_mtu)),
                    source,
                );
            }
        }
    }

    /// A host client looks up its route before its packets are translated, and takes its source from it. What a pod sends is
    /// translated first, and what is not translated is refused by nft. Should that be gone, nothing of the range leaves this node:
    /// nobody has the link's other end as a neighbour.
    fn vip_routes(&mut self, desired: &Desired, sources: &BTreeMap<Family, IpAddr>) {
        let way = self.state.vxlan.as_ref().map(|link| link.mtu);
        for prefix in desired.vips.range.iter().map(IpNet::trunc) {
            let family = Family::of(prefix.addr());
            let id = tags::NEXTHOP_VIP + offset(family);
            let source = sources.get(&family).copied();
            self.route(tags::TABLE_OWN, prefix, way.map(|mtu| (id, Nexthop::Link, mtu)), source);
            self.route(tags::TABLE_TRANSIT, prefix, None, None);
        }
    }

    /// A prefix in one table: the backstop always, the way out if there is one.
    fn route(&mut self, table: u32, prefix: IpNet, way: Option<(u32, Nexthop, u32)>, source: Option<IpAddr>) {
        let backstop = RouteKey {
            table,
            prefix,
            metric: tags::BACKSTOP_METRIC,
        };
        self.state.routes.insert(backstop, Route::Unreachable);
        if let Some((id, to, mtu)) = way {
            self.state.nexthops.insert(id, to);
            let key = RouteKey {
                table,
                prefix,
                metric: tags::METRIC,
            };
            self.state.routes.insert(
                key,
                Route::Via {
                    nexthop: id,
                    mtu: Some(mtu),
                    source,
                },
            );
        }
    }

    /// The order decides, because all have one priority: what came by VXLAN must meet the transit table first. Neither form
    /// selects by source or mark, which would break MSS clamping in one direction.
    fn rules(&mut self) {
        for family in Family::ALL {
            self.state
                .rules
                .push(Rule::incoming(family, tags::VXLAN_LINK, tags::TABLE_TRANSIT));
            self.state.rules.push(Rule::all(family, tags::TABLE_OWN));
        }
    }

    fn through_tun(&mut self, observed: &Observed) -> Option<Nexthop> {
        match observed.facts.tun {
            Some(tun) if tun.carrier => return Some(Nexthop::Tun),
            Some(_) => self.blocked.insert(Blocked::TunWithoutReader),
            None => self.blocked.insert(Blocked::TunAbsent),
        };
        None
    }

    /// The kernel refuses a route with a source that the node does not have; without the source, pods at least get through.
    fn sources(&mut self, desired: &Desired, observed: &Observed) -> BTreeMap<Family, IpAddr> {
        let mut sources = BTreeMap::new();
        for source in &desired.sources {
            let ours = source.assign && self.state.vxlan.is_some();
            if ours || (!source.assign && observed.facts.addresses.contains(&source.address)) {
                sources.entry(Family::of(source.address)).or_insert(source.address);
            } else {
                self.blocked.insert(Blocked::SourceAbsent {
                    address: source.address,
                });
            }
        }
        sources
    }
}

fn families(desired: &Desired) -> Vec<Family> {
    let remote = desired.clusters.values().flat_map(|cluster| &cluster.prefixes);
    let present: BTreeSet<_> = desired
        .local
        .iter()
        .chain(remote)
        .map(|prefix| Family::of(prefix.addr()))
        .collect();
    present.into_iter().collect()
}

/// A number below [`tags::NEXTHOP_SLOTS`] for each cluster: its hash, or the next free one in the order of ids. Clusters so keep
/// their objects while others come and go, but for the one in thousands that shared a hash.
fn nexthop_slots<'a>(ids: impl Iterator<Item = &'a String>) -> BTreeMap<&'a str, u32> {
    let mut taken = BTreeSet::new();
    ids.map(|id| {
        let mut slot = (hash("nexthop", id) % u64::from(tags::NEXTHOP_SLOTS)) as u32;
        while !taken.insert(slot) {
            slot = (slot + 1) % tags::NEXTHOP_SLOTS;
        }
        (id.as_str(), slot)
    })
    .collect()
}

/// The nexthop objects of one cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NexthopIds(u32);

impl NexthopIds {
    pub(crate) fn of(self, family: Family) -> u32 {
        self.0 + offset(family)
    }
}

/// The objects that this node's own packets for each cluster go to.
pub(crate) fn own_nexthop_ids(desired: &Desired) -> impl Iterator<Item = (&str, NexthopIds)> {
    let slots = nexthop_slots(desired.clusters.keys()).into_iter();
    slots.map(|(cluster, slot)| (cluster, NexthopIds(tags::NEXTHOP_BASE + 2 * slot)))
}

fn offset(family: Family) -> u32 {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// RFC 8200 §5.
const IPV6_MIN_MTU: u32 = 1280;

fn link_local(address: IpAddr) -> IpNet {
    IpNet::new(address, 64).expect("64 is a prefix length of IPv6")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vxlan_takes_its_headers_from_the_underlay() {
        assert_eq!(vxlan_mtu(1500, "192.0.2.1".parse().unwrap()), 1450);
        assert_eq!(vxlan_mtu(1500, "2001:db8::1".parse().unwrap()), 1430);
        assert_eq!(vxlan_mtu(68, "192.0.2.1".parse().unwrap()), 1280);
    }

    #[test]
    fn slots_are_distinct_and_stay_when_others_come() {
        let ids: Vec<String> = (0..2000).map(|n| format!("cluster-{n}")).collect();
        let slots = nexthop_slots(ids.iter());
        assert_eq!(slots.values().collect::<BTreeSet<_>>().len(), ids.len());
        let fewer = nexthop_slots(ids[..1000].iter());
        let moved = fewer.iter().filter(|(id, slot)| slots[*id] != **slot).count();
        assert!(moved <= 2, "{moved} clusters changed their nexthop");
    }
}

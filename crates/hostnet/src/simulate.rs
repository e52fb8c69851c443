//! A model of the kernel, as far as our ops can tell: it takes an op, refuses what the kernel refuses, and follows its cascades.

use crate::op::Op;
use crate::state::{Nexthop, Observed, Route};
use crate::tags;

/// The model refused an op, as the kernel would.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {op}: {why}")]
pub struct Refused {
    op: String,
    why: &'static str,
}

impl Observed {
    /// Takes one step.
    ///
    /// # Errors
    /// If a kernel in this state would refuse it: a plan whose every op is accepted is well ordered.
    pub fn apply(&mut self, op: &Op) -> Result<(), Refused> {
        let refused = |why| {
            Err(Refused {
                op: op.to_string(),
                why,
            })
        };
        let state = &mut self.state;
        let raised = state.vxlan.as_ref().is_some_and(|link| link.up);
        match op {
            Op::WriteNft(table) => {
                state.nft = Some(table.shape().clone());
                state.vips = table.vips().clone();
            }
            Op::UpdateVips(update) => {
                if state.nft.is_none() {
                    return refused("no such table");
                }
                state.vips.take_in(update);
            }
            Op::EndFlows(_) => {}
            Op::DeleteVxlan => {
                if state.vxlan.is_none() {
                    return refused("no such link");
                }
                state.drop_link(tags::VXLAN_LINK, &self.facts.addresses);
            }
            Op::CreateVxlan(link) => {
                if state.vxlan.is_some() {
                    return refused("link exists");
                }
                state.vxlan = Some(crate::state::VxlanLink {
                    up: false,
                    ..link.clone()
                });
            }
            Op::SetVxlanMtu(mtu) => match &mut state.vxlan {
                Some(link) => link.mtu = *mtu,
                None => return refused("no such link"),
            },
            Op::SetSysctl(key, value) => {
                if key.device() == Some(tags::VXLAN_LINK) && state.vxlan.is_none() {
                    return refused("no such link");
                }
                state.sysctls.insert(key.clone(), value.clone());
            }
            Op::RaiseVxlan => match &mut state.vxlan {
                Some(link) => link.up = true,
                None => return refused("no such link"),
            },
            Op::AddAddress(_) | Op::SetNeighbour(..) | Op::SetFdb(..) if !raised => return refused("link is down"),
            Op::AddAddress(address) => {
                if !state.addresses.insert(*address) {
                    return refused("address exists");
                }
            }
            Op::RemoveAddress(address) => {
                if !state.addresses.remove(address) {
                    return refused("no such address");
                }
                state.drop_source(address.addr(), &self.facts.addresses);
            }
            Op::SetNeighbour(address, mac) => {
                state.neighbours.insert(*address, *mac);
            }
            Op::RemoveNeighbour(address) => {
                if state.neighbours.remove(address).is_none() {
                    return refused("no such neighbour");
                }
            }
            Op::SetFdb(mac, node) => {
                state.fdb.insert(*mac, *node);
            }
            Op::RemoveFdb(mac, node) => {
                if state.fdb.get(mac) != Some(node) {
                    return refused("no such entry");
                }
                state.fdb.remove(mac);
            }
            Op::SetNexthop(id, to) => {
                let usable = match to {
                    Nexthop::Vtep(_) | Nexthop::Link => raised,
                    Nexthop::Tun => self.facts.tun.is_some_and(|tun| tun.carrier),
                    Nexthop::Other => false,
                };
                if !usable {
                    return refused("its link is absent or down");
                }
                state.nexthops.insert(*id, *to);
            }
            Op::RemoveNexthop(id) => {
                if state.nexthops.remove(id).is_none() {
                    return refused("no such nexthop");
                }
                state.drop_nexthops(|_| false);
            }
            Op::AddRoute(key, _) if state.routes.contains_key(key) => return refused("route exists"),
            Op::ReplaceRoute(key, _) if !state.routes.contains_key(key) => return refused("no such route"),
            Op::AddRoute(key, route) | Op::ReplaceRoute(key, route) => {
                if let Route::Via { nexthop, source, .. } = route {
                    if !state.nexthops.contains_key(nexthop) {
                        return refused("no such nexthop");
                    }
                    let on_link = |source| state.addresses.iter().any(|address| address.addr() == source);
                    if source.is_some_and(|source| !self.facts.addresses.contains(&source) && !on_link(source)) {
                        return refused("source is not an address of this node");
                    }
                }
                state.routes.insert(*key, *route);
            }
            Op::RemoveRoute(key) => {
                if state.routes.remove(key).is_none() {
                    return refused("no such route");
                }
            }
            Op::AddRule(rule) => state.rules.push(rule.clone()),
            Op::RemoveRule(rule) => match state.rules.iter().position(|other| other == rule) {
                Some(first) => drop(state.rules.remove(first)),
                None => return refused("no such rule"),
            },
        }
        Ok(())
    }
}

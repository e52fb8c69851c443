//! The difference between what should be and what is, as ordered steps.
//!
//! The order keeps two promises at every step: nothing leaks (guards and backstops before routes, routes before rules; on the
//! way out the reverse), and nothing is used before it exists (link, address, neighbour, nexthop, route, rule).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::desired::Desired;
use crate::op::{Op, Plan};
use crate::state::{Family, Observed, Route, RouteKey, Rule, State};
use crate::tags;
use crate::target::{Target, target};

/// The steps from `observed` to `desired`. Empty once the kernel holds all that it can.
pub fn plan(desired: &Desired, observed: &Observed) -> Plan {
    let Target {
        state: want,
        nft,
        blocked,
    } = target(desired, observed);
    let mut have = observed.state.clone();
    let mut ops = Vec::new();

    if have.nft.as_ref() != Some(nft.shape()) {
        ops.push(Op::WriteNft(nft));
    } else if let Some(update) = have.vips.update_to(&want.vips) {
        ops.push(Op::UpdateVips(update));
    }
    if !ops.is_empty() {
        let ports = have.vips.udp_led_elsewhere(&want.vips, have.nft.is_some());
        ops.extend((!ports.is_empty()).then_some(Op::EndFlows(ports)));
    }
    let raise = link(&want, &mut have, &observed.facts.addresses, &mut ops);
    let changed = want
        .sysctls
        .iter()
        .filter(|(key, value)| have.sysctls.get(*key) != Some(value));
    // Without the link there is no setting of it to be made.
    let possible = changed.filter(|(key, _)| want.vxlan.is_some() || key.device() != Some(tags::VXLAN_LINK));
    ops.extend(possible.map(|(key, value)| Op::SetSysctl(key.clone(), value.clone())));
    if raise {
        ops.push(Op::RaiseVxlan);
    }

    ops.extend(want.addresses.difference(&have.addresses).copied().map(Op::AddAddress));
    ops.extend(differing(&want.neighbours, &have.neighbours).map(|(address, mac)| Op::SetNeighbour(*address, *mac)));
    ops.extend(differing(&want.fdb, &have.fdb).map(|(mac, node)| Op::SetFdb(*mac, *node)));

    // What is stale goes last: traffic keeps its old way until the new one stands.
    ops.extend(routes(&want, &have, true));
    ops.extend(differing(&want.nexthops, &have.nexthops).map(|(id, to)| Op::SetNexthop(*id, *to)));
    ops.extend(routes(&want, &have, false));
    for family in Family::ALL {
        rules(family, &want.rules, &have.rules, &mut ops);
    }

    let stale: Vec<_> = have
        .routes
        .keys()
        .filter(|key| !want.routes.contains_key(key))
        .copied()
        .collect();
    let (backstops, ways): (Vec<_>, Vec<_>) = stale.into_iter().partition(|key| key.metric == tags::BACKSTOP_METRIC);
    ops.extend(ways.into_iter().chain(backstops).map(Op::RemoveRoute));
    ops.extend(absent(&have.nexthops, &want.nexthops).map(|(id, _)| Op::RemoveNexthop(*id)));
    ops.extend(absent(&have.fdb, &want.fdb).map(|(mac, node)| Op::RemoveFdb(*mac, *node)));
    ops.extend(absent(&have.neighbours, &want.neighbours).map(|(address, _)| Op::RemoveNeighbour(*address)));
    ops.extend(
        have.addresses
            .difference(&want.addresses)
            .copied()
            .map(Op::RemoveAddress),
    );

    Plan {
        ops,
        blocked: blocked.into_iter().collect(),
    }
}

/// Brings the VXLAN link to what it should be, taking from `have` what goes with an old one. True if it must still be set up.
fn link(want: &State, have: &mut State, elsewhere: &BTreeSet<IpAddr>, ops: &mut Vec<Op>) -> bool {
    let unfit = match (&want.vxlan, &have.vxlan) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(want), Some(have)) => !have.can_become(want),
    };
    if unfit {
        ops.push(Op::DeleteVxlan);
        have.drop_link(tags::VXLAN_LINK, elsewhere);
    }
    match (&want.vxlan, &have.vxlan) {
        (None, _) => false,
        (Some(want), None) => {
            ops.push(Op::CreateVxlan(want.clone()));
            true
        }
        (Some(want), Some(have)) => {
            if want.mtu != have.mtu {
                ops.push(Op::SetVxlanMtu(want.mtu));
            }
            !have.up
        }
    }
}

/// Routes to add or replace: the backstops, or all others.
fn routes(want: &State, have: &State, backstops: bool) -> Vec<Op> {
    let to_op = |(key, route): (&RouteKey, &Route)| match have.routes.get(key) {
        Some(_) => Op::ReplaceRoute(*key, *route),
        None => Op::AddRoute(*key, *route),
    };
    let chosen = |(key, _): &(&RouteKey, &Route)| (key.metric == tags::BACKSTOP_METRIC) == backstops;
    differing(&want.routes, &have.routes)
        .filter(chosen)
        .map(to_op)
        .collect()
}

/// Rules have an order but no position of their own: a new one comes last among those of its priority, and a removal takes the
/// first equal one. So what stands right at the front stays, all that should follow is appended, and only then the old
/// rest goes: there is never a moment without a rule.
fn rules(family: Family, want: &[Rule], have: &[Rule], ops: &mut Vec<Op>) {
    let of_family = |rules: &[Rule]| {
        rules
            .iter()
            .filter(|rule| rule.family == family)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (want, have) = (of_family(want), of_family(have));
    let mut keep = want.iter().zip(&have).take_while(|(want, have)| want == have).count();
    // A duplicate behind the front: removing it would take its first copy, in the front. Then the front begins before that.
    while let Some(shadowed) = have[..keep].iter().position(|rule| have[keep..].contains(rule)) {
        keep = shadowed;
    }
    ops.extend(want[keep..].iter().cloned().map(Op::AddRule));
    ops.extend(have[keep..].iter().cloned().map(Op::RemoveRule));
}

/// Entries of `want` that `have` lacks or has otherwise.
fn differing<'a, K: Ord, V: PartialEq>(
    want: &'a BTreeMap<K, V>,
    have: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, &'a V)> {
    want.iter().filter(|(key, value)| have.get(key) != Some(value))
}

/// Entries of `have` whose key `want` does not know.
fn absent<'a, K: Ord, V>(have: &'a BTreeMap<K, V>, want: &'a BTreeMap<K, V>) -> impl Iterator<Item = (&'a K, &'a V)> {
    have.iter().filter(|(key, _)| !want.contains_key(key))
}

#[cfg(test)]
mod tests;

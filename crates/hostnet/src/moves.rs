//! The shortest way to move traffic: nexthop objects alone.

use crate::desired::{Desired, Via};
use crate::op::{Op, Plan};
use crate::state::{Family, Nexthop};
use crate::target::own_nexthop_ids;

/// The nexthop changes between two needs of a node whose kernel is in step with `before`: one op for each cluster that has another way
/// now, and family. All its prefixes follow at once; whatever else differs is left to [`plan`](crate::plan()), which is to come
/// after.
///
/// A cluster that gets its first way needs routes, too, and so is left to `plan` as a whole.
pub fn moves(before: &Desired, after: &Desired) -> Plan {
    let mut plan = Plan::default();
    if !before.clusters.keys().eq(after.clusters.keys()) {
        return plan;
    }
    for (cluster, ids) in own_nexthop_ids(after) {
        let (old, new) = (&before.clusters[cluster], &after.clusters[cluster]);
        if old.via == new.via || old.via == Via::Unreachable {
            continue;
        }
        let families = Family::ALL
            .into_iter()
            .filter(|family| old.prefixes.iter().any(|prefix| Family::of(prefix.addr()) == *family));
        plan.ops.extend(families.map(|family| match new.via {
            Via::Tun => Op::SetNexthop(ids.of(family), Nexthop::Tun),
            Via::Vtep(address) => Op::SetNexthop(ids.of(family), Nexthop::Vtep(address)),
            // Its routes go with it, and the backstops answer.
            Via::Unreachable => Op::RemoveNexthop(ids.of(family)),
        }));
    }
    plan
}

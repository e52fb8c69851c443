//! Which gateway of the own cluster this node uses for each other cluster, from its own probes.
//!
//! Every gateway candidate is probed over the VXLAN by a task of its own ([`follow()`]); this module starts and ends those tasks
//! as the snapshot says, and turns what they report into [`Ways`]. Nothing here asks the API server.

mod follow;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clusterset::choice::{self, LocalGateway, Ways};
use hostnet::vtep;
use model::{ClusterId, NodeName, Snapshot};
use probe::{Pace, SETTLED};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use follow::{Order, Report, follow};

/// The probes of this node.
#[derive(Debug)]
pub(crate) struct Hops {
    plan: watch::Sender<Plan>,
    ways: watch::Receiver<Option<Ways>>,
}

/// What there is to probe.
#[derive(Debug, Clone, Default)]
struct Plan {
    snapshot: Option<Arc<Snapshot>>,
    /// What the VXLAN link takes, bytes.
    link_mtu: u16,
    /// This node's own in the pod network.
    addresses: Vec<IpAddr>,
}

impl Hops {
    /// Begins with nothing to probe.
    pub(crate) fn start() -> Self {
        let (plan, plans) = watch::channel(Plan {
            snapshot: None,
            link_mtu: VXLAN_OVER_ETHERNET,
            addresses: Vec::new(),
        });
        let (found, ways) = watch::channel(None);
        tokio::spawn(keep(plans, found));
        Self { plan, ways }
    }

    /// The snapshot that names the gateways.
    pub(crate) fn set_snapshot(&self, snapshot: &Arc<Snapshot>) {
        self.plan.send_if_modified(|plan| {
            let is_same = plan.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot));
            if !is_same {
                plan.snapshot = Some(Arc::clone(snapshot));
            }
            !is_same
        });
    }

    /// What the VXLAN link takes, bytes.
    pub(crate) fn set_link_mtu(&self, mtu: u16) {
        self.plan
            .send_if_modified(|plan| std::mem::replace(&mut plan.link_mtu, mtu) != mtu);
    }

    /// This node's addresses in the pod network, where it answers deep probes.
    pub(crate) fn set_addresses(&self, addresses: Vec<IpAddr>) {
        self.plan.send_if_modified(|plan| {
            let is_news = plan.addresses != addresses;
            plan.addresses = addresses;
            is_news
        });
    }

    /// The ways as they are; none until every gateway has answered or had the time to.
    pub(crate) fn ways(&self) -> watch::Receiver<Option<Ways>> {
        self.ways.clone()
    }
}

/// One gateway that is probed.
struct Probed {
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the tasks have reported, by gateway, and the bell that they ring.
#[derive(Debug, Default)]
struct Reports {
    by_gateway: Mutex<BTreeMap<NodeName, Report>>,
    news: Notify,
}

impl Reports {
    fn put(&self, node: &NodeName, report: Report) {
        let mut reports = self.by_gateway.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.get(node) != Some(&report) {
            reports.insert(node.clone(), report);
            self.news.notify_one();
        }
    }

    fn of(&self, node: &NodeName) -> Report {
        let reports = self.by_gateway.lock().unwrap_or_else(PoisonError::into_inner);
        reports.get(node).cloned().unwrap_or_default()
    }

    fn keep_only(&self, probed: &BTreeMap<NodeName, Probed>) {
        let mut reports = self.by_gateway.lock().unwrap_or_else(PoisonError::into_inner);
        reports.retain(|node, _| probed.contains_key(node));
    }
}

async fn keep(mut plans: watch::Receiver<Plan>, found: watch::Sender<Option<Ways>>) {
    let reports = Arc::new(Reports::default());
    let mut probed: BTreeMap<NodeName, Probed> = BTreeMap::new();
    let mut ways = Ways::new();
    let mut hopes = Hopes::default();
    loop {
        let plan = plans.borrow_and_update().clone();
        let mut reconsider = None;
        if let Some(snapshot) = &plan.snapshot {
            follow_gateways(snapshot, &plan, &mut probed, &reports);
            let now = Instant::now();
            let gateways = local_gateways(snapshot, &probed, &reports);
            ways = choice::ways(snapshot, &gateways, &ways, now);
            if gateways.values().all(|gateway| gateway.is_up.is_some()) {
                found.send_if_modified(|current| {
                    let is_news = current.as_ref() != Some(&ways);
                    if is_news {
                        tracing::info!(ways = %show(&ways), "ways to the other clusters");
                        *current = Some(ways.clone());
                    }
                    is_news
                });
            }
            hopes.take(choice::others(snapshot), &ways, now);
            hurry(&probed, &ways, hopes.last_until(), &plan, now);
            let settling = gateways
                .values()
                .filter_map(|gateway| Some(gateway.up_since? + SETTLED));
            reconsider = settling.chain(hopes.last_until()).filter(|at| *at > now).min();
        }
        let settled = async {
            match reconsider {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = plans.changed() => if changed.is_err() { return },
            () = reports.news.notified() => {}
            () = settled => {}
        }
    }
}

/// One task for each gateway candidate of the own cluster, this node included if it is one.
fn follow_gateways(snapshot: &Snapshot, plan: &Plan, probed: &mut BTreeMap<NodeName, Probed>, reports: &Arc<Reports>) {
    let candidates: BTreeMap<_, _> = snapshot
        .gateways_of(&snapshot.cluster)
        .filter_map(|gateway| snapshot.nodes.get(&gateway.id.node))
        .map(|node| (node.name.clone(), vtep(&node.uid).address))
        .collect();
    probed.retain(|node, hop| candidates.get(node) == Some(&hop.order.borrow().target));
    reports.keep_only(probed);
    for (node, target) in candidates {
        probed.entry(node.clone()).or_insert_with(|| {
            let (order, orders) = watch::channel(Order {
                target,
                is_used: false,
                pace: Pace::STANDBY,
                link_mtu: plan.link_mtu,
                addresses: plan.addresses.clone(),
            });
            let reports = Arc::clone(reports);
            let task = tokio::spawn(async move { follow(orders, |report| reports.put(&node, report)).await });
            Probed { order, task }
        });
    }
}

fn local_gateways(
    snapshot: &Snapshot,
    probed: &BTreeMap<NodeName, Probed>,
    reports: &Reports,
) -> BTreeMap<NodeName, LocalGateway> {
    let gateway = |node: &NodeName| {
        let report = reports.of(node);
        let says = report.says.unwrap_or_default();
        let reach = says.reach.of(choice::others(snapshot));
        LocalGateway {
            is_up: report.is_up,
            up_since: report.up_since,
            role: says.role,
            reach: reach.map(|reach| reach.into_iter().map(|(id, mtu)| (id.clone(), mtu)).collect()),
            mtu: report.mtu,
        }
    };
    probed.keys().map(|node| (node.clone(), gateway(node))).collect()
}

/// Since when there has been no way to which clusters.
#[derive(Debug, Default)]
struct Hopes(BTreeMap<ClusterId, Instant>);

impl Hopes {
    fn take<'a>(&mut self, others: impl Iterator<Item = &'a ClusterId>, ways: &Ways, now: Instant) {
        let lost = others.filter(|cluster| ways.get(*cluster).is_none_or(Option::is_none));
        self.0 = lost
            .map(|cluster| (cluster.clone(), self.0.get(cluster).copied().unwrap_or(now)))
            .collect();
    }

    /// Until when a way is expected to come back soon.
    fn last_until(&self) -> Option<Instant> {
        self.0.values().max().map(|since| *since + HOPE)
    }
}

/// Gateways in use are probed fast, and told that they are in use. So are all others for a while when a way is missing: one that has
/// just begun to reach a cluster is not to be found a second later.
fn hurry(probed: &BTreeMap<NodeName, Probed>, ways: &Ways, hope: Option<Instant>, plan: &Plan, now: Instant) {
    let is_used = |node: &NodeName| ways.values().flatten().any(|way| way.gateway == *node);
    let hopes = hope.is_some_and(|until| now < until);
    let fast = probed.keys().filter(|node| hopes || is_used(node)).count();
    for (node, hop) in probed {
        let is_used = is_used(node);
        let order = Order {
            target: hop.order.borrow().target,
            is_used,
            pace: Pace::of(hopes || is_used, fast, probed.len() - fast),
            link_mtu: plan.link_mtu,
            addresses: plan.addresses.clone(),
        };
        hop.order.send_if_modified(|current| {
            let is_news = *current != order;
            *current = order;
            is_news
        });
    }
}

fn show(ways: &Ways) -> String {
    let line = |(cluster, way): (_, &Option<choice::Way>)| match way {
        Some(way) => format!("{cluster} by {}", way.gateway),
        None => format!("{cluster} not at all"),
    };
    ways.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// How long all gateways are asked as if they were in use, after the last way to a cluster was lost.
const HOPE: Duration = Duration::from_secs(10);
/// Until the kernel has told the link's.
const VXLAN_OVER_ETHERNET: u16 = 1450;

#[cfg(test)]
mod tests {
    use super::*;
    use clusterset::choice::Way;

    #[tokio::test]
    async fn a_missing_way_is_looked_for_with_haste_and_not_for_ever() {
        let (north, west): (ClusterId, ClusterId) = ("north".parse().unwrap(), "west".parse().unwrap());
        let [gw1, gw2] = ["gw1", "gw2"].map(|node| node.parse::<NodeName>().unwrap());
        let probed: BTreeMap<_, _> = [&gw1, &gw2]
            .map(|node| {
                let (order, _) = watch::channel(Order {
                    target: std::net::Ipv6Addr::LOCALHOST,
                    is_used: false,
                    pace: Pace::STANDBY,
                    link_mtu: 1450,
                    addresses: vec![],
                });
                let task = tokio::spawn(std::future::pending());
                (node.clone(), Probed { order, task })
            })
            .into();
        let plan = Plan::default();
        let start = Instant::now();
        let mut hopes = Hopes::default();
        let mut paces = |west_by: Option<&NodeName>, at: Instant| {
            let way = |node: &NodeName| Way {
                gateway: node.clone(),
                mtu: None,
            };
            let ways = Ways::from([(north.clone(), Some(way(&gw1))), (west.clone(), west_by.map(way))]);
            hopes.take([&north, &west].into_iter(), &ways, at);
            hurry(&probed, &ways, hopes.last_until(), &plan, at);
            [&gw1, &gw2].map(|node| {
                let order = probed[node].order.borrow();
                (order.pace == Pace::ACTIVE, order.is_used)
            })
        };
        assert_eq!(paces(Some(&gw1), start), [(true, true), (false, false)]);
        let lost = start + Duration::from_secs(60);
        assert_eq!(paces(None, lost), [(true, true), (true, false)]);
        let late = lost + HOPE;
        assert_eq!(
            paces(None, late - Duration::from_millis(1)),
            [(true, true), (true, false)]
        );
        assert_eq!(paces(None, late), [(true, true), (false, false)]);
        assert_eq!(paces(Some(&gw2), late), [(true, true), (true, true)]);
        assert_eq!(paces(None, late), [(true, true), (true, false)], "lost again");
    }
}

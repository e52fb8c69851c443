//! Deep probes: from this gateway, through its cable and the other end's forwarding, to nodes of the other cluster at their addresses
//! in the pod network. A gateway whose cable is up and behind which packets get lost is found by them, be it all packets or only
//! large ones.
//!
//! They take the way that traffic takes, so only the peers in use are tested, and only by a gateway that carries traffic. A
//! [`probe::Judge`] for each peer weighs what the nodes behind it say. A peer that is found broken is avoided for half a minute and
//! told so; its own cluster then gives its role to another.

mod follow;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use model::GatewayId;
use probe::{Fault, Judge, Pace, Witness};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use follow::{Order, follow};

/// Peers in use, each with what is known of it.
pub(crate) type Targets = BTreeMap<GatewayId, Target>;

/// A peer in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Nodes behind it.
    pub(crate) nodes: Vec<IpAddr>,
    /// What the cable takes, bytes.
    pub(crate) size: u16,
    /// The latest time at which a packet of that size set out and arrived over the cable.
    pub(crate) whole_at: Option<Instant>,
}

/// What the deep probes found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// What is wrong behind which peer.
    pub(crate) faults: BTreeMap<GatewayId, Fault>,
    /// Peers that are not to be used while there is another.
    pub(crate) avoided: BTreeSet<GatewayId>,
    /// Peers whose cable has to be tried before they can be judged.
    pub(crate) suspects: BTreeSet<GatewayId>,
}

/// The deep probes of this gateway.
#[derive(Debug)]
pub(crate) struct DeepProbes {
    targets: watch::Sender<Targets>,
    found: watch::Receiver<Found>,
}

impl DeepProbes {
    /// Begins with nothing to probe.
    pub(crate) fn start() -> Self {
        let (targets, wanted) = watch::channel(Targets::new());
        let (finds, found) = watch::channel(Found::default());
        tokio::spawn(keep(wanted, finds));
        Self { targets, found }
    }

    /// What is to be probed from now on.
    pub(crate) fn set_targets(&self, targets: Targets) {
        self.targets.send_if_modified(|current| {
            *current != targets && {
                *current = targets;
                true
            }
        });
    }

    /// What they find.
    pub(crate) fn found(&self) -> watch::Receiver<Found> {
        self.found.clone()
    }
}

/// A node, by way of a peer.
type Key = (GatewayId, IpAddr);

/// What the tasks have reported, and the bell that they ring.
#[derive(Debug, Default)]
struct Reports {
    by_path: Mutex<BTreeMap<Key, Witness>>,
    news: Notify,
}

impl Reports {
    fn put(&self, key: &Key, witness: Witness) {
        if self.lock().insert(key.clone(), witness) != Some(witness) {
            self.news.notify_one();
        }
    }

    fn of(&self, peer: &GatewayId) -> Vec<Witness> {
        let reports = self.lock();
        let of_peer = reports.iter().filter(|((of, _), _)| of == peer);
        of_peer.map(|(_, witness)| *witness).collect()
    }

    /// What is locked is replaced whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Witness>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Probed {
    order: watch::Sender<Order>,
    task: JoinHandle<()>,
}

impl Drop for Probed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(mut wanted: watch::Receiver<Targets>, finds: watch::Sender<Found>) {
    let reports = Arc::<Reports>::default();
    let mut probed: BTreeMap<Key, Probed> = BTreeMap::new();
    let mut judges: BTreeMap<GatewayId, Judge> = BTreeMap::new();
    loop {
        let targets = wanted.borrow_and_update().clone();
        follow_nodes(&targets, &mut probed, &reports);
        let now = Instant::now();
        hear(&mut judges, &targets, &reports, now);
        finds.send_if_modified(|current| {
            let found = found(&judges, now);
            let is_news = *current != found;
            if current.avoided != found.avoided {
                let peers: Vec<_> = found.avoided.iter().map(ToString::to_string).collect();
                tracing::warn!(?peers, faults = ?found.faults.values(), "packets get lost behind these gateways");
            }
            *current = found;
            is_news
        });
        let due = judges.values().filter_map(|judge| judge.reconsider_at(now)).min();
        let is_due = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = reports.news.notified() => {}
            () = is_due => {}
        }
    }
}

/// One task for each node behind each peer in use.
fn follow_nodes(targets: &Targets, probed: &mut BTreeMap<Key, Probed>, reports: &Arc<Reports>) {
    let all: BTreeMap<Key, u16> = targets
        .iter()
        .flat_map(|(peer, target)| target.nodes.iter().map(|node| ((peer.clone(), *node), target.size)))
        .collect();
    probed.retain(|key, _| all.contains_key(key));
    reports.lock().retain(|key, _| all.contains_key(key));
    let pace = Pace::deep(all.len());
    for (key, size) in all {
        let order = Order { size, pace };
        let path = probed.entry(key.clone()).or_insert_with(|| {
            let (sender, orders) = watch::channel(order);
            let reports = Arc::clone(reports);
            let node = key.1;
            let task = tokio::spawn(async move { follow(node, orders, |witness| reports.put(&key, witness)).await });
            Probed { order: sender, task }
        });
        path.order
            .send_if_modified(|current| std::mem::replace(current, order) != order);
    }
}

/// Peers that are not in use, or whose cable is down, are not judged; what they were found to be is remembered.
fn hear(judges: &mut BTreeMap<GatewayId, Judge>, targets: &Targets, reports: &Reports, now: Instant) {
    for (peer, judge) in judges.iter_mut().filter(|(peer, _)| !targets.contains_key(peer)) {
        tracing::trace!(%peer, "nothing is heard of it");
        judge.adjourn();
    }
    for (peer, target) in targets {
        let whole = target.whole_at.map(|at| (target.size, at));
        let judge = judges.entry(peer.clone()).or_default();
        judge.take(&reports.of(peer), whole, now);
    }
}

fn found(judges: &BTreeMap<GatewayId, Judge>, now: Instant) -> Found {
    let those = |is_one: &dyn Fn(&Judge) -> bool| {
        let all = judges.iter().filter(|(_, judge)| is_one(judge));
        all.map(|(peer, _)| peer.clone()).collect()
    };
    Found {
        faults: judges
            .iter()
            .filter_map(|(peer, judge)| Some((peer.clone(), judge.fault(now)?)))
            .collect(),
        avoided: those(&|judge| judge.avoided(now).is_some()),
        suspects: those(&Judge::awaits_cable),
    }
}

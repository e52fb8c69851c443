//! Deep probes: from this gateway, through its cable and the other end's forwarding, to nodes of the other cluster at their addresses
//! in the pod network. A gateway whose cable is up and behind which packets get lost is found by them, be it all packets or only
//! large ones.
//!
//! They take the way that traffic takes, and are sent by a gateway that carries traffic, all the time by way of the peers in use. A
//! [`probe::Judge`] for each peer weighs what the nodes behind it say. A peer that is found broken is avoided for half a minute and
//! told so; its own cluster then gives its role to another.
//!
//! **Standbys** are probed too, once a second, so that one that would lose packets is known before it is needed. The kernel knows one way
//! to a node only, so the data plane is told which ports these probes come from, and sends them by the standby ([`Found::detours`],
//! [`DeepProbes::open_detours`]). The answer comes the way that the node's own traffic takes: by the gateway that is active there. So
//! what is tested is the way through the standby *to* its nodes; and nothing is concluded while the gateway in use is not sound itself.

mod follow;
mod hearing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use model::GatewayId;
use probe::{Fault, Judge, Pace};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use follow::{Order, follow};
use hearing::{Hearing, Key, Reports};

/// Peers with a cable that works, each with what is known of it.
pub(crate) type Targets = BTreeMap<GatewayId, Target>;

/// Ports of ours, each with the peer that packets from it go by.
pub(crate) type Detours = BTreeMap<u16, GatewayId>;

/// A peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// Nodes behind it.
    pub(crate) nodes: Vec<IpAddr>,
    /// What the cable takes, bytes.
    pub(crate) size: u16,
    /// The latest time at which a packet of that size set out and arrived over the cable.
    pub(crate) whole_at: Option<Instant>,
    /// Traffic goes by it; else it is a standby.
    pub(crate) is_used: bool,
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
    /// What the data plane is to send by standbys.
    pub(crate) detours: Detours,
}

/// The deep probes of this gateway.
#[derive(Debug)]
pub(crate) struct DeepProbes {
    targets: watch::Sender<Option<Targets>>,
    open: watch::Sender<Detours>,
    found: watch::Receiver<Found>,
}

impl DeepProbes {
    /// Begins with nothing to probe.
    pub(crate) fn start() -> Self {
        let (targets, wanted) = watch::channel(None);
        let (open, detours) = watch::channel(Detours::new());
        let (finds, found) = watch::channel(Found::default());
        tokio::spawn(keep(wanted, detours, finds));
        Self { targets, open, found }
    }

    /// What is to be probed from now on; none while this gateway carries no traffic. Then it forgets what it found: until it carries
    /// some again, that may have been mended.
    pub(crate) fn set_targets(&self, targets: Option<Targets>) {
        self.targets.send_if_modified(|current| {
            *current != targets && {
                *current = targets;
                true
            }
        });
    }

    /// The data plane knows of these: what is sent from these ports now goes where it should.
    pub(crate) fn open_detours(&self, detours: Detours) {
        self.open.send_replace(detours);
    }

    /// What they find.
    pub(crate) fn found(&self) -> watch::Receiver<Found> {
        self.found.clone()
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

async fn keep(
    mut wanted: watch::Receiver<Option<Targets>>,
    open: watch::Receiver<Detours>,
    finds: watch::Sender<Found>,
) {
    let reports = Arc::<Reports>::default();
    let mut probed: BTreeMap<Key, Probed> = BTreeMap::new();
    let mut hearing = Hearing::default();
    loop {
        let targets = wanted.borrow_and_update().clone();
        if targets.is_none() {
            hearing = Hearing::default();
        }
        let targets = targets.unwrap_or_default();
        let pace = follow_nodes(&targets, &mut probed, &open, &reports);
        let now = Instant::now();
        hearing.hear(&targets, &reports, pace, now);
        finds.send_if_modified(|current| {
            let found = Found {
                faults: hearing.faults(now),
                avoided: hearing.those(|judge| judge.avoided(now).is_some()),
                suspects: hearing.those(Judge::awaits_cable),
                detours: reports.detours(&targets),
            };
            let is_news = *current != found;
            if current.avoided != found.avoided {
                let peers: Vec<_> = found.avoided.iter().map(ToString::to_string).collect();
                tracing::warn!(?peers, faults = ?found.faults.values(), "packets get lost behind these gateways");
            }
            *current = found;
            is_news
        });
        let due = hearing.reconsider_at(now);
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

/// One task for each node behind each peer. The pace of those behind peers in use.
fn follow_nodes(
    targets: &Targets,
    probed: &mut BTreeMap<Key, Probed>,
    open: &watch::Receiver<Detours>,
    reports: &Arc<Reports>,
) -> Pace {
    let all: BTreeMap<Key, &Target> = targets
        .iter()
        .flat_map(|(peer, target)| target.nodes.iter().map(move |node| ((peer.clone(), *node), target)))
        .collect();
    probed.retain(|key, _| all.contains_key(key));
    reports.retain(|key| all.contains_key(key));
    let used = all.values().filter(|target| target.is_used).count();
    let pace = |is_used| Pace::deep(is_used, used, all.len() - used);
    for (key, target) in &all {
        let order = Order {
            size: target.size,
            pace: pace(target.is_used),
            is_detour: !target.is_used,
        };
        let path = probed.entry(key.clone()).or_insert_with(|| {
            let (sender, orders) = watch::channel(order);
            let (reports, open, key) = (Arc::clone(reports), open.clone(), key.clone());
            let task =
                tokio::spawn(async move { follow(key.1, orders, open, |report| reports.put(&key, report)).await });
            Probed { order: sender, task }
        });
        path.order
            .send_if_modified(|current| std::mem::replace(current, order) != order);
    }
    pace(true)
}

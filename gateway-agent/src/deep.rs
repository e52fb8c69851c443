//! Deep probes: from this gateway, through its cable and the other end's forwarding, to nodes of the other cluster at their addresses
//! in the pod network. A gateway whose cable is up and behind which packets get lost is found by them.
//!
//! They take the way that traffic takes, so only the peers in use are tested, and only by a gateway that carries traffic. The verdict
//! is *broken* when two nodes or more used to answer by way of a peer and none does any more: one dead node is no verdict about
//! the gateway before it; and when they stay silent for as long as a dead cable takes to be called dead, for then it is the
//! cable, and not what is behind it. A broken peer is avoided for half a minute and told why; its own cluster then gives its role to another.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{GatewayId, names};
use probe::{Hop, Message, Pace, Says};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Peers in use, each with the nodes behind it.
pub(crate) type Targets = BTreeMap<GatewayId, Vec<IpAddr>>;

/// The deep probes of this gateway.
#[derive(Debug)]
pub(crate) struct DeepProbes {
    targets: watch::Sender<Targets>,
    broken: watch::Receiver<BTreeSet<GatewayId>>,
}

impl DeepProbes {
    /// Begins with nothing to probe.
    pub(crate) fn start() -> Self {
        let (targets, wanted) = watch::channel(Targets::new());
        let (found, broken) = watch::channel(BTreeSet::new());
        tokio::spawn(keep(wanted, found));
        Self { targets, broken }
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

    /// Peers behind which packets get lost.
    pub(crate) fn broken(&self) -> watch::Receiver<BTreeSet<GatewayId>> {
        self.broken.clone()
    }
}

/// What one node's answers say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Answers {
    is_up: Option<bool>,
    was_up: bool,
}

type Reports = Arc<(Mutex<BTreeMap<(GatewayId, IpAddr), Answers>>, Notify)>;

struct Probed(JoinHandle<()>);

impl Drop for Probed {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(mut wanted: watch::Receiver<Targets>, found: watch::Sender<BTreeSet<GatewayId>>) {
    let reports = Reports::default();
    let mut probed: BTreeMap<(GatewayId, IpAddr), Probed> = BTreeMap::new();
    let mut verdicts = Verdicts::default();
    loop {
        let targets = wanted.borrow_and_update().clone();
        let all: BTreeSet<_> = targets
            .iter()
            .flat_map(|(peer, nodes)| nodes.iter().map(|node| (peer.clone(), *node)))
            .collect();
        probed.retain(|key, _| all.contains(key));
        lock(&reports).retain(|key, _| all.contains(key));
        for key in all {
            probed.entry(key.clone()).or_insert_with(|| {
                let reports = Arc::clone(&reports);
                Probed(tokio::spawn(async move { follow(key, &reports).await }))
            });
        }
        let now = Instant::now();
        verdicts.keep_only(&targets);
        for peer in targets.keys() {
            let answers: Vec<_> = lock(&reports)
                .iter()
                .filter(|((of, _), _)| of == peer)
                .map(|(_, answers)| *answers)
                .collect();
            verdicts.take(peer, &answers, now);
        }
        let broken = verdicts.broken(now);
        found.send_if_modified(|current| *current != broken && {
            tracing::warn!(peers = ?broken.iter().map(ToString::to_string).collect::<Vec<_>>(), "packets get lost behind these gateways");
            *current = broken;
            true
        });
        let expiry = verdicts.expiry(now);
        let expired = async {
            match expiry {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { return },
            () = reports.1.notified() => {}
            () = expired => {}
        }
    }
}

/// Which peers are avoided, and until when.
#[derive(Debug, Default)]
struct Verdicts {
    /// Since when nobody answers.
    silent: BTreeMap<GatewayId, Instant>,
    until: BTreeMap<GatewayId, Instant>,
    /// Those that were broken before: they have no first answer to wait for.
    known: BTreeSet<GatewayId>,
}

impl Verdicts {
    fn take(&mut self, peer: &GatewayId, answers: &[Answers], now: Instant) {
        if answers.iter().any(|answers| answers.is_up == Some(true)) {
            // By way of itself: it was the only one, and works again.
            self.until.remove(peer);
            self.silent.remove(peer);
            return;
        }
        let is_silent = answers.iter().all(|answers| answers.is_up == Some(false));
        let have_answered = answers.iter().filter(|answers| answers.was_up).count();
        let is_certain = answers.len() >= WITNESSES && (have_answered >= WITNESSES || self.known.contains(peer));
        if !(is_silent && is_certain) {
            self.silent.remove(peer);
            return;
        }
        let since = *self.silent.entry(peer.clone()).or_insert(now);
        if now >= since + CABLE_FIRST {
            self.known.insert(peer.clone());
            self.until.insert(peer.clone(), now + AVOID_FOR);
        }
    }

    /// Peers that are not in use, or whose cable is down, are not judged.
    fn keep_only(&mut self, targets: &Targets) {
        self.silent.retain(|peer, _| targets.contains_key(peer));
    }

    fn broken(&mut self, now: Instant) -> BTreeSet<GatewayId> {
        self.until.retain(|_, until| *until > now);
        self.until.keys().cloned().collect()
    }

    /// When the verdicts may change by time alone.
    fn expiry(&self, now: Instant) -> Option<Instant> {
        let due = self.silent.values().map(|since| *since + CABLE_FIRST);
        due.chain(self.until.values().copied()).filter(|at| *at > now).min()
    }
}

async fn follow(key: (GatewayId, IpAddr), reports: &Reports) {
    // The size of the way is measured by the cables; here it is only asked whether packets arrive.
    let mut hop = Hop::new(SMALL, Instant::now());
    hop.handle_pace(Pace::ACTIVE, Instant::now());
    let mut socket = None;
    let mut buffer = vec![0; 4096];
    let mut was_up = false;
    loop {
        let now = Instant::now();
        hop.handle_timeout(now);
        while let Some(request) = hop.poll_probe(now) {
            let mut datagram = Vec::new();
            hop.ask(request, Says::default()).encode(&mut datagram);
            if send(&mut socket, key.1, &datagram).await.is_err() {
                socket = None;
            }
        }
        was_up |= hop.up_since().is_some();
        let answers = Answers {
            is_up: hop.is_up(now),
            was_up,
        };
        if lock(reports).insert(key.clone(), answers) != Some(answers) {
            reports.1.notify_one();
        }
        let next = match hop.is_up(now) {
            None => hop.poll_timeout().min(hop.known_at()),
            Some(_) => hop.poll_timeout(),
        };
        tokio::select! {
            received = receive(socket.as_ref(), &mut buffer) => match received {
                Ok(len) => {
                    if let Ok(message) = Message::decode(&buffer[..len]) {
                        hop.handle_message(&message, Instant::now());
                    }
                }
                Err(_) => socket = None,
            },
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

async fn send(socket: &mut Option<UdpSocket>, node: IpAddr, datagram: &[u8]) -> io::Result<()> {
    let socket = match socket {
        Some(socket) => socket,
        None => {
            let any: IpAddr = match node {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            let fresh = UdpSocket::bind((any, 0)).await?;
            fresh.connect(SocketAddr::new(node, names::DEEP_PROBE_PORT)).await?;
            socket.insert(fresh)
        }
    };
    socket.send(datagram).await.map(drop)
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}

/// What is locked is replaced whole.
fn lock(reports: &Reports) -> std::sync::MutexGuard<'_, BTreeMap<(GatewayId, IpAddr), Answers>> {
    reports.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So many nodes must have fallen silent.
const WITNESSES: usize = 2;
/// A dead cable at the active pace, with some to spare.
const CABLE_FIRST: Duration = Duration::from_millis(400);
const AVOID_FOR: Duration = Duration::from_secs(30);
/// Fits every path.
const SMALL: u16 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(is_up: bool, was_up: bool) -> Answers {
        Answers {
            is_up: Some(is_up),
            was_up,
        }
    }

    #[test]
    fn one_dead_node_is_no_verdict_and_two_are() {
        let peer = GatewayId {
            cluster: "west".parse().unwrap(),
            node: "gw1".parse().unwrap(),
        };
        let now = Instant::now();
        let mut verdicts = Verdicts::default();
        let mut broken = |answers: &[Answers], at| {
            verdicts.take(&peer, answers, at);
            !verdicts.broken(at).is_empty()
        };
        let (up, dead, never) = (answers(true, true), answers(false, true), answers(false, false));
        assert!(!broken(&[up, dead], now));
        assert!(!broken(&[dead], now), "it may be the node");
        assert!(!broken(&[never, never], now), "nobody there may ever have answered");
        assert!(!broken(&[dead, Answers::default()], now), "one may still answer");
        assert!(!broken(&[dead, dead], now), "it may be the cable");
        let found = now + CABLE_FIRST;
        assert!(broken(&[dead, dead], found));
        assert!(broken(&[dead, dead], found + AVOID_FOR / 2));
        let later = found + AVOID_FOR * 2;
        assert!(!broken(&[up, never], later));
        assert!(!broken(&[never, never], later));
        assert!(broken(&[never, never], later + CABLE_FIRST), "it was broken before");
        assert!(!broken(&[up, never], later + CABLE_FIRST));
    }
}

//! Answers the probes of the own cluster's nodes, which come over the VXLAN: that is how they know that this gateway lives, which
//! role it plays, and which clusters it reaches.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::names;
use nix::net::if_::if_nametoindex;
use probe::{MAX_ADDRESSES, Message, MessageKind, Says};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

/// The answering end.
#[derive(Debug, Clone, Default)]
pub struct HopServer {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    says: Mutex<Says>,
    first_word: Mutex<FirstWord>,
    said: Notify,
    nodes: Mutex<Nodes>,
    first_user: Notify,
}

/// Nodes that ask. Thousands may, ten times a second each, so what is old is not looked for each time.
#[derive(Debug, Default)]
struct Nodes {
    by_vtep: BTreeMap<Ipv6Addr, Node>,
    /// When any of them last said that it sends traffic here.
    used_at: Option<Instant>,
}

#[derive(Debug)]
struct Node {
    asked_at: Instant,
    /// In the pod network.
    addresses: Vec<IpAddr>,
    /// It sends traffic here, it said then.
    is_user: bool,
}

impl HopServer {
    /// Begins to answer when [`Self::set_says`] says so, and goes on until the process ends. Until then the port is closed, which tells
    /// nodes at once that nobody is there.
    pub fn start() -> Self {
        let server = Self::default();
        let shared = Arc::clone(&server.shared);
        tokio::spawn(async move {
            shared.said.notified().await;
            loop {
                if let Err(error) = answer(&shared).await {
                    tracing::warn!(%error, port = names::PROBE_PORT, "cannot answer the probes of this cluster's nodes");
                }
                tokio::time::sleep(RETRY).await;
            }
        });
        server
    }

    /// What is answered from now on. `reaches_all` is for every other cluster; the first answer waits for it, but not for long.
    pub fn set_says(&self, says: Says, reaches_all: bool, now: Instant) {
        *lock(&self.shared.says) = says;
        if lock(&self.shared.first_word).is_due(reaches_all, now) {
            self.shared.said.notify_one();
        }
    }

    /// So many nodes send traffic here. Nodes that are gone are forgotten.
    pub fn users(&self, now: Instant) -> usize {
        let mut nodes = lock(&self.shared.nodes);
        nodes.by_vtep.retain(|_, node| node.asked_within(PRESENT_FOR, now));
        let users = nodes.by_vtep.values().filter(|node| node.is_user);
        users.filter(|node| node.asked_within(FORGET_AFTER, now)).count()
    }

    /// Addresses in the pod network of nodes that ask, one of each, at most as many as a message names.
    pub(crate) fn addresses(&self, now: Instant, is_own: impl Fn(&IpAddr) -> bool) -> Vec<IpAddr> {
        let nodes = lock(&self.shared.nodes);
        let present = nodes
            .by_vtep
            .values()
            .filter(|node| node.asked_within(PRESENT_FOR, now));
        let others = present.filter_map(|node| node.addresses.first().copied());
        others.filter(|address| !is_own(address)).take(MAX_ADDRESSES).collect()
    }

    /// Resolves when a node begins to send traffic here and none did before.
    pub(crate) async fn first_user(&self) {
        self.shared.first_user.notified().await;
    }
}

/// Whether it is time to say a first word to the nodes. A gateway that has just started reaches nobody, for an instant; nodes
/// that hear so refuse all connections, and hear the rest only with their next probe.
#[derive(Debug, Default)]
struct FirstWord {
    since: Option<Instant>,
    is_said: bool,
}

impl FirstWord {
    fn is_due(&mut self, reaches_all: bool, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.is_said |= reaches_all || !is_within(since, FIRST_CABLES, now);
        self.is_said
    }
}

impl Shared {
    /// The answer to a datagram of a node.
    fn take(&self, from: &SocketAddrV6, datagram: &[u8], now: Instant) -> Option<Message> {
        let message = Message::decode(datagram).ok()?;
        if message.kind != MessageKind::Request {
            return None;
        }
        // Probes of size say nothing new.
        if message.size == 0 {
            let node = Node {
                asked_at: now,
                addresses: message.says.addresses.clone(),
                is_user: message.says.uses,
            };
            let mut nodes = lock(&self.nodes);
            if node.is_user && !nodes.used_at.is_some_and(|at| is_within(at, FORGET_AFTER, now)) {
                self.first_user.notify_one();
            }
            if node.is_user {
                nodes.used_at = Some(now);
            }
            nodes.by_vtep.insert(*from.ip(), node);
        }
        Some(message.reply(lock(&self.says).clone()))
    }
}

impl Node {
    fn asked_within(&self, time: Duration, now: Instant) -> bool {
        is_within(self.asked_at, time, now)
    }
}

fn is_within(at: Instant, time: Duration, now: Instant) -> bool {
    now.saturating_duration_since(at) < time
}

async fn answer(shared: &Shared) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, names::PROBE_PORT)).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut reply = Vec::new();
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // An ICMP error for an earlier answer.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let SocketAddr::V6(node) = from else { continue };
        // Only neighbours on the VXLAN; nobody else is to learn anything, or to be counted.
        if !is_on_vxlan(&node) {
            continue;
        }
        if let Some(message) = shared.take(&node, &buffer[..len], Instant::now()) {
            message.encode(&mut reply);
            if let Err(error) = socket.send_to(&reply, from).await {
                tracing::debug!(%error, %from, "cannot answer a probe");
            }
        }
    }
}

fn is_on_vxlan(from: &SocketAddrV6) -> bool {
    from.ip().is_unicast_link_local() && if_nametoindex(names::VXLAN_LINK).is_ok_and(|link| link == from.scope_id())
}

/// What is locked is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node that sends traffic here says so ten times a second.
const FORGET_AFTER: Duration = Duration::from_millis(500);
/// One that does not asks once a second.
const PRESENT_FOR: Duration = Duration::from_secs(5);
/// Cables that are not up by then are not waited for.
const FIRST_CABLES: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use model::ProbeRole;

    fn request(uses: bool) -> Vec<u8> {
        let message = Message {
            kind: MessageKind::Request,
            sequence: 7,
            stamp: 9,
            size: 0,
            is_deaf: false,
            finds_broken: false,
            wants_size_back: false,
            says: Says {
                uses,
                ..Says::default()
            },
        };
        let mut datagram = Vec::new();
        message.encode(&mut datagram);
        datagram
    }

    #[test]
    fn a_node_is_told_the_role_and_counted_while_it_sends_traffic() {
        let server = HopServer::default();
        let role = ProbeRole {
            active: true,
            draining: false,
            epoch: 3,
        };
        let now = Instant::now();
        let says = Says {
            role,
            ..Says::default()
        };
        server.set_says(says, true, now);
        let node = SocketAddrV6::new("fe80::1".parse().unwrap(), 4000, 0, 5);
        let reply = server.shared.take(&node, &request(true), now).unwrap();
        assert_eq!((reply.sequence, reply.stamp, reply.says.role), (7, 9, role));
        assert_eq!((server.users(now), server.users(now + FORGET_AFTER)), (1, 0));
        server.shared.take(&node, &request(false), now);
        assert_eq!(server.users(now), 0);
        let mut answer = Vec::new();
        reply.encode(&mut answer);
        assert_eq!(
            server.shared.take(&node, &answer, now),
            None,
            "an answer is not answered"
        );
    }

    #[test]
    fn the_first_word_waits_for_cables_but_not_for_long() {
        let now = Instant::now();
        let mut first = FirstWord::default();
        assert!(!first.is_due(false, now));
        assert!(!first.is_due(false, now + FIRST_CABLES / 2));
        assert!(first.is_due(false, now + FIRST_CABLES));
        let mut first = FirstWord::default();
        assert!(!first.is_due(false, now));
        assert!(first.is_due(true, now));
        assert!(first.is_due(false, now), "what was said once goes on");
    }
}

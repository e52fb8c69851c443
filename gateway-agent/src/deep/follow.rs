//! One node, probed by way of a peer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use model::names;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use probe::{DeepPath, DeepPort, Message, Pace};
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::Detours;
use super::hearing::Report;

/// How a node is to be probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// What the cable takes, bytes. The way behind it may take less.
    pub(super) size: u16,
    pub(super) pace: Pace,
    /// It is a standby that is probed: nothing may be sent before the data plane knows where to.
    pub(super) is_detour: bool,
}

/// Probes one node until it is dropped, and tells what it finds whenever it looked.
pub(super) async fn follow(
    node: IpAddr,
    mut orders: watch::Receiver<Order>,
    open: watch::Receiver<Detours>,
    tell: impl Fn(Report),
) {
    let order = *orders.borrow();
    let mut path = DeepPath::new(order.size, order.pace, Instant::now());
    let mut sockets = Sockets::default();
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let now = Instant::now();
        let order = *orders.borrow_and_update();
        let known = sockets.as_traffic.as_ref().and_then(Socket::mtu).unwrap_or(u16::MAX);
        path.handle_pace(order.pace, now);
        path.handle_size(order.size.min(known), now);
        path.handle_timeout(now);
        if path.witness(now).is_up == Some(false) {
            // It keeps the address that the node had for the way when it was opened, and the routes may not have been there yet.
            let is_old = |socket: &mut Socket| now.saturating_duration_since(socket.opened) >= RENEW_AFTER;
            sockets.as_traffic.take_if(is_old);
        }
        while let Some((port, request)) = path.poll_probe(now) {
            let may_leave = |from: u16| !order.is_detour || open.borrow().contains_key(&from);
            if sockets.send(node, port, &request, may_leave).await.is_err() {
                *sockets.of(port) = None;
            }
        }
        tell(Report {
            witness: path.witness(now),
            ports: sockets.ports(),
        });
        let readable = tokio::select! {
            () = readable(sockets.as_traffic.as_ref()) => Some(DeepPort::AsTraffic),
            () = readable(sockets.tracked.as_ref()) => Some(DeepPort::Tracked),
            changed = orders.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
            () = tokio::time::sleep_until(path.poll_timeout(now).into()) => None,
        };
        if let Some(port) = readable
            && let Some(message) = sockets.receive(port, &mut buffer)
        {
            path.handle_message(port, &message, Instant::now());
        }
    }
}

/// One socket for each port of the node, opened when there is something to send.
#[derive(Default)]
struct Sockets {
    as_traffic: Option<Socket>,
    tracked: Option<Socket>,
}

impl Sockets {
    fn of(&mut self, port: DeepPort) -> &mut Option<Socket> {
        match port {
            DeepPort::AsTraffic => &mut self.as_traffic,
            DeepPort::Tracked => &mut self.tracked,
        }
    }

    /// The ports that they send from.
    fn ports(&self) -> Vec<u16> {
        let both = [&self.as_traffic, &self.tracked].into_iter().flatten();
        both.map(|socket| socket.local).collect()
    }

    /// Sends it, if what leaves from that port of ours goes where it should. Else it counts as lost.
    async fn send(
        &mut self,
        node: IpAddr,
        port: DeepPort,
        request: &Message,
        may_leave: impl Fn(u16) -> bool,
    ) -> io::Result<()> {
        let slot = self.of(port);
        let socket = match slot {
            Some(socket) => socket,
            None => slot.insert(Socket::connect(node, port).await?),
        };
        if may_leave(socket.local) {
            socket.send(request).await?;
        }
        Ok(())
    }

    /// What has arrived, if it is a message.
    fn receive(&mut self, port: DeepPort, buffer: &mut [u8]) -> Option<Message> {
        let slot = self.of(port);
        match slot.as_ref()?.udp.try_recv(buffer) {
            Ok(len) => Message::decode(&buffer[..len]).ok(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_refusal(&error) => None,
            Err(_) => {
                *slot = None;
                None
            }
        }
    }
}

/// Nobody listens there. The socket is as good as another, and a new port would have to be told to the data plane.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

async fn readable(socket: Option<&Socket>) {
    match socket {
        // What is wrong with it shows when it is read.
        Some(socket) => drop(socket.udp.readable().await),
        None => std::future::pending().await,
    }
}

/// A way that nothing comes back by is tried from a new socket.
const RENEW_AFTER: Duration = Duration::from_secs(2);

/// Packets from it are as large as they are meant to be: none is fragmented, for the kernel tells what the way takes.
struct Socket {
    udp: UdpSocket,
    opened: Instant,
    local: u16,
    is_v4: bool,
    /// The kernel found full size too large, and does not tell what fits.
    is_narrow: bool,
}

impl Socket {
    async fn connect(node: IpAddr, port: DeepPort) -> io::Result<Self> {
        let any: IpAddr = match node {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let udp = UdpSocket::bind((any, 0)).await?;
        if node.is_ipv6() {
            setsockopt(&udp, sockopt::Ipv6DontFrag, &true)?;
        }
        let port = match port {
            DeepPort::AsTraffic => names::DEEP_PROBE_PORT,
            DeepPort::Tracked => names::TRACKED_PROBE_PORT,
        };
        udp.connect(SocketAddr::new(node, port)).await?;
        Ok(Self {
            opened: Instant::now(),
            local: udp.local_addr()?.port(),
            udp,
            is_v4: node.is_ipv4(),
            is_narrow: false,
        })
    }

    /// What the way takes by the routes, and by what routers on it have said.
    fn mtu(&self) -> Option<u16> {
        if self.is_v4 {
            let mtu = getsockopt(&self.udp, sockopt::IpMtu).ok()?;
            return Some(u16::try_from(mtu).unwrap_or(u16::MAX));
        }
        self.is_narrow.then_some(IPV6_LEAST)
    }

    async fn send(&mut self, request: &Message) -> io::Result<()> {
        let mut datagram = Vec::new();
        request.encode(&mut datagram);
        let padded = usize::from(request.size).saturating_sub(if self.is_v4 { UDP4_OVERHEAD } else { UDP6_OVERHEAD });
        datagram.resize(datagram.len().max(padded), 0);
        match self.udp.send(&datagram).await {
            Err(error) if error.raw_os_error() == Some(Errno::EMSGSIZE as i32) => {
                self.is_narrow = true;
                Ok(())
            }
            Err(error) if is_refusal(&error) => Ok(()),
            sent => sent.map(drop),
        }
    }
}

/// The smallest that every IPv6 link takes (RFC 8200 §5).
const IPV6_LEAST: u16 = 1280;
const UDP4_OVERHEAD: usize = 28;
const UDP6_OVERHEAD: usize = 48;

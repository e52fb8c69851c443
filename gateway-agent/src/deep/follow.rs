//! One node, probed by way of a peer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use model::names;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use probe::{DeepPath, Message, Pace, Witness};
use tokio::net::UdpSocket;
use tokio::sync::watch;

/// How a node is to be probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// What the cable takes, bytes. The way behind it may take less.
    pub(super) size: u16,
    pub(super) pace: Pace,
}

/// Probes one node until it is dropped, and tells what it finds whenever it looked.
pub(super) async fn follow(node: IpAddr, mut orders: watch::Receiver<Order>, tell: impl Fn(Witness)) {
    let order = *orders.borrow();
    let mut path = DeepPath::new(order.size, order.pace, Instant::now());
    let mut socket: Option<Socket> = None;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let now = Instant::now();
        let order = *orders.borrow_and_update();
        let known = socket.as_ref().and_then(Socket::mtu).unwrap_or(u16::MAX);
        path.handle_pace(order.pace, now);
        path.handle_size(order.size.min(known), now);
        path.handle_timeout(now);
        while let Some(request) = path.poll_probe(now) {
            let sent = match &mut socket {
                Some(socket) => socket.send(&request).await,
                None => match Socket::connect(node).await {
                    Ok(fresh) => socket.insert(fresh).send(&request).await,
                    Err(error) => Err(error),
                },
            };
            if sent.is_err() {
                socket = None;
            }
        }
        tell(path.witness(now));
        tokio::select! {
            received = receive(socket.as_ref(), &mut buffer) => match received {
                Ok(len) => {
                    if let Ok(message) = Message::decode(&buffer[..len]) {
                        path.handle_message(&message, Instant::now());
                    }
                }
                Err(_) => socket = None,
            },
            changed = orders.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(path.poll_timeout(now).into()) => {}
        }
    }
}

/// Packets from it are as large as they are meant to be: none is fragmented, for the kernel tells what the way takes.
struct Socket {
    udp: UdpSocket,
    is_v4: bool,
    /// The kernel found full size too large, and does not tell what fits.
    is_narrow: bool,
}

impl Socket {
    async fn connect(node: IpAddr) -> io::Result<Self> {
        let any: IpAddr = match node {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let udp = UdpSocket::bind((any, 0)).await?;
        if node.is_ipv6() {
            setsockopt(&udp, sockopt::Ipv6DontFrag, &true)?;
        }
        udp.connect(SocketAddr::new(node, names::DEEP_PROBE_PORT)).await?;
        Ok(Self {
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
            sent => sent.map(drop),
        }
    }
}

async fn receive(socket: Option<&Socket>, buffer: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.udp.recv(buffer).await,
        None => std::future::pending().await,
    }
}

/// The smallest that every IPv6 link takes (RFC 8200 §5).
const IPV6_LEAST: u16 = 1280;
const UDP4_OVERHEAD: usize = 28;
const UDP6_OVERHEAD: usize = 48;

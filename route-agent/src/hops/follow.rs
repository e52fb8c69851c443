//! One gateway, probed over the VXLAN.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::time::Instant;

use model::names;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};
use packet::UDP6_OVERHEAD;
use probe::{Hop, Message, Pace, Request, Says};
use tokio::net::UdpSocket;
use tokio::sync::watch;

/// How a gateway is to be probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// Its end of the VXLAN.
    pub(super) target: Ipv6Addr,
    /// Whether traffic of this node goes there.
    pub(super) is_used: bool,
    pub(super) pace: Pace,
    /// What the VXLAN link takes, bytes.
    pub(super) link_mtu: u16,
    /// This node's own in the pod network.
    pub(super) addresses: Vec<IpAddr>,
}

/// What is known of a gateway.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) is_up: Option<bool>,
    pub(super) up_since: Option<Instant>,
    pub(super) says: Option<Says>,
    pub(super) mtu: u16,
}

/// Probes one gateway until it is dropped, and tells what it finds whenever it looked.
pub(super) async fn follow(mut orders: watch::Receiver<Order>, tell: impl Fn(Report)) {
    let mut hop = Hop::new(orders.borrow().link_mtu, Instant::now());
    let mut socket = None;
    let mut buffer = vec![0; 4096];
    loop {
        let now = Instant::now();
        let order = orders.borrow_and_update().clone();
        hop.handle_pace(order.pace, now);
        hop.handle_ceiling(order.link_mtu, now);
        hop.handle_timeout(now);
        while let Some(request) = hop.poll_probe(now) {
            if let Err(error) = send(&mut socket, &mut hop, request, &order, now) {
                // The link may not be there yet, or be another one: the next probe opens a new socket.
                tracing::trace!(%error, gateway = %order.target, "cannot send a probe");
                socket = None;
            }
        }
        tell(Report {
            is_up: hop.is_up(now),
            up_since: hop.up_since(),
            says: hop.says().cloned(),
            mtu: hop.mtu(),
        });
        let next = hop.poll_timeout();
        let next = if hop.is_up(now).is_none() {
            next.min(hop.known_at())
        } else {
            next
        };
        tokio::select! {
            received = receive(socket.as_ref(), &mut buffer) => match received {
                Ok(len) => {
                    if let Ok(message) = Message::decode(&buffer[..len]) {
                        hop.handle_message(&message, Instant::now());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => hop.handle_refused(Instant::now()),
                Err(_) => socket = None,
            },
            changed = orders.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.into()) => {}
        }
    }
}

fn send(
    socket: &mut Option<UdpSocket>,
    hop: &mut Hop,
    request: Request,
    order: &Order,
    now: Instant,
) -> io::Result<()> {
    let socket = match socket {
        Some(socket) => socket,
        None => socket.insert(connect(order.target)?),
    };
    let says = Says {
        uses: order.is_used,
        addresses: order.addresses.clone(),
        ..Says::default()
    };
    let mut datagram = Vec::new();
    hop.ask(request, says).encode(&mut datagram);
    let padded = usize::from(request.size).saturating_sub(UDP6_OVERHEAD);
    datagram.resize(datagram.len().max(padded), 0);
    // An error of an earlier datagram is told first, and costs this one its turn.
    for _ in 0..2 {
        match socket.try_send(&datagram) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => hop.handle_refused(now),
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32) => {
                hop.handle_too_big(now);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    Ok(())
}

/// Connected, because only then the kernel tells of ICMP errors; never fragmented, because sizes are measured.
fn connect(target: Ipv6Addr) -> io::Result<UdpSocket> {
    let link = if_nametoindex(names::VXLAN_LINK)?;
    let socket = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    setsockopt(&socket, sockopt::Ipv6DontFrag, &true)?;
    socket.connect(SocketAddrV6::new(target, names::PROBE_PORT, 0, link))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<usize> {
    match socket {
        Some(socket) => socket.recv(buffer).await,
        None => std::future::pending().await,
    }
}

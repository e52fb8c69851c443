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
        for port in [DeepPort::AsTraffic, DeepPort::Tracked] {
            if path.is_silent(port) {
                sockets.renew(port, now);
            }
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

    /// Closes the socket for that port if it is old: it keeps the address that the node had for the way when it was opened, and the
    /// routes may not have been there yet.
    fn renew(&mut self, port: DeepPort, now: Instant) {
        let is_old = |socket: &mut Socket| now.saturating_duration_since(socket.opened) >= RENEW_AFTER;
        self.of(port).take_if(is_old);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Asks a node of this machine, which answers what is as traffic once it is told to.
    #[tokio::test]
    async fn who_gets_no_answer_asks_from_new_sockets_and_who_gets_one_closes_the_tracked() {
        let node: IpAddr = "127.45.12.1".parse().unwrap();
        let (_orders, wanted) = watch::channel(Order {
            size: 1400,
            pace: Pace::ACTIVE,
            is_detour: false,
        });
        let (_open, detours) = watch::channel(Detours::new());
        let (sender, reports) = mpsc::channel();
        let task = tokio::spawn(follow(node, wanted, detours, move |report| drop(sender.send(report))));
        let until = async |holds: &mut dyn FnMut(Report) -> bool| {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let told = reports.try_iter().any(&mut *holds);
                if told {
                    return;
                }
                assert!(Instant::now() < deadline, "never told");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let (mut as_traffic, mut tracked) = (Vec::<u16>::new(), Vec::<u16>::new());
        until(&mut |report| {
            as_traffic.extend(report.ports.first().copied());
            tracked.extend(report.ports.get(1).copied());
            let is_new = |all: &[u16]| all.iter().any(|port| *port != all[0]);
            is_new(&as_traffic) && is_new(&tracked)
        })
        .await;

        let answering = UdpSocket::bind((node, names::DEEP_PROBE_PORT)).await.unwrap();
        let answer = tokio::spawn(async move {
            let mut buffer = vec![0; 2000];
            loop {
                let (len, from) = answering.recv_from(&mut buffer).await.unwrap();
                let request = Message::decode(&buffer[..len]).unwrap();
                let mut reply = Vec::new();
                request.reply(probe::Says::default()).encode(&mut reply);
                answering.send_to(&reply, from).await.unwrap();
            }
        });
        until(&mut |report| report.witness.is_up == Some(true) && report.ports.len() == 1).await;
        task.abort();
        answer.abort();
    }
}

//! UDP and TCP around [`answer`](crate::answer::answer).
//!
//! Every query is answered from the zone that is current when it arrives; swapping the zone never blocks one. UDP is served by
//! threads of their own, each with its own socket on the same port, between which the kernel spreads the clients; each takes and
//! sends a batch of datagrams at a time. A client cannot cost more than its share: UDP responses are limited by client network, TCP
//! connections are bounded in number, and idle ones end.
//! A query for a zone of another server leaves the thread at once, and its answer goes out when it comes.

mod tcp;
mod udp;

use std::iter;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rand_core::{OsRng, RngCore};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::access::Access;
use crate::answer::{Asker, CookieSecret, Transport};
use crate::forward::Forwarder;
use crate::metrics::Metrics;
use crate::zone::Zone;

/// A name server that listens.
#[derive(Debug)]
pub struct Server {
    udp: Vec<Socket>,
    tcp: TcpListener,
}

/// The server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for DNS on {address} ({transport}): {source}; choose another address with --listen, or stop the process there"
)]
pub struct ListenError {
    /// Where it was to listen.
    pub address: SocketAddr,
    /// UDP or TCP.
    pub transport: &'static str,
    /// Why not. It is part of the text, because it alone says what to do.
    source: std::io::Error,
}

/// What all queries share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The zones that answers come from.
    pub zone: Arc<ArcSwap<Zone>>,
    /// Where outcomes are counted.
    pub metrics: Metrics,
    /// UDP responses a second for one client network, in each thread; zero means no limit.
    pub rate_limit: u32,
    /// Who may ask.
    access: Access,
    /// The zones that other servers are asked for.
    forwarder: Option<Arc<Forwarder>>,
    secret: CookieSecret,
}

impl Shared {
    /// Answers everyone from this zone and counts there, forwards nothing, with a cookie secret that ends with the process.
    pub fn new(zone: Arc<ArcSwap<Zone>>, metrics: Metrics, rate_limit: u32) -> Self {
        let mut secret = [0; 16];
        OsRng.fill_bytes(&mut secret);
        Self {
            zone,
            metrics,
            rate_limit,
            access: Access::Everyone,
            forwarder: None,
            secret: CookieSecret::new(secret),
        }
    }

    /// The same, with zones that other servers are asked for.
    #[must_use]
    pub fn forwarding(self, forwarder: Option<Arc<Forwarder>>) -> Self {
        Self { forwarder, ..self }
    }

    /// The same for these clients only.
    #[must_use]
    pub fn only_for(self, access: Access) -> Self {
        Self { access, ..self }
    }

    fn asker(&self, transport: Transport, address: IpAddr) -> Asker<'_> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Asker {
            transport,
            address: address.to_canonical(),
            // Cookies count modulo 2^32.
            now: now.as_secs() as u32,
            secret: &self.secret,
        }
    }
}

impl Server {
    /// Binds TCP, and UDP so many times. An IPv6 wildcard takes IPv4 too; where the kernel has no IPv6, it becomes the IPv4
    /// wildcard.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn bind(address: SocketAddr, udp_threads: usize) -> Result<Self, ListenError> {
        let address = if address.is_ipv6()
            && address.ip().is_unspecified()
            && Socket::new(Domain::IPV6, Type::DGRAM, None).is_err()
        {
            SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port())
        } else {
            address
        };
        // A port that is free for TCP can be taken for UDP: where any port will do, the next one may be free for both.
        let mut tries = if address.port() == 0 { 64 } else { 1 };
        loop {
            tries -= 1;
            match Self::bind_both(address, udp_threads.max(1)) {
                Err(error) if tries > 0 && error.source.kind() == std::io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
    }

    fn bind_both(address: SocketAddr, udp_threads: usize) -> Result<Self, ListenError> {
        let fail = |transport| {
            move |source| ListenError {
                address,
                transport,
                source,
            }
        };
        let tcp = tcp_socket(address).map_err(fail("TCP"))?;
        let tcp = TcpListener::from_std(tcp.into()).map_err(fail("TCP"))?;
        let address = tcp.local_addr().map_err(fail("TCP"))?;
        // Sockets that share a port would share it with another server too, so the first begins alone.
        let first = udp_socket(address, false).map_err(fail("UDP"))?;
        first.set_reuse_port(true).map_err(fail("UDP"))?;
        let others = (1..udp_threads).map(|_| udp_socket(address, true));
        let udp = iter::once(Ok(first)).chain(others);
        let udp = udp.collect::<Result<_, _>>().map_err(fail("UDP"))?;
        Ok(Self { udp, tcp })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until it is dropped.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub async fn run(self, shared: Shared) -> std::io::Result<()> {
        let stop = StopOnDrop(Arc::default());
        for (number, socket) in self.udp.into_iter().enumerate() {
            let (shared, stop) = (shared.clone(), Arc::clone(&stop.0));
            std::thread::Builder::new()
                .name(format!("dns-udp-{number}"))
                .spawn(move || udp::serve(&Arc::new(socket), &shared, &stop))?;
        }
        tcp::serve(self.tcp, shared).await;
        Ok(())
    }
}

/// Tells the UDP threads to end.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn udp_socket(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = socket(address, Type::DGRAM, Protocol::UDP)?;
    socket.set_reuse_port(shared)?;
    // A burst waits rather than being lost. The kernel takes as much of it as the machine allows.
    socket.set_recv_buffer_size(4 << 20)?;
    // So that a thread looks up now and then, whether it is to end.
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn tcp_socket(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = socket(address, Type::STREAM, Protocol::TCP)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket)
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests;

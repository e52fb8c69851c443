//! UDP and TCP around [`answer`].
//!
//! Every query is answered from the view that is current when it arrives; swapping the view never blocks one. A client cannot
//! cost more than its socket: TCP connections are bounded in number, and idle ones end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use crate::answer::{Transport, Zone, answer};
use crate::metrics::Metrics;

/// A name server that listens.
#[derive(Debug)]
pub struct Server {
    udp: UdpSocket,
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
    /// The zone that answers come from.
    pub zone: Arc<ArcSwap<Zone>>,
    /// Where outcomes are counted.
    pub metrics: Metrics,
    turn: Arc<AtomicUsize>,
}

impl Shared {
    /// Answers from this zone and counts there.
    pub fn new(zone: Arc<ArcSwap<Zone>>, metrics: Metrics) -> Self {
        Self {
            zone,
            metrics,
            turn: Arc::default(),
        }
    }

    fn answer(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        match answer(query, &self.zone.load(), transport, turn) {
            Some((response, outcome)) => {
                self.metrics.count(transport, outcome);
                Some(response)
            }
            None => {
                self.metrics.ignored.inc();
                None
            }
        }
    }
}

impl Server {
    /// Binds UDP and TCP. An IPv6 wildcard takes IPv4 too; where the kernel has no IPv6, it becomes the IPv4 wildcard.
    ///
    /// # Errors
    /// When an address cannot be bound.
    pub fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let address = if address.is_ipv6()
            && address.ip().is_unspecified()
            && Socket::new(Domain::IPV6, Type::DGRAM, None).is_err()
        {
            SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), address.port())
        } else {
            address
        };
        let fail = |transport| {
            move |source| ListenError {
                address,
                transport,
                source,
            }
        };
        let udp = socket(address, Type::DGRAM, Protocol::UDP).map_err(fail("UDP"))?;
        let udp = UdpSocket::from_std(udp.into()).map_err(fail("UDP"))?;
        // Port 0 means any port, and then TCP takes the one that UDP got.
        let address = udp.local_addr().map_err(fail("UDP"))?;
        let tcp = socket(address, Type::STREAM, Protocol::TCP).map_err(fail("TCP"))?;
        tcp.listen(1024).map_err(fail("TCP"))?;
        let tcp = TcpListener::from_std(tcp.into()).map_err(fail("TCP"))?;
        Ok(Self { udp, tcp })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// Serves for ever.
    pub async fn run(self, shared: Shared) {
        tokio::join!(serve_udp(self.udp, shared.clone()), serve_tcp(self.tcp, shared));
    }
}

fn socket(address: SocketAddr, kind: Type, protocol: Protocol) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

async fn serve_udp(socket: UdpSocket, shared: Shared) {
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier answer; the socket lives on.
                tracing::debug!(%error, "receiving a query");
                continue;
            }
        };
        if let Some(response) = shared.answer(&buffer[..length], Transport::Udp)
            && let Err(error) = socket.send_to(&response, client).await
        {
            tracing::debug!(%error, "sending a response");
        }
    }
}

async fn serve_tcp(listener: TcpListener, shared: Shared) {
    let slots = Arc::new(Semaphore::new(MAX_TCP_CLIENTS));
    loop {
        let slot = Arc::clone(&slots)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, _)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve_stream(stream, &shared).await {
                        tracing::debug!(%error, "a TCP client");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a TCP client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Queries one after the other, each after its length (RFC 7766).
async fn serve_stream(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut query = Vec::new();
    loop {
        let Ok(length) = tokio::time::timeout(TCP_IDLE, stream.read_u16()).await else {
            return Ok(());
        };
        match length {
            Ok(length) => query.resize(usize::from(length), 0),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        }
        tokio::time::timeout(TCP_IDLE, stream.read_exact(&mut query)).await??;
        let Some(response) = shared.answer(&query, Transport::Tcp) else {
            return Ok(());
        };
        let length = u16::try_from(response.len()).expect("a response is built within 65,535 bytes");
        let mut message = length.to_be_bytes().to_vec();
        message.extend(response);
        tokio::time::timeout(TCP_IDLE, stream.write_all(&message)).await??;
    }
}

const MAX_TCP_CLIENTS: usize = 256;
const TCP_IDLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::{Message, MessageType, OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};

    fn query() -> Vec<u8> {
        let mut message = Message::new(1, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii("dns-version.clusterset.local.").unwrap();
        message.add_query(Query::query(name, RecordType::TXT));
        message.to_vec().unwrap()
    }

    fn start() -> SocketAddr {
        let zone = Zone::new("clusterset.local", None, 1, 5).unwrap();
        let registry = prometheus::Registry::new();
        let shared = Shared::new(
            Arc::new(ArcSwap::from_pointee(zone)),
            Metrics::register(&registry).unwrap(),
        );
        let server = Server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = server.address().unwrap();
        tokio::spawn(server.run(shared));
        address
    }

    #[tokio::test]
    async fn rubbish_and_then_a_query_over_udp() {
        let server = start();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for rubbish in [&b""[..], b"x", &[0xff; 600], &query()[..13]] {
            client.send_to(rubbish, server).await.unwrap();
        }
        client.send_to(&query(), server).await.unwrap();
        let mut buffer = [0; 1500];
        let answered = async {
            loop {
                let length = client.recv(&mut buffer).await.unwrap();
                let response = Message::from_vec(&buffer[..length]).unwrap();
                if !response.answers.is_empty() {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), answered)
            .await
            .expect("an answer");
    }

    #[tokio::test]
    async fn two_queries_in_one_tcp_stream_and_a_cut_one() {
        let server = start();
        let mut cut = TcpStream::connect(server).await.unwrap();
        cut.write_all(&[0, 40, 1, 2, 3]).await.unwrap();
        drop(cut);
        let mut stream = TcpStream::connect(server).await.unwrap();
        for _ in 0..2 {
            stream.write_u16(u16::try_from(query().len()).unwrap()).await.unwrap();
            stream.write_all(&query()).await.unwrap();
            let length = stream.read_u16().await.unwrap();
            let mut response = vec![0; usize::from(length)];
            stream.read_exact(&mut response).await.unwrap();
            assert_eq!(Message::from_vec(&response).unwrap().answers.len(), 1);
        }
    }

    #[tokio::test]
    async fn a_taken_port_names_the_address_and_the_mend() {
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let error = Server::bind(taken.local_addr().unwrap()).unwrap_err().to_string();
        assert!(error.contains("--listen") && error.contains("127.0.0.1"), "{error}");
    }
}

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use socket2::Socket;

use super::Shared;
use crate::answer::{Asker, MAX_UDP_PAYLOAD, Outcome, Transport, answer, brief, cut_short};
use crate::limit::{Limiter, Verdict};
use crate::zone::Zone;

/// Answers what comes to this socket, a batch at a time, until told to stop.
pub(super) fn serve(socket: &Arc<Socket>, shared: &Shared, stop: &AtomicBool) {
    let mut received = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut queries = Box::new([[0; MAX_QUERY]; BATCH]);
    let mut batch = Batch::new(shared);
    while !stop.load(Ordering::Relaxed) {
        let mut slices = queries.each_mut().map(|query| [IoSliceMut::new(query)]);
        match recvmmsg(
            socket.as_raw_fd(),
            &mut received,
            &mut slices,
            MsgFlags::MSG_WAITFORONE,
            None,
        ) {
            Ok(messages) => {
                let zone = shared.zone.load();
                let now = batch.started.elapsed().as_millis() as u64;
                let base = shared.asker(Transport::Udp, Ipv4Addr::UNSPECIFIED.into());
                for message in messages {
                    let (Some(client), Some(query)) = (message.address, message.iovs().next()) else {
                        continue;
                    };
                    let asker = Asker {
                        address: ip(&client),
                        ..base
                    };
                    if batch.answer(query, &zone, &asker, client, now, socket) {
                        batch.clients[batch.count] = Some(client);
                        batch.count += 1;
                    }
                }
                batch.send(socket);
            }
            // Nothing came for a while.
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // An ICMP error of an earlier answer; the socket lives on.
            Err(error) => tracing::debug!(%error, "receiving queries"),
        }
    }
}

/// The responses of one batch. All buffers are used again for the next.
struct Batch<'a> {
    shared: &'a Shared,
    limiter: Limiter,
    started: Instant,
    turn: usize,
    headers: MultiHeaders<SockaddrStorage>,
    responses: [Vec<u8>; BATCH],
    clients: [Option<SockaddrStorage>; BATCH],
    count: usize,
}

impl<'a> Batch<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            limiter: Limiter::new(shared.rate_limit),
            started: Instant::now(),
            turn: 0,
            headers: MultiHeaders::preallocate(BATCH, None),
            responses: std::array::from_fn(|_| Vec::with_capacity(MAX_UDP_PAYLOAD.into())),
            clients: [None; BATCH],
            count: 0,
        }
    }

    /// Writes the next response; tells whether there is one to be sent now.
    fn answer(
        &mut self,
        query: &[u8],
        zone: &Zone,
        asker: &Asker,
        client: SockaddrStorage,
        now: u64,
        socket: &Arc<Socket>,
    ) -> bool {
        let response = &mut self.responses[self.count];
        self.turn = self.turn.wrapping_add(1);
        let mut onward = None;
        let answered = if self.shared.access.admits(asker.address) {
            onward = self.shared.forwarder.as_deref().and_then(|forwarder| {
                let servers = forwarder.servers(query, zone)?;
                Some((forwarder, servers, socket_address(&client)?))
            });
            match onward {
                // It is the response in case that the query cannot be passed on.
                Some(_) => brief(query, Outcome::ServFail, response),
                None => answer(query, zone, asker, self.turn, response),
            }
        } else {
            brief(query, Outcome::Refused, response)
        };
        let Some(answered) = answered else {
            self.shared.metrics.ignored.inc();
            return false;
        };
        if !answered.is_verified {
            match self.limiter.judge(asker.address, now) {
                Verdict::Send => {}
                Verdict::CutShort => {
                    self.shared.metrics.limited.inc();
                    cut_short(response);
                    onward = None;
                }
                Verdict::Drop => {
                    self.shared.metrics.limited.inc();
                    return false;
                }
            }
        }
        if let Some((forwarder, servers, client)) = onward
            && forwarder.relay_datagram(query, servers, client, socket)
        {
            return false;
        }
        self.shared.metrics.count(Transport::Udp, answered.outcome);
        true
    }

    fn send(&mut self, socket: &Socket) {
        let slices = self.responses.each_ref().map(|response| [IoSlice::new(response)]);
        let mut sent = 0;
        while sent < self.count {
            let none: [ControlMessage; 0] = [];
            let result = sendmmsg(
                socket.as_raw_fd(),
                &mut self.headers,
                &slices[sent..self.count],
                &self.clients[sent..self.count],
                none,
                MsgFlags::empty(),
            );
            // A response that cannot be sent, to a client without a route, must not take the others with it.
            sent += match result {
                Ok(messages) => messages.count().max(1),
                Err(error) => {
                    tracing::debug!(%error, "sending a response");
                    1
                }
            };
        }
        self.count = 0;
    }
}

fn ip(address: &SockaddrStorage) -> IpAddr {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => v4.ip().into(),
        (_, Some(v6)) => IpAddr::from(v6.ip()).to_canonical(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()))
}

const BATCH: usize = 32;
/// A longer query is cut by the kernel and malformed: a name, EDNS and a cookie take a third of this.
const MAX_QUERY: usize = 1024;

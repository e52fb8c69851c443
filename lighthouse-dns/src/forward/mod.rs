//! Zones that another server answers: the zone of a cluster, asked of that cluster's DNS over the cable.
//!
//! Each query goes on under a random id and from a port of its own, to one server after the other until one answers; a server that is
//! silent costs its share of the time and no more. What runs at once is bounded: beyond the bound clients get SERVFAIL at once
//! instead of waiting in a queue. Nothing is kept; the resolver that asks us keeps answers for as long as they say.

mod exchange;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use rand_core::{OsRng, RngCore};
use socket2::Socket;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::{self, Outcome, Transport};
use crate::metrics::Metrics;
use crate::zone::{Zone, wire};

/// A zone and who answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// Its name, in wire form.
    zone: Box<[u8]>,
    text: String,
    servers: Vec<SocketAddr>,
}

/// A text that is no forward, or one that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidForward {
    /// It lacks a part.
    #[error("\"{0}\" is no forward; write ZONE=ADDRESS[,ADDRESS…], such as west.lan=10.112.0.10")]
    Malformed(String),
    /// An address is none.
    #[error("\"{0}\" in the forward of {1} is no IP address, with or without a port")]
    Address(String, String),
    /// The zone is answered here.
    #[error("the zone \"{0}\" cannot be forwarded: it is, or is part of, a zone that is answered here")]
    Own(String),
}

impl FromStr for Forward {
    type Err = InvalidForward;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || InvalidForward::Malformed(text.to_owned());
        let (zone, servers) = text.split_once('=').ok_or_else(malformed)?;
        let name = wire::name(zone).filter(|name| name.len() > 1).ok_or_else(malformed)?;
        let server = |server: &str| {
            let with_port = server.parse().ok();
            with_port
                .or_else(|| Some(SocketAddr::new(server.parse().ok()?, DNS_PORT)))
                .ok_or_else(|| InvalidForward::Address(server.to_owned(), zone.to_owned()))
        };
        Ok(Self {
            zone: name,
            text: zone.to_owned(),
            servers: servers.split(',').map(server).collect::<Result<_, _>>()?,
        })
    }
}

/// All forwards, and what is under way.
#[derive(Debug)]
pub struct Forwarder {
    forwards: Vec<Forward>,
    slots: Arc<Semaphore>,
    runtime: Handle,
    metrics: Metrics,
}

impl Forwarder {
    /// Forwards on the current runtime. Of two zones, the one within the other wins.
    ///
    /// # Errors
    /// When one of the zones is answered here.
    pub fn new(mut forwards: Vec<Forward>, own: &Zone, metrics: Metrics) -> Result<Self, InvalidForward> {
        if let Some(forward) = forwards.iter().find(|forward| own.find(&forward.zone).is_some()) {
            return Err(InvalidForward::Own(forward.text.clone()));
        }
        forwards.sort_by_key(|forward| std::cmp::Reverse(forward.zone.len()));
        Ok(Self {
            forwards,
            slots: Arc::new(Semaphore::new(MAX_UNDER_WAY)),
            runtime: Handle::current(),
            metrics,
        })
    }

    /// Who is to be asked, if it is not us. `zone` are the zones that are answered here, which come first.
    pub(crate) fn servers(&self, query: &[u8], zone: &Zone) -> Option<&[SocketAddr]> {
        let mut buffer = [0; wire::MAX_NAME];
        let name = answer::asked_name(query, &mut buffer)?;
        if zone.find(name).is_some() {
            return None;
        }
        let is_within = |forward: &&Forward| {
            let below = name.len().checked_sub(forward.zone.len());
            below.is_some_and(|below| name[below..] == *forward.zone && wire::is_boundary(name, below))
        };
        let forward = self.forwards.iter().find(is_within)?;
        Some(&forward.servers)
    }

    /// Asks on behalf of a UDP client, and answers it through `socket` in time; false when too much is under way.
    pub(crate) fn relay_datagram(
        &self,
        query: &[u8],
        servers: &[SocketAddr],
        client: SocketAddr,
        socket: &Arc<Socket>,
    ) -> bool {
        let Some(slot) = self.slot() else {
            return false;
        };
        let (query, servers, socket) = (query.to_vec(), servers.to_vec(), Arc::clone(socket));
        let metrics = self.metrics.clone();
        self.runtime.spawn(async move {
            let response = relay(&query, &servers, Transport::Udp, &metrics).await;
            if let Some(response) = response {
                // A client whose buffer is full, or that is gone, asks again.
                let _ = socket.send_to_with_flags(&response, &client.into(), nix::libc::MSG_DONTWAIT);
            }
            drop(slot);
        });
        true
    }

    /// Asks on behalf of a TCP client.
    pub(crate) async fn relay_stream(&self, query: &[u8], servers: &[SocketAddr]) -> Option<Vec<u8>> {
        match self.slot() {
            Some(_slot) => relay(query, servers, Transport::Tcp, &self.metrics).await,
            None => failure(query),
        }
    }

    fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok();
        if slot.is_none() {
            self.metrics.forwards.shed.inc();
        }
        slot
    }
}

/// The response for the client: the server's, or SERVFAIL.
async fn relay(query: &[u8], servers: &[SocketAddr], transport: Transport, metrics: &Metrics) -> Option<Vec<u8>> {
    for server in servers.iter().take(MAX_TRIES) {
        let onward = answer::onward(query, OsRng.next_u32() as u16)?;
        let asked = match transport {
            Transport::Udp => tokio::time::timeout(PATIENCE, exchange::udp(*server, &onward)).await,
            Transport::Tcp => tokio::time::timeout(PATIENCE, exchange::tcp(*server, &onward)).await,
        };
        match asked {
            Ok(Ok(mut response)) => {
                answer::homeward(query, &mut response);
                metrics.forwards.answered.inc();
                return Some(response);
            }
            Ok(Err(error)) => tracing::debug!(%server, %error, "a server that zones are forwarded to"),
            Err(_) => tracing::debug!(%server, "a server that zones are forwarded to is silent"),
        }
    }
    metrics.forwards.failed.inc();
    failure(query)
}

fn failure(query: &[u8]) -> Option<Vec<u8>> {
    let mut response = Vec::new();
    answer::brief(query, Outcome::ServFail, &mut response)?;
    Some(response)
}

const DNS_PORT: u16 = 53;
/// A client asks again after five seconds at the earliest; by then it has its answer.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(1500);
const MAX_TRIES: usize = 3;
/// Queries under way; each holds a socket.
const MAX_UNDER_WAY: usize = 512;

#[cfg(test)]
mod tests;

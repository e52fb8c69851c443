//! Answers deep probes: datagrams of other clusters' gateways to this node's address in the pod network. They come the way that
//! packets for pods come, through cable, gateway and VXLAN, so an answer says that the whole of it works. On a second port come
//! those that gateways track.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{PrefixSet, Snapshot, names};
use probe::{Message, MessageKind, Says};
use tokio::net::UdpSocket;

/// The answering end.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeepResponder {
    /// Who is answered.
    allowed: Arc<Mutex<PrefixSet>>,
}

impl DeepResponder {
    /// Begins to answer, and goes on until the process ends.
    pub(crate) fn start() -> Self {
        let responder = Self::default();
        for port in [names::DEEP_PROBE_PORT, names::TRACKED_PROBE_PORT] {
            let own = responder.clone();
            tokio::spawn(async move {
                loop {
                    if let Err(error) = own.answer(port).await {
                        tracing::warn!(%error, port, "cannot answer deep probes");
                    }
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
        responder
    }

    /// Answers members of the clusterset, and nobody else.
    pub(crate) fn set_snapshot(&self, snapshot: &Snapshot) {
        let all = snapshot.clusters.values();
        let allowed = all.fold(PrefixSet::default(), |all, cluster| all.union(&cluster.pod_prefixes));
        *self.allowed.lock().unwrap_or_else(PoisonError::into_inner) = allowed;
    }

    async fn answer(&self, port: u16) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await?;
        let mut buffer = vec![0; usize::from(u16::MAX)];
        let mut answer = Vec::new();
        loop {
            let (len, from) = match socket.recv_from(&mut buffer).await {
                Ok(received) => received,
                // An ICMP error for an earlier answer.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(error) => return Err(error),
            };
            if let Some(message) = self.take(from.ip().to_canonical(), &buffer[..len]) {
                message.encode(&mut answer);
                if message.wants_size_back {
                    // Never more than was asked with: nobody can be flooded through this.
                    answer.resize(answer.len().max(len), 0);
                }
                if let Err(error) = socket.send_to(&answer, from).await {
                    tracing::debug!(%error, %from, "cannot answer a deep probe");
                }
            }
        }
    }

    fn take(&self, from: IpAddr, datagram: &[u8]) -> Option<Message> {
        let allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let request = Message::decode(datagram).ok()?;
        let is_answered = request.kind == MessageKind::Request && allowed.contains(from);
        is_answered.then(|| request.reply(Says::default()))
    }
}

const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Cluster, ClusterState, ProtocolRange};

    #[test]
    fn members_are_answered_and_strangers_are_not() {
        let responder = DeepResponder::default();
        let mut snapshot = Snapshot::empty("east".parse().unwrap());
        let west = Cluster {
            id: "west".parse().unwrap(),
            pod_prefixes: PrefixSet::parse(["10.2.0.0/16"]).unwrap(),
            service_prefixes: PrefixSet::default(),
            protocol: ProtocolRange { min: 1, max: 1 },
            state: ClusterState::Active,
            created: (1, String::new()),
        };
        snapshot.clusters.insert(west.id.clone(), west);
        responder.set_snapshot(&snapshot);
        let request = Message {
            kind: MessageKind::Request,
            sequence: 5,
            stamp: 6,
            size: 0,
            is_deaf: false,
            finds_broken: false,
            wants_size_back: false,
            says: Says::default(),
        };
        let mut datagram = Vec::new();
        request.encode(&mut datagram);
        let member: IpAddr = "10.2.3.4".parse().unwrap();
        assert_eq!(responder.take(member, &datagram), Some(request.reply(Says::default())));
        assert_eq!(responder.take("192.0.2.1".parse().unwrap(), &datagram), None);
        request.reply(Says::default()).encode(&mut datagram);
        assert_eq!(responder.take(member, &datagram), None, "an answer is not answered");
    }
}

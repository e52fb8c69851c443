//! Requests and dumps on one netlink socket.
//!
//! Messages travel undecoded ([`Raw`]) and are decoded one by one: a node's kernel holds other people's links and routes, and one
//! that the library cannot decode must not cost us the rest. It also carries the message kinds that the library lacks.

use std::io;
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::UnboundedReceiver;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use netlink_packet_route::RouteNetlinkMessage;
use rtnetlink::LinkUnspec;
use rtnetlink::proto::{self, ConnectionHandle};
use rtnetlink::sys::{AsyncSocket, SocketAddr, protocols};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// A message as bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) kind: u16,
    pub(crate) payload: Vec<u8>,
}

/// A connection to the kernel.
#[derive(Debug)]
pub(crate) struct Netlink {
    handle: ConnectionHandle<Raw>,
    /// Held during a dump.
    dumps: Mutex<()>,
    task: JoinHandle<()>,
}

/// Notifications, until the stream ends.
pub(crate) type Notifications = UnboundedReceiver<(NetlinkMessage<Raw>, SocketAddr)>;

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        Self::open_for(protocols::NETLINK_ROUTE)
    }

    /// Of another protocol than routing.
    pub(crate) fn open_for(protocol: isize) -> io::Result<Self> {
        let (connection, handle, _) = proto::new_connection::<Raw>(protocol)?;
        Ok(Self {
            handle,
            dumps: Mutex::new(()),
            task: tokio::spawn(connection),
        })
    }

    /// Sends one change and waits for the kernel's word.
    pub(crate) async fn change(&self, message: impl Into<Raw>, flags: u16) -> io::Result<()> {
        let mut answers = self.send(message.into(), NLM_F_REQUEST | NLM_F_ACK | flags)?;
        in_time(async {
            while let Some(answer) = answers.next().await {
                if let NetlinkPayload::Error(error) = answer.payload
                    && error.code.is_some()
                {
                    return Err(error.to_io());
                }
            }
            Ok(())
        })
        .await
    }

    /// Asks for one thing; none if the kernel answers without it.
    pub(crate) async fn ask(&self, message: Raw, flags: u16) -> io::Result<Option<Raw>> {
        let mut answers = self.send(message, flags)?;
        let answer = in_time(async { Ok(answers.next().await) }).await?;
        match answer.map(|answer| answer.payload) {
            Some(NetlinkPayload::InnerMessage(answer)) => Ok(Some(answer)),
            Some(NetlinkPayload::Error(error)) => Err(error.to_io()),
            _ => Ok(None),
        }
    }

    /// Reads a whole table, again if it changed while it was read.
    pub(crate) async fn dump(&self, message: impl Into<Raw>) -> io::Result<Vec<Raw>> {
        self.dump_some(message, |_| true).await
    }

    /// Reads a whole table and keeps some entries of it.
    pub(crate) async fn dump_some(
        &self,
        message: impl Into<Raw>,
        is_wanted: impl Fn(&Raw) -> bool,
    ) -> io::Result<Vec<Raw>> {
        let request = message.into();
        let _alone = self.dumps.lock().await;
        for attempt in 0..DUMP_ATTEMPTS {
            match in_time(self.dump_once(&request, &is_wanted)).await {
                Ok(Some(entries)) => return Ok(entries),
                Ok(None) => tracing::debug!(kind = request.kind, attempt, "dump was interrupted"),
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                    tracing::debug!(kind = request.kind, attempt, "dump found the socket busy");
                }
                Err(error) => return Err(error),
            }
            tokio::task::yield_now().await;
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("changed during each of {DUMP_ATTEMPTS} dumps"),
        ))
    }

    /// A dump of the kinds that the library knows, decoded; entries that it cannot decode are left out.
    pub(crate) async fn dump_route(&self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        Ok(self.dump(message).await?.iter().filter_map(Raw::decode).collect())
    }

    /// The index of a link; none if there is no such link.
    pub(crate) async fn link_index(&self, name: &str) -> io::Result<Option<u32>> {
        let request = RouteNetlinkMessage::GetLink(LinkUnspec::new_with_name(name).build());
        let mut answers = self.send(request.into(), NLM_F_REQUEST)?;
        let answer = in_time(async { Ok(answers.next().await) }).await?;
        match answer.map(|answer| answer.payload) {
            Some(NetlinkPayload::InnerMessage(link)) => Ok(match link.decode() {
                Some(RouteNetlinkMessage::NewLink(link)) => Some(link.header.index),
                _ => None,
            }),
            Some(NetlinkPayload::Error(error)) if error.raw_code() != -libc::ENODEV => Err(error.to_io()),
            _ => Ok(None),
        }
    }

    /// None if the kernel says that the entries do not belong together.
    async fn dump_once(&self, request: &Raw, is_wanted: impl Fn(&Raw) -> bool) -> io::Result<Option<Vec<Raw>>> {
        let mut answers = self.send(request.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
        let (mut entries, mut interrupted) = (Vec::new(), false);
        while let Some(answer) = answers.next().await {
            interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(entry) => entries.extend(is_wanted(&entry).then_some(entry)),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Overrun(_) => interrupted = true,
                _ => {}
            }
        }
        Ok((!interrupted).then_some(entries))
    }

    fn send(&self, message: Raw, flags: u16) -> io::Result<impl futures::Stream<Item = NetlinkMessage<Raw>> + use<>> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        self.handle
            .request(message, SocketAddr::new(0, 0))
            .map_err(io::Error::other)
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Joins multicast groups of a netlink protocol. The connection ends when the returned task is aborted.
pub(crate) fn listen(protocol: isize, groups: &[u32]) -> io::Result<(Notifications, JoinHandle<()>)> {
    let (mut connection, _, notifications) = proto::new_connection::<Raw>(protocol)?;
    let socket = connection.socket_mut().socket_mut();
    // An unbound socket has port 0, which is the kernel's own as a sender: it would be left out.
    socket.bind_auto()?;
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok((notifications, tokio::spawn(connection)))
}

/// An attribute, padded to four bytes.
pub(crate) fn attribute(bytes: &mut Vec<u8>, kind: u16, value: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend([0; 2]);
    bytes.extend(kind.to_ne_bytes());
    value(bytes);
    let len = (bytes.len() - start) as u16;
    bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(DEADLINE, work).await.unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} seconds", DEADLINE.as_secs()),
        ))
    })
}

/// Goes with the kind of an attribute that holds attributes.
pub(crate) const NESTED: u16 = 1 << 15;
/// The kernel answers in microseconds; a socket that stays silent is broken.
const DEADLINE: Duration = Duration::from_secs(10);
const DUMP_ATTEMPTS: u32 = 20;

impl Raw {
    /// As a message that the library knows.
    pub(crate) fn decode(&self) -> Option<RouteNetlinkMessage> {
        let mut header = NetlinkHeader::default();
        header.message_type = self.kind;
        RouteNetlinkMessage::deserialize(&header, &self.payload)
            .inspect_err(|error| tracing::debug!(kind = self.kind, %error, "entry cannot be decoded"))
            .ok()
    }
}

impl From<RouteNetlinkMessage> for Raw {
    fn from(message: RouteNetlinkMessage) -> Self {
        let mut payload = vec![0; message.buffer_len()];
        message.serialize(&mut payload);
        Self {
            kind: message.message_type(),
            payload,
        }
    }
}

impl NetlinkSerializable for Raw {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.payload.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.payload);
    }
}

impl NetlinkDeserializable for Raw {
    type Error = std::convert::Infallible;

    fn deserialize(header: &NetlinkHeader, payload: &[u8]) -> Result<Self, Self::Error> {
        Ok(Self {
            kind: header.message_type,
            payload: payload.to_vec(),
        })
    }
}

impl From<Raw> for NetlinkPayload<Raw> {
    fn from(message: Raw) -> Self {
        Self::InnerMessage(message)
    }
}

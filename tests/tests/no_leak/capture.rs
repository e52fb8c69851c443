//! What passes the lab's internet: packets of the clusters' own prefixes, which must never be seen there, and cables' packets, which
//! prove that something is seen.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt};
use nix::sys::time::TimeVal;

/// A socket that sees every packet on every link of a network namespace, and the thread that reads it.
pub(crate) struct Capture {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    leaks: Mutex<Vec<Leak>>,
    cable_packets: AtomicU64,
    is_over: AtomicBool,
}

/// A packet that should not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leak {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
}

/// A prefix: an address and how many of its bits count.
pub(crate) type Prefix = (IpAddr, u8);

impl Capture {
    /// Looks at a namespace from now on.
    pub(crate) fn start(namespace: &str, private: Vec<Prefix>) -> Self {
        let path = format!("/run/netns/{namespace}");
        let seen = Arc::<Seen>::default();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let shared = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            setns(file, CloneFlags::CLONE_NEWNET).expect("this thread may enter the namespace");
            let socket = open().expect("root may open a packet socket");
            ready.send(()).expect("the test waits");
            shared.watch(&socket, &private);
        });
        is_ready.recv().expect("the capture starts");
        Self {
            seen,
            thread: Some(thread),
        }
    }

    /// The leaks since the last call.
    pub(crate) fn take_leaks(&self) -> Vec<Leak> {
        std::mem::take(&mut *self.seen.leaks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many packets of cables passed so far.
    pub(crate) fn cable_packets(&self) -> u64 {
        self.seen.cable_packets.load(Ordering::Relaxed)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.seen.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()),
            "the capture failed"
        );
    }
}

impl Seen {
    fn watch(&self, socket: &OwnedFd, private: &[Prefix]) {
        let mut frame = vec![0; 65_600];
        while !self.is_over.load(Ordering::Relaxed) {
            let length = match recv(socket.as_raw_fd(), &mut frame, nix::sys::socket::MsgFlags::empty()) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN | nix::Error::EINTR) => continue,
                // A link that goes down says so to the sockets on it.
                Err(nix::Error::ENETDOWN) => continue,
                Err(error) => panic!("the packet socket failed: {error}"),
            };
            let Some((packet, destination_port)) = addresses(&frame[..length]) else {
                continue;
            };
            if destination_port == Some(CABLE_PORT) {
                self.cable_packets.fetch_add(1, Ordering::Relaxed);
            }
            let is_private = |address| private.iter().any(|prefix| contains(prefix, address));
            if is_private(packet.source) || is_private(packet.destination) {
                self.leaks.lock().unwrap_or_else(PoisonError::into_inner).push(packet);
            }
        }
    }
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::EthAll,
    )?;
    setsockopt(&socket, sockopt::RcvBufForce, &(16 << 20))?;
    // Only so that the thread looks whether it should end.
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000))?;
    Ok(socket)
}

/// The outermost addresses of a frame, and of UDP the port it goes to.
fn addresses(frame: &[u8]) -> Option<(Leak, Option<u16>)> {
    let kind = u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?);
    let packet = &frame[14..];
    let (source, destination, protocol, header): (IpAddr, IpAddr, u8, usize) = match kind {
        0x0800 => (
            <[u8; 4]>::try_from(packet.get(12..16)?).ok()?.into(),
            <[u8; 4]>::try_from(packet.get(16..20)?).ok()?.into(),
            packet[9],
            usize::from(packet[0] & 15) * 4,
        ),
        0x86dd => (
            <[u8; 16]>::try_from(packet.get(8..24)?).ok()?.into(),
            <[u8; 16]>::try_from(packet.get(24..40)?).ok()?.into(),
            packet[6],
            40,
        ),
        _ => return None,
    };
    let port = packet.get(header + 2..header + 4).filter(|_| protocol == 17);
    let port = port.and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes);
    let packet = Leak {
        source,
        destination,
        protocol,
    };
    Some((packet, port))
}

fn contains((network, length): &Prefix, address: IpAddr) -> bool {
    let host_bits = |all: u32| all - u32::from(*length);
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits())
                .checked_shr(host_bits(32))
                .unwrap_or(0)
                == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits())
                .checked_shr(host_bits(128))
                .unwrap_or(0)
                == 0
        }
        _ => false,
    }
}

const CABLE_PORT: u16 = 4510;

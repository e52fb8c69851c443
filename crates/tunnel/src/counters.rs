use std::fmt;
use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use packet::Merge;

macro_rules! drop_reasons {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Why a packet or datagram went no further. The label is that of the metric.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[$doc])* $variant,)*
        }

        impl DropReason {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The label of the metric.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

drop_reasons! {
    /// Read from TUN: not an IP packet.
    NotIp = "not_ip",
    /// Read from TUN: what the kernel left to be done does not fit the packet.
    BadOffload = "bad_offload",
    /// Read from TUN: no cluster has a prefix that holds the destination.
    NoRoute = "no_route",
    /// Read from TUN: larger than the MTU of the cables and not to be fragmented; its sender was told, as far as it may be.
    TooBig = "too_big",
    /// Read from TUN: no gateway of the destination's cluster is alive.
    NoLivePeer = "no_live_peer",
    /// From or to an address that is reserved for probes, and not a probe.
    ReservedAddress = "reserved_address",
    /// Received: not a WireGuard message.
    Malformed = "malformed",
    /// Received: a handshake that was not made for our key.
    BadMac = "bad_mac",
    /// Received: a handshake in a flood of them; answered with a cookie, unless it came with one and its sender has had its share.
    RateLimited = "rate_limited",
    /// Received: a handshake of a key that is no peer's.
    UnknownKey = "unknown_key",
    /// Received: for no session that we have.
    UnknownSession = "unknown_session",
    /// Received: a handshake that does not verify.
    BadHandshake = "bad_handshake",
    /// Received: seen before, or a handshake that reached us over two addresses.
    Replayed = "replayed",
    /// Received: data that does not decrypt.
    NotAuthentic = "not_authentic",
    /// Decrypted: not an IP packet.
    BadInner = "bad_inner",
    /// Decrypted: the source is not in a prefix of the peer's cluster.
    SpoofedSource = "spoofed_source",
    /// Decrypted: its datagram was marked for congestion, and its sender does not understand marks (RFC 6040).
    Congested = "congested",
    /// Decrypted: sent to the probe port but not a probe that this version reads.
    BadProbe = "bad_probe",
    /// For another lane, which has too much to do.
    LaneBusy = "lane_busy",
    /// The kernel refused to send a datagram.
    UdpSend = "udp_send",
    /// The kernel refused to take a packet from TUN's other end.
    TunWrite = "tun_write",
}

/// Drops by reason.
#[derive(Debug, Default)]
pub(crate) struct Drops([AtomicU64; DropReason::ALL.len()]);

impl Drops {
    pub(crate) fn count(&self, reason: DropReason) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }
}

/// What went through one cable. Bytes are those of inner packets.
#[derive(Debug, Default)]
pub(crate) struct PeerCounters {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    handshakes: AtomicU64,
    spoofed: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PeerTotals {
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) handshakes: u64,
    pub(crate) spoofed: u64,
}

impl PeerCounters {
    pub(crate) fn received(&self, bytes: usize) {
        self.rx_packets.fetch_add(1, Relaxed);
        self.rx_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.tx_packets.fetch_add(1, Relaxed);
        self.tx_bytes.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn shook_hands(&self) {
        self.handshakes.fetch_add(1, Relaxed);
    }

    pub(crate) fn spoofed(&self) {
        self.spoofed.fetch_add(1, Relaxed);
    }

    pub(crate) fn totals(&self) -> PeerTotals {
        PeerTotals {
            rx_packets: self.rx_packets.load(Relaxed),
            rx_bytes: self.rx_bytes.load(Relaxed),
            tx_packets: self.tx_packets.load(Relaxed),
            tx_bytes: self.tx_bytes.load(Relaxed),
            handshakes: self.handshakes.load(Relaxed),
            spoofed: self.spoofed.load(Relaxed),
        }
    }
}

impl AddAssign for PeerTotals {
    fn add_assign(&mut self, other: Self) {
        self.rx_packets += other.rx_packets;
        self.rx_bytes += other.rx_bytes;
        self.tx_packets += other.tx_packets;
        self.tx_bytes += other.tx_bytes;
        self.handshakes += other.handshakes;
        self.spoofed += other.spoofed;
    }
}

macro_rules! lane_counters {
    ($($(#[$doc:meta])* $field:ident = $label:literal,)*) => {
        /// What a lane did. The label is that of the metric.
        #[derive(Debug, Default)]
        pub(crate) struct LaneCounters {
            pub(crate) drops: Arc<Drops>,
            $($(#[$doc])* $field: AtomicU64,)*
        }

        impl LaneCounters {
            pub(crate) fn labelled(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($label, self.$field.load(Relaxed)),)*].into_iter()
            }
        }
    };
}

lane_counters! {
    /// Reads from its queue of the TUN device.
    tun_reads = "tun_reads",
    /// Writes to it.
    tun_writes = "tun_writes",
    /// Calls that sent datagrams in bulk.
    udp_sends = "udp_sends",
    /// Datagrams that they sent.
    udp_datagrams_sent = "udp_datagrams_sent",
    /// Batches that the kernel had merged.
    udp_receives = "udp_receives",
    /// Datagrams in them.
    udp_datagrams_received = "udp_datagrams_received",
    /// Packets and datagrams that it found and another lane handled.
    hand_overs = "hand_overs",
}

impl LaneCounters {
    pub(crate) fn read(&self) {
        self.tun_reads.fetch_add(1, Relaxed);
    }

    pub(crate) fn wrote(&self) {
        self.tun_writes.fetch_add(1, Relaxed);
    }

    pub(crate) fn sent_run(&self, datagrams: usize) {
        self.udp_sends.fetch_add(1, Relaxed);
        self.udp_datagrams_sent.fetch_add(datagrams as u64, Relaxed);
    }

    pub(crate) fn received_batch(&self, datagrams: usize) {
        self.udp_receives.fetch_add(1, Relaxed);
        self.udp_datagrams_received.fetch_add(datagrams as u64, Relaxed);
    }

    pub(crate) fn handed_over(&self) {
        self.hand_overs.fetch_add(1, Relaxed);
    }
}

/// What the kernel does for the engine.
#[derive(Debug, Default)]
pub(crate) struct Offloads([AtomicBool; OFFLOADS.len()]);

impl Offloads {
    pub(crate) fn set_tun(&self, merge: Merge) {
        self.0[0].store(merge.tcp, Relaxed);
        self.0[1].store(merge.udp, Relaxed);
    }

    pub(crate) fn set_udp(&self, splits: bool, merges: bool) {
        self.0[2].store(splits, Relaxed);
        self.0[3].store(merges, Relaxed);
    }

    pub(crate) fn set_demux(&self, steered: bool) {
        self.0[4].store(steered, Relaxed);
    }

    pub(crate) fn set_steering(&self, steered: bool) {
        self.0[5].store(steered, Relaxed);
    }

    pub(crate) fn labelled(&self) -> impl Iterator<Item = (&'static str, bool)> {
        OFFLOADS
            .iter()
            .zip(&self.0)
            .map(|(label, used)| (*label, used.load(Relaxed)))
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used: Vec<_> = self
            .labelled()
            .filter(|(_, used)| *used)
            .map(|(label, _)| label)
            .collect();
        f.write_str(&used.join(" "))
    }
}

/// Labels of [`Offloads`]: segmentation of TCP and of UDP by the TUN device, splitting and merging by the sockets, and the kernel's
/// choice of the lane of a datagram and of a flow.
const OFFLOADS: &[&str] = &[
    "tun_tcp",
    "tun_udp",
    "udp_send",
    "udp_receive",
    "lane_of_datagram",
    "lane_of_flow",
];

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// Received: a handshake in a flood of them; answered with a cookie.
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
    /// Decrypted: sent to the probe port but not a probe that this version reads.
    BadProbe = "bad_probe",
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

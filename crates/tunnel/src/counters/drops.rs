use std::ops::AddAssign;
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
pub(crate) struct Drops([AtomicU64; REASONS]);

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DropTotals([u64; REASONS]);

impl Drops {
    pub(crate) fn count(&self, reason: DropReason) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize].load(Relaxed)
    }

    pub(crate) fn totals(&self) -> DropTotals {
        DropTotals(std::array::from_fn(|reason| self.0[reason].load(Relaxed)))
    }
}

impl DropTotals {
    /// How many were dropped for this reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// The reasons for which any were dropped, and how many.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let all = DropReason::ALL.iter().map(|reason| (*reason, self.of(*reason)));
        all.filter(|(_, dropped)| *dropped > 0)
    }
}

impl AddAssign for DropTotals {
    fn add_assign(&mut self, other: Self) {
        for (mine, others) in self.0.iter_mut().zip(other.0) {
            *mine += others;
        }
    }
}

const REASONS: usize = DropReason::ALL.len();

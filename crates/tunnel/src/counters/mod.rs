mod drops;
mod offloads;

use std::ops::AddAssign;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub(crate) use drops::Drops;
pub use drops::{DropReason, DropTotals};
pub(crate) use offloads::Offloads;

/// What went through one cable. Bytes are those of inner packets.
#[derive(Debug, Default)]
pub(crate) struct PeerCounters {
    rx_packets: AtomicU64,
    rx_bytes: AtomicU64,
    tx_packets: AtomicU64,
    tx_bytes: AtomicU64,
    handshakes: AtomicU64,
    /// Of what is known to be its.
    pub(crate) drops: Drops,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PeerTotals {
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) handshakes: u64,
    pub(crate) drops: DropTotals,
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

    pub(crate) fn totals(&self) -> PeerTotals {
        PeerTotals {
            rx_packets: self.rx_packets.load(Relaxed),
            rx_bytes: self.rx_bytes.load(Relaxed),
            tx_packets: self.tx_packets.load(Relaxed),
            tx_bytes: self.tx_bytes.load(Relaxed),
            handshakes: self.handshakes.load(Relaxed),
            drops: self.drops.totals(),
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
        self.drops += other.drops;
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

    pub(crate) fn hand_overs(&self) -> u64 {
        self.hand_overs.load(Relaxed)
    }

    pub(crate) fn received_batch(&self, datagrams: usize) {
        self.udp_receives.fetch_add(1, Relaxed);
        self.udp_datagrams_received.fetch_add(datagrams as u64, Relaxed);
    }

    pub(crate) fn handed_over(&self) {
        self.hand_overs.fetch_add(1, Relaxed);
    }
}

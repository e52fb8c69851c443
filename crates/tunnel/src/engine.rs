use std::net::IpAddr;
use std::time::{Duration, Instant};

use model::{CablePlan, Connection, ProbeRole, PublicKey};
use prometheus::Registry;

use crate::counters::{DropReason, DropTotals};

/// The data plane as the rest of the agent sees it.
pub trait Engine: Send + Sync {
    /// Makes this the plan. Returns at once; the plan takes effect within a turn of the packet loop. A newer plan replaces one
    /// that has not taken effect yet.
    fn apply(&self, plan: &CablePlan);

    /// What is known of every cable, ordered by gateway.
    fn status(&self) -> Vec<CableStatus>;

    /// How often traffic had to leave a dead cable.
    fn failovers(&self) -> Failovers;

    /// What the lanes have done since the start, the first first, and what the kernel does for them.
    fn telemetry(&self) -> Telemetry;

    /// Packets dropped for this reason since the start.
    fn dropped(&self, reason: DropReason) -> u64;

    /// Why the engine stopped by itself, if it did. It carries no packets any more and must be started again.
    fn failure(&self) -> Option<String>;

    /// The identity of this end.
    fn public_key(&self) -> PublicKey;

    /// The UDP port of all cables.
    fn port(&self) -> u16;

    /// Adds the engine's metrics to a registry.
    ///
    /// # Errors
    /// When the registry has metrics of the same names already.
    fn register(&self, registry: &Registry) -> prometheus::Result<()>;
}

/// Times that traffic moved because the cable in use died.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Failovers {
    /// How many since the start.
    pub count: u64,
    /// How long the last one took, from the last sign of life of the dead cable.
    pub last: Option<Duration>,
}

/// One cable as this end sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct CableStatus {
    /// State, reason, address, times and bytes.
    pub connection: Connection,
    /// What the other end last said of itself; a stock peer says nothing.
    pub role: Option<ProbeRole>,
    /// Nodes behind it that answer deep probes.
    pub addresses: Vec<IpAddr>,
    /// It says that packets get lost behind this gateway.
    pub calls_us_broken: bool,
    /// Traffic to its cluster goes this way.
    pub is_used: bool,
    /// The latest time at which a packet as large as the cable takes set out and arrived.
    pub whole_at: Option<Instant>,
    /// The lanes that carry packets: bit 0 is the first.
    pub lanes: u16,
    /// What was dropped of what came from its other end, or was to go there, in all lanes. What does not decrypt only claims to come from
    /// there.
    pub drops: DropTotals,
}

/// What the data plane does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Telemetry {
    /// One entry a lane.
    pub lanes: Vec<LaneTotals>,
    /// What the kernel does for the engine, by the labels of metric `tombolo_tunnel_offload`.
    pub offloads: Vec<&'static str>,
}

/// What a lane has done since the start. Bytes are those of inner packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LaneTotals {
    /// Packets out of cables.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets into cables.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Sessions that were established.
    pub handshakes: u64,
    /// Packets and datagrams that it found and gave to the lane that they are for.
    pub hand_overs: u64,
    /// What it dropped.
    pub drops: DropTotals,
}

use std::net::SocketAddr;
use std::time::Duration;

use model::ProbeMode;

use super::{HEAD_START, REKEY_AFTER, STALE_AFTER};

/// What a cable is told to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CableSettings {
    /// Where the other end may be.
    pub candidates: Vec<SocketAddr>,
    /// Whether it answers probes.
    pub mode: ProbeMode,
    /// Whether this end starts handshakes without waiting for the other.
    pub is_initiator: bool,
}

impl CableSettings {
    /// How long this end leaves the first step to the other.
    pub(super) fn patience(&self) -> Duration {
        if self.is_initiator { Duration::ZERO } else { HEAD_START }
    }

    /// Age of a session at which this end starts a new one itself. Where probes flow the protocol does that after 120 s.
    pub(super) fn rekey_after(&self) -> Duration {
        match self.mode {
            ProbeMode::Tombolo => STALE_AFTER,
            ProbeMode::None => REKEY_AFTER + self.patience(),
        }
    }
}

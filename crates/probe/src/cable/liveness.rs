use std::net::SocketAddr;
use std::time::Instant;

use model::{ConnectionState, ProbeRole};

use super::{Cable, HEAD_START};
use crate::heartbeat::Lost;
use crate::reason::{Case, Reason};
use crate::window::RttSummary;

/// What is known of the other end.
#[derive(Debug, Clone, PartialEq)]
pub struct Liveness {
    /// State.
    pub state: ConnectionState,
    /// Why it is in this state.
    pub reason: Option<Reason>,
    /// The same for a person; empty when connected.
    pub message: String,
    /// Address in use, once something authentic came from it.
    pub remote_address: Option<SocketAddr>,
    /// Times of the last probes.
    pub rtt: Option<RttSummary>,
    /// Lost probes in percent.
    pub loss_percent: Option<f64>,
    /// The largest packet that the cable takes, bytes.
    pub mtu: u16,
    /// What the other end last said of itself.
    pub role: Option<ProbeRole>,
}

impl Cable {
    /// All that is known, for a person or a status object.
    pub fn liveness(&self, now: Instant) -> Liveness {
        let reason = self.reason(now);
        Liveness {
            state: self.state,
            reason,
            message: reason.map(|reason| self.describe(reason)).unwrap_or_default(),
            remote_address: self.endpoint,
            rtt: self.heartbeat.rtt(),
            loss_percent: self.heartbeat.loss_percent(now),
            mtu: self.path_mtu.mtu(),
            role: self.remote_role(),
        }
    }

    fn reason(&self, now: Instant) -> Option<Reason> {
        if self.state == ConnectionState::Connected {
            return None;
        }
        Some(match self.session {
            _ if self.tries > 0 && self.send_error.is_some() => Reason::UdpBlocked,
            _ if self.has_unknown_key => Reason::PeerKeyChanged,
            _ if self.has_skewed_clock() => Reason::ClockSkew,
            _ if self.lost == Some(Lost::OneWay) => Reason::OneWay,
            _ if self.tries > 0 => Reason::NoHandshake,
            Some(since) if now >= since + HEAD_START => Reason::NoReply,
            Some(_) => Reason::Probing,
            None if !self.has_target() => Reason::NoAddress,
            None if self.settings.is_initiator => Reason::Starting,
            None => Reason::WaitingForPeer,
        })
    }

    fn describe(&self, reason: Reason) -> String {
        let case = Case {
            reason,
            targets: &self.targets(),
            tries: self.tries,
            send_error: self.send_error.as_deref(),
            remote: self.endpoint,
            was_connected: self.was_connected,
        };
        case.describe()
    }
}

mod sending;
mod session;

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use boringtun::noise::Tunn;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519;
use model::{Connection, ConnectionState, GatewayId, PeerPlan, ProbeMode, ProbeRole, PublicKey};
use probe::{Cable, CableSettings, Candidate, Pace, Says};
use rand_core::{OsRng, RngCore};

use super::ROOM;
use crate::counters::PeerCounters;
use crate::engine::CableStatus;
use crate::key::PrivateKey;
use crate::steering::tunnel_index;
use crate::udp::Via;

/// One cable.
pub(super) struct Peer {
    gateway: GatewayId,
    public_key: PublicKey,
    probe_address: Option<Ipv6Addr>,
    tunn: Tunn,
    pub(super) cable: Cable,
    lane: usize,
    /// By which sockets the other end is reached: those that it was heard on last.
    via: Via,
    /// Receiver index of a session that we answered and that the other end has not used yet.
    unconfirmed: Option<u32>,
    last_handshake: Option<SystemTime>,
    counters: Arc<PeerCounters>,
    known_state: ConnectionState,
    known_role: Option<ProbeRole>,
    known_word: (bool, bool),
    is_avoided: bool,
}

/// What all peers use in turn.
pub(super) struct Context {
    lane: usize,
    /// What we say of ourselves in probes.
    pub(super) says: Says,
    /// Datagrams on their way out that are few.
    pub(super) sealed: Box<[u8]>,
    /// The probe message that is sent next.
    pub(super) message: Vec<u8>,
    probe: Vec<u8>,
    own_probe_address: Ipv6Addr,
    /// Admission is decided before a peer is known; `Tunn` insists on a limiter of its own, which therefore never limits.
    no_limit: Arc<RateLimiter>,
}

/// A message of WireGuard, as far as it matters here. `index` is the receiver's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Initiation,
    Response,
    Cookie,
    Data { index: u32 },
}

impl Context {
    pub(super) fn new(key: &PrivateKey, lane: usize) -> Self {
        Self {
            lane,
            says: Says::default(),
            sealed: vec![0; ROOM].into_boxed_slice(),
            message: Vec::new(),
            probe: Vec::new(),
            own_probe_address: model::probe_address(&key.public_key()),
            no_limit: Arc::new(RateLimiter::new(key.public(), u64::MAX)),
        }
    }
}

impl Peer {
    pub(super) fn new(plan: &PeerPlan, key: &PrivateKey, slot: usize, context: &Context, now: Instant) -> Self {
        let keepalive = plan.probe_address.is_none().then_some(STOCK_KEEPALIVE);
        let tunn = Tunn::new(
            key.secret().clone(),
            x25519::PublicKey::from(*plan.public_key.as_bytes()),
            None,
            keepalive,
            tunnel_index(slot, context.lane),
            Some(context.no_limit.clone()),
        );
        let settings = settings(plan, &key.public_key());
        Self {
            // The first lane stays on the port that everybody knows, also through NAT; the others come from ports of their own.
            via: if context.lane > 0 && settings.is_initiator {
                Via::Own
            } else {
                Via::Port
            },
            lane: context.lane,
            gateway: plan.gateway.clone(),
            public_key: plan.public_key,
            probe_address: plan.probe_address,
            tunn,
            cable: Cable::new(settings, plan.mtu, OsRng.next_u64(), now),
            unconfirmed: None,
            last_handshake: None,
            counters: Arc::default(),
            known_state: ConnectionState::Connecting,
            known_role: None,
            known_word: (false, false),
            is_avoided: false,
        }
    }

    /// Whether the plan means this very peer, so that it can be kept.
    pub(super) fn is(&self, plan: &PeerPlan) -> bool {
        self.gateway == plan.gateway && self.public_key == plan.public_key && self.probe_address == plan.probe_address
    }

    pub(super) fn update(&mut self, plan: &PeerPlan, own_key: &PublicKey, now: Instant) {
        self.cable.handle_settings(settings(plan, own_key), now);
        self.cable.handle_ceiling(plan.mtu, now);
    }

    pub(super) fn gateway(&self) -> &GatewayId {
        &self.gateway
    }

    pub(super) fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    pub(super) fn probe_address(&self) -> Option<Ipv6Addr> {
        self.probe_address
    }

    pub(super) fn counters(&self) -> &Arc<PeerCounters> {
        &self.counters
    }

    /// Whether packets get lost behind it and whether it is told so, and whether large ones seem to.
    pub(super) fn set_verdict(&mut self, (is_avoided, is_told): (bool, bool), is_suspected: bool, now: Instant) {
        self.is_avoided = is_avoided;
        self.cable.handle_deep(is_told);
        self.cable.handle_suspicion(is_suspected, now);
    }

    /// How often it is probed.
    pub(super) fn set_pace(&mut self, pace: Pace, now: Instant) {
        self.cable.handle_pace(pace, now);
    }

    pub(super) fn is_usable(&self) -> bool {
        self.cable.state().is_usable()
    }

    /// Its claim to be the way to its cluster.
    pub(super) fn candidate(&self, is_preferred: bool) -> Candidate {
        Candidate {
            live_since: self.cable.up_since().filter(|_| self.is_usable()),
            role: self.cable.remote_role().unwrap_or_default(),
            is_broken: self.is_avoided,
            is_preferred,
        }
    }

    /// Whether its state or role is another than when this was last asked.
    pub(super) fn take_change(&mut self) -> bool {
        let (state, role) = (self.cable.state(), self.cable.remote_role());
        if state != self.known_state {
            let remote = self.cable.endpoint().map(|endpoint| endpoint.to_string());
            let lane = self.lane;
            tracing::info!(gateway = %self.gateway, lane, ?state, remote, "cable changed state");
        }
        let word = (self.cable.is_called_broken(), self.cable.is_exonerated());
        let changed = (state, role, word) != (self.known_state, self.known_role, self.known_word);
        (self.known_state, self.known_role, self.known_word) = (state, role, word);
        changed
    }

    pub(super) fn status(&self, mtu: u16, now: Instant) -> CableStatus {
        let liveness = self.cable.liveness(now);
        let totals = self.counters.totals();
        let since_1970 = self.last_handshake.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let connection = Connection {
            remote: self.gateway.clone(),
            state: liveness.state,
            reason: liveness.reason.map(|reason| reason.name().to_owned()),
            message: liveness.message,
            remote_address: liveness.remote_address,
            rtt: liveness.rtt.map(Into::into),
            loss_percent: liveness.loss_percent,
            mtu: Some(liveness.mtu.min(mtu)),
            last_handshake: since_1970.map(|since| since.as_secs().cast_signed()),
            rx_bytes: totals.rx_bytes,
            tx_bytes: totals.tx_bytes,
        };
        CableStatus {
            connection,
            role: liveness.role,
            addresses: self.cable.remote_addresses().to_vec(),
            calls_us_broken: self.cable.is_called_broken(),
            is_used: false,
            whole_at: self.cable.whole_at(),
            lanes: u16::from(self.is_usable()) << self.lane,
            drops: totals.drops,
        }
    }
}

fn settings(plan: &PeerPlan, own_key: &PublicKey) -> CableSettings {
    CableSettings {
        candidates: plan.candidates.clone(),
        mode: if plan.probe_address.is_some() {
            ProbeMode::Tombolo
        } else {
            ProbeMode::None
        },
        // Both ends come to opposite results. A stock peer knows nothing of the rule and may be configured to wait.
        is_initiator: plan.probe_address.is_none() || own_key < &plan.public_key,
    }
}

/// Seconds. A stock peer sends nothing by itself; this keeps a NAT on the way open.
const STOCK_KEEPALIVE: u16 = 25;

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use boringtun::noise::errors::WireGuardError;
use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::noise::{Tunn, TunnResult};
use boringtun::x25519;
use model::names::PROBE_PORT;
use model::{Connection, ConnectionState, GatewayId, PeerPlan, ProbeMode, ProbeRole, PublicKey};
use packet::ecn::{self, Ecn};
use packet::{UDP6_OVERHEAD, Udp6, write_udp6};
use probe::{Cable, CableSettings, Candidate, Message, Pace, Says};
use rand_core::{OsRng, RngCore};

use super::{ROOM, Wire};
use crate::counters::{DropReason, Drops, PeerCounters};
use crate::engine::CableStatus;
use crate::key::PrivateKey;
use crate::steering::tunnel_index;
use crate::udp::{Remote, Via};

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

    /// Whether packets get lost behind it, or large ones seem to.
    pub(super) fn set_verdict(&mut self, is_avoided: bool, is_suspected: bool, now: Instant) {
        self.is_avoided = is_avoided;
        self.cable.handle_deep(is_avoided);
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

    /// Encrypts a packet and sends it.
    pub(super) fn seal(&mut self, packet: &[u8], drops: &Drops, now: Instant, wire: &mut impl Wire) {
        let sealed = match self.tunn.encapsulate(packet, wire.seal_room()) {
            TunnResult::WriteToNetwork(datagram) => datagram,
            TunnResult::Err(WireGuardError::ConnectionExpired) => return self.cable.handle_session_lost(now),
            // Without a session the packet waits in `Tunn` for the handshake that this started.
            _ => return,
        };
        if sealed.first() != Some(&DATA) {
            let initiation = Answer::copy(sealed);
            return self.send(initiation.bytes(), drops, now, wire);
        }
        let len = sealed.len();
        match self.cable.endpoint() {
            Some(address) => {
                let sent = wire.send_sealed(self.remote(address), ecn::encapsulate(Ecn::of(packet)), len);
                self.notice_size(&sent, now);
            }
            None => self.count_unsent(drops),
        }
    }

    /// Takes a datagram of the other end. `Some(len)`: a packet of this length lies in the room for what was opened.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a switch that a datagram touches, borrowed apart"
    )]
    pub(super) fn open(
        &mut self,
        from: Remote,
        kind: Kind,
        datagram: &[u8],
        context: &mut Context,
        drops: &Drops,
        now: Instant,
        wire: &mut impl Wire,
    ) -> Result<Option<usize>, DropReason> {
        match self
            .tunn
            .decapsulate(Some(from.address.ip()), datagram, wire.open_room())
        {
            TunnResult::WriteToTunnelV4(packet, _) | TunnResult::WriteToTunnelV6(packet, _) => {
                let len = packet.len();
                self.handle_data(from, kind, context, drops, now, wire);
                Ok(Some(len))
            }
            TunnResult::Done => {
                match kind {
                    Kind::Cookie => self.cable.handle_cookie(now),
                    _ => self.handle_data(from, kind, context, drops, now, wire),
                }
                Ok(None)
            }
            TunnResult::WriteToNetwork(answer) => {
                let answer = Answer::copy(answer);
                if wire.send(from, answer.bytes()).is_err() {
                    self.count_unsent(drops);
                }
                if kind == Kind::Initiation {
                    self.unconfirmed = sender_index(answer.bytes());
                } else {
                    self.begin_session(from, now);
                    self.drain(context, drops, now, wire);
                }
                Ok(None)
            }
            TunnResult::Err(error) => Err(reason(kind, &error)),
        }
    }

    /// Timers of the session, then whatever the cable wants to send.
    pub(super) fn tick(
        &mut self,
        handshakes: &mut u32,
        context: &mut Context,
        drops: &Drops,
        now: Instant,
        wire: &mut impl Wire,
    ) {
        match self.tunn.update_timers(&mut context.sealed) {
            TunnResult::WriteToNetwork(datagram) => self.send(datagram, drops, now, wire),
            TunnResult::Err(WireGuardError::ConnectionExpired) => self.cable.handle_session_lost(now),
            _ => {}
        }
        self.cable.handle_timeout(now);
        if *handshakes > 0 && self.cable.poll_handshake(now) {
            *handshakes -= 1;
            if let TunnResult::WriteToNetwork(initiation) =
                self.tunn.format_handshake_initiation(&mut context.sealed, true)
            {
                self.send_everywhere(initiation, drops, wire);
            }
        }
        self.probe_if_due(context, drops, now, wire);
    }

    pub(super) fn probe_if_due(&mut self, context: &mut Context, drops: &Drops, now: Instant, wire: &mut impl Wire) {
        while let Some(request) = self.cable.poll_probe(now) {
            let message = self.cable.ask(request, context.says.clone());
            message.encode(&mut context.message);
            let padded = usize::from(message.size).saturating_sub(UDP6_OVERHEAD);
            if context.message.len() < padded {
                context.message.resize(padded, 0);
            }
            self.send_probe(context, drops, now, wire);
        }
    }

    /// Answers a probe.
    pub(super) fn answer(
        &mut self,
        request: &Message,
        context: &mut Context,
        drops: &Drops,
        now: Instant,
        wire: &mut impl Wire,
    ) {
        let reply = self.cable.answer(request, context.says.clone());
        reply.encode(&mut context.message);
        self.send_probe(context, drops, now, wire);
    }

    /// Sends `context.message` to the other end's probe address.
    fn send_probe(&mut self, context: &mut Context, drops: &Drops, now: Instant, wire: &mut impl Wire) {
        let Some(destination) = self.probe_address else { return };
        let datagram = Udp6 {
            source: context.own_probe_address,
            destination,
            source_port: PROBE_PORT,
            destination_port: PROBE_PORT,
            payload: &context.message,
        };
        write_udp6(&datagram, &mut context.probe);
        match self.tunn.encapsulate(&context.probe, &mut context.sealed) {
            // At once, and alone: its time is measured, and its size may be too large.
            TunnResult::WriteToNetwork(datagram) => self.send(datagram, drops, now, wire),
            TunnResult::Err(WireGuardError::ConnectionExpired) => self.cable.handle_session_lost(now),
            _ => {}
        }
    }

    /// Data that decrypted: the other end is where it came from, and if it is the first of a session, has confirmed that session.
    fn handle_data(
        &mut self,
        from: Remote,
        kind: Kind,
        context: &mut Context,
        drops: &Drops,
        now: Instant,
        wire: &mut impl Wire,
    ) {
        self.via = from.via;
        self.cable.handle_authenticated(from.address, now);
        if let Kind::Data { index } = kind
            && self.unconfirmed.take_if(|unconfirmed| *unconfirmed == index).is_some()
        {
            self.begin_session(from, now);
            self.drain(context, drops, now, wire);
        }
    }

    fn begin_session(&mut self, from: Remote, now: Instant) {
        self.via = from.via;
        self.cable.handle_session(from.address, now);
        self.last_handshake = Some(SystemTime::now());
        self.counters.shook_hands();
        let lane = self.lane;
        tracing::debug!(gateway = %self.gateway, from = %from.address, lane, "session established");
    }

    /// Sends what waited for the session.
    fn drain(&mut self, context: &mut Context, drops: &Drops, now: Instant, wire: &mut impl Wire) {
        while let TunnResult::WriteToNetwork(datagram) = self.tunn.decapsulate(None, &[], &mut context.sealed) {
            self.send(datagram, drops, now, wire);
        }
    }

    fn remote(&self, address: SocketAddr) -> Remote {
        Remote { via: self.via, address }
    }

    /// To where the other end is; a handshake of a cable that does not work, to everywhere it may be.
    fn send(&mut self, datagram: &[u8], drops: &Drops, now: Instant, wire: &mut impl Wire) {
        if datagram.first() == Some(&INITIATION) && !self.is_usable() {
            return self.send_everywhere(datagram, drops, wire);
        }
        let Some(address) = self.cable.endpoint() else {
            return self.count_unsent(drops);
        };
        let sent = wire.send(self.remote(address), datagram);
        if sent.is_err() {
            self.count_unsent(drops);
        }
        self.notice_size(&sent, now);
    }

    fn count_unsent(&self, drops: &Drops) {
        drops.count(DropReason::UdpSend);
        self.counters.drops.count(DropReason::UdpSend);
    }

    fn notice_size(&mut self, sent: &io::Result<()>, now: Instant) {
        if let Err(error) = sent
            && error.raw_os_error() == Some(libc::EMSGSIZE)
        {
            self.cable.handle_too_big(now);
        }
    }

    fn send_everywhere(&mut self, initiation: &[u8], drops: &Drops, wire: &mut impl Wire) {
        for target in self.cable.targets() {
            if let Err(error) = wire.send(self.remote(target), initiation) {
                self.count_unsent(drops);
                self.cable.handle_send_error(format!("{target}: {error}"));
            }
        }
    }
}

/// A message of the protocol itself, out of the room that it was written to.
struct Answer {
    bytes: [u8; LARGEST_ANSWER],
    len: usize,
}

impl Answer {
    fn copy(message: &[u8]) -> Self {
        let mut bytes = [0; LARGEST_ANSWER];
        let len = message.len().min(LARGEST_ANSWER);
        bytes[..len].copy_from_slice(&message[..len]);
        Self { bytes, len }
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
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

fn sender_index(response: &[u8]) -> Option<u32> {
    response.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
}

fn reason(kind: Kind, error: &WireGuardError) -> DropReason {
    use WireGuardError as E;
    match (kind, error) {
        (_, E::WrongTai64nTimestamp | E::InvalidCounter | E::DuplicateCounter) => DropReason::Replayed,
        (_, E::NoCurrentSession | E::WrongIndex | E::UnexpectedPacket) => DropReason::UnknownSession,
        (Kind::Data { .. }, E::InvalidPacket) => DropReason::BadInner,
        (Kind::Data { .. }, _) => DropReason::NotAuthentic,
        _ => DropReason::BadHandshake,
    }
}

const INITIATION: u8 = 1;
const DATA: u8 = 4;
/// Handshakes, cookies and keepalives.
const LARGEST_ANSWER: usize = 148;
/// Seconds. A stock peer sends nothing by itself; this keeps a NAT on the way open.
const STOCK_KEEPALIVE: u16 = 25;

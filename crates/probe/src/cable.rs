use std::net::SocketAddr;
use std::time::{Duration, Instant};

use model::{ConnectionState, ProbeMode, ProbeRole};

use crate::message::{Message, MessageKind};
use crate::reason::Reason;
use crate::window::{RttSummary, Window};

/// One cable from this end: when to shake hands, when to probe, and what is known of the other end.
#[derive(Debug)]
pub struct Cable {
    settings: CableSettings,
    chance: Chance,
    state: ConnectionState,
    was_connected: bool,
    opened: Instant,
    /// When the session in use was confirmed by the other end.
    session: Option<Instant>,
    /// Where the other end's last authenticated datagram came from.
    endpoint: Option<SocketAddr>,
    /// Handshakes without an answer.
    tries: u32,
    send_error: Option<String>,
    next_handshake: Instant,
    next_probe: Instant,
    next_sequence: u32,
    last_reply: Option<Instant>,
    window: Window,
    remote_role: Option<ProbeRole>,
}

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

/// A probe to be sent as a [`MessageKind::Request`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub sequence: u32,
    /// Our time, to be repeated by the answer.
    pub stamp: u64,
}

/// What is known of the other end.
#[derive(Debug, Clone, PartialEq)]
pub struct Liveness {
    /// State.
    pub state: ConnectionState,
    /// Why it is in this state; empty when connected.
    pub message: String,
    /// Address in use, once something authentic came from it.
    pub remote_address: Option<SocketAddr>,
    /// Times of the last probes.
    pub rtt: Option<RttSummary>,
    /// Lost probes in percent.
    pub loss_percent: Option<f64>,
    /// What the other end last said of itself.
    pub role: Option<ProbeRole>,
}

impl Cable {
    /// A cable that was wanted from `now` on. `seed` spreads its retries.
    pub fn new(settings: CableSettings, seed: u64, now: Instant) -> Self {
        Self {
            next_handshake: now + settings.patience(),
            settings,
            chance: Chance(seed),
            state: ConnectionState::Connecting,
            was_connected: false,
            opened: now,
            session: None,
            endpoint: None,
            tries: 0,
            send_error: None,
            next_probe: now,
            next_sequence: 0,
            last_reply: None,
            window: Window::default(),
            remote_role: None,
        }
    }

    /// New settings. A cable that works is not disturbed; one that does not tries new addresses at once.
    pub fn handle_settings(&mut self, settings: CableSettings, now: Instant) {
        if settings == self.settings {
            return;
        }
        if settings.mode != self.settings.mode {
            // What proved it alive so far proves nothing under the new rule; it has as long as any silence may last.
            self.last_reply = Some(now);
        }
        let tries_new_addresses = settings
            .candidates
            .iter()
            .any(|new| !self.settings.candidates.contains(new));
        self.settings = settings;
        if tries_new_addresses && self.state != ConnectionState::Connected {
            self.next_handshake = self.next_handshake.min(now + self.settings.patience());
        }
    }

    /// The other end confirmed a new session: it answered a handshake of ours, or used the one that we answered.
    pub fn handle_session(&mut self, from: SocketAddr, now: Instant) {
        self.session = Some(now);
        self.endpoint = Some(from);
        self.tries = 0;
        self.send_error = None;
        self.next_probe = now;
        match self.settings.mode {
            ProbeMode::None => self.connect(now),
            // Rekeying is the business of the protocol's own timers; this is for when they fail.
            ProbeMode::Tombolo if self.state == ConnectionState::Connected => self.next_handshake = now + STALE_AFTER,
            ProbeMode::Tombolo => self.next_handshake = now + DEAD_AFTER,
        }
    }

    /// An authentic datagram came from this address.
    pub fn handle_authenticated(&mut self, from: SocketAddr) {
        self.endpoint = Some(from);
    }

    /// The session is gone (it is too old, or was given up).
    pub fn handle_session_lost(&mut self, now: Instant) {
        self.session = None;
        if self.state == ConnectionState::Connected {
            self.disconnect(now);
        }
    }

    /// The other end is busy and sent a cookie: the next handshake, which carries it, is due soon.
    pub fn handle_cookie(&mut self, now: Instant) {
        self.next_handshake = self.next_handshake.min(now + COOKIE_DELAY);
    }

    /// The kernel refused to send to one of the addresses.
    pub fn handle_send_error(&mut self, error: String) {
        self.send_error = Some(error);
    }

    /// An authentic probe message of the other end. `true` if it is an answer that counts, or a request, which is to be answered.
    pub fn handle_message(&mut self, message: &Message<'_>, now: Instant) -> bool {
        self.remote_role = Some(message.role);
        match message.kind {
            MessageKind::Request => true,
            MessageKind::Reply => self.handle_reply(message, now),
        }
    }

    /// Lets time have its effects: sessions expire, silent cables go down.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.session.is_some_and(|since| now >= since + SESSION_LIFE) {
            self.handle_session_lost(now);
        }
        if self.dead_at().is_some_and(|at| now >= at) {
            self.disconnect(now);
        }
        if self.state == ConnectionState::Connecting && now >= self.opened + CONNECTING_FOR {
            self.state = ConnectionState::Error;
        }
    }

    /// Whether a handshake is to be started now, towards all of [`Self::targets`].
    pub fn poll_handshake(&mut self, now: Instant) -> bool {
        if now < self.next_handshake || !self.has_target() {
            return false;
        }
        self.tries = self.tries.saturating_add(1);
        self.next_handshake = now + RETRY + self.chance.up_to(RETRY);
        true
    }

    /// The probe to be sent now, if one is due.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Request> {
        if !self.probes_session() || now < self.next_probe {
            return None;
        }
        let connected = self.state == ConnectionState::Connected;
        self.next_probe = now + if connected { PROBE_EVERY } else { FIRST_PROBES_EVERY };
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        self.window.record_request(sequence, now);
        Some(Request {
            sequence,
            stamp: self.stamp(now),
        })
    }

    /// When to call again at the latest, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        [
            self.has_target().then_some((self.next_handshake, "handshake")),
            self.probes_session().then_some((self.next_probe, "probe")),
            self.session.map(|since| (since + SESSION_LIFE, "session expiry")),
            self.dead_at().map(|at| (at, "liveness")),
            (self.state == ConnectionState::Connecting).then_some((self.opened + CONNECTING_FOR, "first connection")),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// Where handshakes go: where the other end was last heard from, and every candidate.
    pub fn targets(&self) -> Vec<SocketAddr> {
        let candidates = self.settings.candidates.iter().copied();
        let mut targets: Vec<SocketAddr> = self.endpoint.into_iter().collect();
        targets.extend(candidates.filter(|candidate| Some(*candidate) != self.endpoint));
        targets
    }

    /// Where the other end was last heard from.
    pub fn endpoint(&self) -> Option<SocketAddr> {
        self.endpoint
    }

    /// Its state.
    pub fn state(&self) -> ConnectionState {
        self.state
    }

    /// What the other end last said of itself.
    pub fn remote_role(&self) -> Option<ProbeRole> {
        self.remote_role
    }

    /// All that is known, for a person or a status object.
    pub fn liveness(&self, now: Instant) -> Liveness {
        Liveness {
            state: self.state,
            message: self.message(now),
            remote_address: self.endpoint,
            rtt: self.window.rtt(),
            loss_percent: self.window.loss_percent(now),
            role: self.remote_role,
        }
    }

    fn handle_reply(&mut self, reply: &Message<'_>, now: Instant) -> bool {
        let Some(rtt) = self.window.record_reply(reply.sequence, now) else {
            return false;
        };
        // A reply that was longer on its way than a cable may be silent says nothing about now.
        if rtt >= DEAD_AFTER || reply.stamp != self.stamp(now.checked_sub(rtt).unwrap_or(now)) {
            return false;
        }
        self.last_reply = Some(now);
        if self.state != ConnectionState::Connected {
            self.window.forget_before(reply.sequence);
            self.connect(now);
        }
        true
    }

    fn connect(&mut self, now: Instant) {
        self.state = ConnectionState::Connected;
        self.was_connected = true;
        self.next_handshake = self.session.unwrap_or(now) + self.settings.rekey_after();
        self.next_probe = now + PROBE_EVERY;
    }

    fn disconnect(&mut self, now: Instant) {
        self.state = ConnectionState::Error;
        self.tries = 0;
        self.last_reply = None;
        self.next_handshake = now + self.settings.patience();
        self.next_probe = now;
    }

    fn message(&self, now: Instant) -> String {
        if self.state == ConnectionState::Connected {
            return String::new();
        }
        let targets = self.targets();
        let reason = match self.session {
            _ if self.tries > 0 => Reason::NoHandshake {
                targets: &targets,
                tries: self.tries,
                send_error: self.send_error.as_deref(),
            },
            Some(since) if now >= since + DEAD_AFTER => Reason::NoReply { remote: self.endpoint },
            Some(_) => Reason::Probing,
            None if targets.is_empty() => Reason::NoAddress,
            None if self.settings.is_initiator => Reason::Starting,
            None => Reason::WaitingForPeer,
        };
        reason.describe(self.was_connected)
    }

    fn has_target(&self) -> bool {
        self.endpoint.is_some() || !self.settings.candidates.is_empty()
    }

    fn probes_session(&self) -> bool {
        self.settings.mode == ProbeMode::Tombolo && self.session.is_some()
    }

    /// When silence becomes death.
    fn dead_at(&self) -> Option<Instant> {
        let probed = self.settings.mode == ProbeMode::Tombolo && self.state == ConnectionState::Connected;
        self.last_reply.filter(|_| probed).map(|at| at + DEAD_AFTER)
    }

    fn stamp(&self, now: Instant) -> u64 {
        // Microseconds fill 64 bits in half a million years.
        now.saturating_duration_since(self.opened).as_micros() as u64
    }
}

impl CableSettings {
    /// How long this end leaves the first step to the other.
    fn patience(&self) -> Duration {
        if self.is_initiator { Duration::ZERO } else { DEAD_AFTER }
    }

    /// Age of a session at which this end starts a new one itself. Where probes flow the protocol does that after 120 s.
    fn rekey_after(&self) -> Duration {
        match self.mode {
            ProbeMode::Tombolo => STALE_AFTER,
            ProbeMode::None => REKEY_AFTER + self.patience(),
        }
    }
}

/// A small generator (splitmix64); its quality is of no matter, its seed is from outside.
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        limit.mul_f64((mixed >> 40) as f64 / (1u64 << 24) as f64)
    }
}

/// Silence after which a cable is down, and the head start of the standing initiator.
const DEAD_AFTER: Duration = Duration::from_secs(3);
const CONNECTING_FOR: Duration = Duration::from_secs(10);
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// While a session waits for its first answer.
const FIRST_PROBES_EVERY: Duration = Duration::from_millis(250);
/// A handshake is repeated after once to twice this.
const RETRY: Duration = Duration::from_millis(500);
const COOKIE_DELAY: Duration = Duration::from_millis(100);
/// WireGuard's REKEY_AFTER_TIME (whitepaper §6.1).
const REKEY_AFTER: Duration = Duration::from_secs(120);
/// Between WireGuard's REKEY_AFTER_TIME and its REJECT_AFTER_TIME: its own timers had their chance.
const STALE_AFTER: Duration = Duration::from_secs(150);
/// WireGuard's REJECT_AFTER_TIME.
const SESSION_LIFE: Duration = Duration::from_secs(180);

#[cfg(test)]
mod tests;

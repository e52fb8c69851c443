use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use model::{ConnectionState, ProbeMode, ProbeRole};

use crate::chance::Chance;
use crate::heartbeat::{Heartbeat, Lost, Request};
use crate::message::{Message, MessageKind, Says};
use crate::pace::Pace;
use crate::path_mtu::PathMtu;

mod behind;
mod liveness;
mod refused;
mod settings;

pub use liveness::Liveness;
pub use settings::CableSettings;

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
    /// Somebody at the other end's address uses a key that is none of our peers'.
    has_unknown_key: bool,
    /// Handshakes of the other end that were older than one before.
    old_handshakes: u32,
    next_handshake: Instant,
    heartbeat: Heartbeat,
    lost: Option<Lost>,
    path_mtu: PathMtu,
    /// The newest request of the other end: what an older one says is of the past.
    newest_request: Option<u32>,
    remote: Option<Remote>,
    /// Packets get lost behind the other end; it is told so.
    finds_broken: bool,
    /// Since when large packets seem to get lost behind the other end.
    suspected: Option<Instant>,
}

/// What the other end last said.
#[derive(Debug)]
struct Remote {
    role: ProbeRole,
    addresses: Vec<IpAddr>,
    finds_broken: bool,
}

impl Cable {
    /// A cable that was wanted from `now` on, between links that take packets of `ceiling` bytes inside it. `seed` spreads its
    /// retries.
    pub fn new(settings: CableSettings, ceiling: u16, seed: u64, now: Instant) -> Self {
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
            has_unknown_key: false,
            old_handshakes: 0,
            heartbeat: Heartbeat::new(Pace::STANDBY, now),
            lost: None,
            path_mtu: PathMtu::new(ceiling, Pace::STANDBY, now),
            newest_request: None,
            remote: None,
            finds_broken: false,
            suspected: None,
        }
    }

    /// New settings. A cable that works is not disturbed; one that does not tries new addresses at once.
    pub fn handle_settings(&mut self, settings: CableSettings, now: Instant) {
        if settings == self.settings {
            return;
        }
        if settings.mode != self.settings.mode && self.state == ConnectionState::Connected {
            // What proved it alive so far proves nothing under the new rule.
            match settings.mode {
                ProbeMode::Tombolo => self.close(now),
                ProbeMode::None => {}
            }
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

    /// How often to probe. A faster pace holds at once.
    pub fn handle_pace(&mut self, pace: Pace, now: Instant) {
        self.heartbeat.handle_pace(pace, now);
        self.path_mtu.handle_pace(pace, now);
    }

    /// What the links at both ends take inside the cable, bytes.
    pub fn handle_ceiling(&mut self, ceiling: u16, now: Instant) {
        self.path_mtu.handle_ceiling(ceiling, now);
    }

    /// The other end confirmed a new session: it answered a handshake of ours, or used the one that we answered.
    pub fn handle_session(&mut self, from: SocketAddr, now: Instant) {
        self.session = Some(now);
        self.newest_request = None;
        self.tries = 0;
        self.send_error = None;
        (self.has_unknown_key, self.old_handshakes) = (false, 0);
        self.handle_authenticated(from, now);
        self.heartbeat.hurry(now);
        match self.settings.mode {
            ProbeMode::None => self.connect(now),
            // Rekeying is the business of the protocol's own timers; this is for when they fail.
            ProbeMode::Tombolo if self.state == ConnectionState::Connected => self.next_handshake = now + STALE_AFTER,
            ProbeMode::Tombolo => self.next_handshake = now + HEAD_START,
        }
    }

    /// An authentic datagram came from this address.
    pub fn handle_authenticated(&mut self, from: SocketAddr, now: Instant) {
        self.heartbeat.handle_heard(now);
        if self.endpoint.replace(from) != Some(from) && self.heartbeat.is_up() {
            self.path_mtu.handle_new_path(now);
        }
    }

    /// The session is gone (it is too old, or was given up).
    pub fn handle_session_lost(&mut self, now: Instant) {
        self.session = None;
        if self.state == ConnectionState::Connected {
            self.disconnect(None, now);
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

    /// The kernel found a datagram of this cable too large for the link that it leaves by.
    pub fn handle_too_big(&mut self, now: Instant) {
        self.path_mtu.handle_doubt(now);
    }

    /// An authentic probe message of the other end. `true` if it is an answer that counts, or a request, which is to be answered.
    pub fn handle_message(&mut self, message: &Message, now: Instant) -> bool {
        match message.kind {
            MessageKind::Request => {
                let is_news = self
                    .newest_request
                    .is_none_or(|newest| message.sequence.wrapping_sub(newest).cast_signed() > 0);
                // Probes of size are counted apart.
                if is_news && message.size == 0 {
                    self.newest_request = Some(message.sequence);
                    self.listen(message);
                    if message.is_deaf && self.settings.mode == ProbeMode::Tombolo {
                        let lost = self.heartbeat.handle_deaf_peer(now);
                        self.handle_lost(lost, now);
                    }
                }
                true
            }
            MessageKind::Reply if message.size > 0 => {
                self.path_mtu.handle_reply(message.sequence, message.size, now);
                true
            }
            MessageKind::Reply => {
                let Some(came_up) = self.heartbeat.handle_reply(message.sequence, message.stamp, now) else {
                    return false;
                };
                self.listen(message);
                if came_up {
                    self.path_mtu.handle_new_path(now);
                }
                if self.state != ConnectionState::Connected {
                    self.connect(now);
                }
                true
            }
        }
    }

    /// The other end may be gone, for another of its cluster is, or seems to be: it is asked at once, as often as it takes to be certain.
    pub fn handle_doubt(&mut self, now: Instant) {
        self.heartbeat.handle_doubt(now);
    }

    /// Whether it was silent, and is being asked whether it is there.
    pub fn is_suspect(&self) -> bool {
        self.heartbeat.is_suspect()
    }

    /// Lets time have its effects: sessions expire, silent cables go down.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.session.is_some_and(|since| now >= since + SESSION_LIFE) {
            self.handle_session_lost(now);
        }
        if self.probes_session() {
            let lost = self.heartbeat.handle_timeout(now);
            self.handle_lost(lost, now);
            self.path_mtu.handle_timeout(self.heartbeat.patience(), now);
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

    /// The probe to be sent now, if one is due. To be called until there is none.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Request> {
        if !self.probes_session() {
            return None;
        }
        if let Some(request) = self.heartbeat.poll_probe(now) {
            return Some(request);
        }
        let (sequence, size) = self.path_mtu.poll_probe(self.heartbeat.patience(), now)?;
        Some(Request {
            sequence,
            stamp: self.heartbeat.stamp(now),
            size,
        })
    }

    /// When to call again at the latest, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let probes = self.probes_session();
        let size = self.path_mtu.poll_timeout(self.heartbeat.patience());
        [
            self.has_target().then_some((self.next_handshake, "handshake")),
            probes.then(|| self.heartbeat.poll_timeout()),
            size.filter(|_| probes).map(|at| (at, "path MTU")),
            self.session.map(|since| (since + SESSION_LIFE, "session expiry")),
            (self.state == ConnectionState::Connecting).then_some((self.opened + CONNECTING_FOR, "first connection")),
        ]
        .into_iter()
        .flatten()
        .min_by_key(|(at, _)| *at)
    }

    /// What is sent for a request.
    pub fn ask(&self, request: Request, says: Says) -> Message {
        Message {
            kind: MessageKind::Request,
            sequence: request.sequence,
            stamp: request.stamp,
            size: request.size,
            is_deaf: self.heartbeat.is_deaf(),
            finds_broken: self.finds_broken,
            wants_size_back: false,
            says,
        }
    }

    /// What is sent for a request of the other end.
    pub fn answer(&self, request: &Message, says: Says) -> Message {
        Message {
            is_deaf: self.heartbeat.is_deaf(),
            finds_broken: self.finds_broken,
            ..request.reply(says)
        }
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

    /// When anything authentic of the other end arrived last.
    pub fn heard(&self) -> Option<Instant> {
        self.heartbeat.heard()
    }

    /// Its state.
    pub fn state(&self) -> ConnectionState {
        self.state
    }

    /// Since when it is connected.
    pub fn up_since(&self) -> Option<Instant> {
        match self.settings.mode {
            ProbeMode::Tombolo => self.heartbeat.up_since(),
            ProbeMode::None => self.session.filter(|_| self.state == ConnectionState::Connected),
        }
    }

    /// What the other end last said of itself.
    pub fn remote_role(&self) -> Option<ProbeRole> {
        self.remote.as_ref().map(|remote| remote.role)
    }

    /// The largest packet that it takes, bytes.
    pub fn mtu(&self) -> u16 {
        self.path_mtu.mtu()
    }

    fn listen(&mut self, message: &Message) {
        self.remote = Some(Remote {
            role: message.says.role,
            addresses: message.says.addresses.clone(),
            finds_broken: message.finds_broken,
        });
    }

    fn connect(&mut self, now: Instant) {
        self.state = ConnectionState::Connected;
        self.was_connected = true;
        self.lost = None;
        self.next_handshake = self.session.unwrap_or(now) + self.settings.rekey_after();
    }

    fn handle_lost(&mut self, lost: Option<Lost>, now: Instant) {
        if lost.is_some() {
            self.disconnect(lost, now);
        }
    }

    fn disconnect(&mut self, lost: Option<Lost>, now: Instant) {
        self.lost = lost;
        self.close(now);
    }

    fn close(&mut self, now: Instant) {
        self.state = ConnectionState::Error;
        self.tries = 0;
        self.heartbeat.handle_closed(now);
        self.path_mtu.handle_down();
        // One that still hears the other end needs no new session, unless that does not mend it.
        let patience = match self.lost {
            Some(Lost::OneWay) => HEAD_START,
            _ => self.settings.patience(),
        };
        self.next_handshake = now + patience;
    }

    fn has_target(&self) -> bool {
        self.endpoint.is_some() || !self.settings.candidates.is_empty()
    }

    fn probes_session(&self) -> bool {
        self.settings.mode == ProbeMode::Tombolo && self.session.is_some()
    }
}

/// The head start of the standing initiator.
const HEAD_START: Duration = Duration::from_secs(3);
const CONNECTING_FOR: Duration = Duration::from_secs(10);
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

use std::time::{Instant, SystemTime};

use boringtun::noise::TunnResult;
use boringtun::noise::errors::WireGuardError;
use packet::ecn::{self, Ecn};

use super::{Context, Kind, Peer};
use crate::counters::{DropReason, Drops};
use crate::switch::Wire;
use crate::udp::Remote;

/// The session: sealing, opening, and what handshakes bring about.
impl Peer {
    /// Encrypts a packet and sends it.
    pub(in crate::switch) fn seal(&mut self, packet: &[u8], drops: &Drops, now: Instant, wire: &mut impl Wire) {
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
    pub(in crate::switch) fn open(
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
    pub(in crate::switch) fn tick(
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

const DATA: u8 = 4;
/// Handshakes, cookies and keepalives.
const LARGEST_ANSWER: usize = 148;

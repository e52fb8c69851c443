use std::time::Instant;

use boringtun::noise::{Packet, Tunn, TunnResult};
use model::names::PROBE_PORT;
use packet::ecn::{self, Ecn};
use packet::{IpHeader, Udp6};
use probe::{Message, MessageKind};

use super::initiation::Initiation;
use super::peer::Kind;
use super::{Switch, Wire, is_reserved};
use crate::counters::DropReason;
use crate::steering::{lane_of, slot_of};
use crate::udp::Remote;

impl Switch {
    /// A datagram from the underlay, and how its IP header was marked.
    pub(crate) fn handle_udp(&mut self, from: Remote, outer: Ecn, datagram: &[u8], now: Instant, wire: &mut impl Wire) {
        match self.receive(from, outer, datagram, now, wire) {
            Ok(Taken::Here) => {}
            Ok(Taken::By(lane)) => wire.hand_over_datagram(lane, from.address, outer, datagram),
            Err(reason) => self.drop_datagram(from, datagram, reason),
        }
    }

    /// A datagram that another lane found to be ours.
    pub(crate) fn handle_stray(
        &mut self,
        from: Remote,
        outer: Ecn,
        datagram: &[u8],
        now: Instant,
        wire: &mut impl Wire,
    ) {
        match self.receive(from, outer, datagram, now, wire) {
            Ok(Taken::Here) => {}
            // The lanes do not know the same plan yet. It must not go round.
            Ok(Taken::By(_)) => self.drop_datagram(from, datagram, DropReason::UnknownSession),
            Err(reason) => self.drop_datagram(from, datagram, reason),
        }
    }

    fn drop_datagram(&mut self, from: Remote, datagram: &[u8], reason: DropReason) {
        self.drops.count(reason);
        if reason == DropReason::UnknownKey {
            for peer in self.peers.slots.iter_mut().flatten() {
                peer.cable.handle_unknown_key(from.address.ip());
            }
        }
        tracing::trace!(reason = reason.label(), from = %from.address, bytes = datagram.len(), "datagram dropped");
    }

    fn receive(
        &mut self,
        from: Remote,
        outer: Ecn,
        datagram: &[u8],
        now: Instant,
        wire: &mut impl Wire,
    ) -> Result<Taken, DropReason> {
        let (lane, whose) = self.identify(from, datagram, wire)?;
        if lane != self.lane {
            return Ok(Taken::By(lane));
        }
        let (slot, kind) = self.find(whose)?;
        let peer = self.peers.at_mut(slot).ok_or(DropReason::UnknownSession)?;
        let opened = peer.open(from, kind, datagram, &mut self.context, &self.drops, now, wire);
        let taken = opened.and_then(|inner| {
            // First, so that an answer to this very packet finds its way.
            self.settle(slot, now, wire);
            inner.map_or(Ok(()), |len| self.take_inner(slot, outer, len, now, wire))
        });
        if let (Err(reason), Some(peer)) = (&taken, self.peers.at(slot)) {
            peer.counters().drops.count(*reason);
        }
        taken.map(|()| Taken::Here)
    }

    /// Whose datagram is it, and which lane's? By receiver index, and for a first message by the key inside.
    fn identify(&self, from: Remote, datagram: &[u8], wire: &mut impl Wire) -> Result<(usize, Whose), DropReason> {
        let packet = Tunn::parse_incoming_packet(datagram).map_err(|_| DropReason::Malformed)?;
        let by_index = |index, kind| match lane_of(index) {
            lane if lane < self.lanes => Ok((lane, Whose::Slot(slot_of(index), kind))),
            _ => Err(DropReason::UnknownSession),
        };
        match &packet {
            Packet::PacketData(data) => {
                let index = data.receiver_idx;
                by_index(index, Kind::Data { index })
            }
            Packet::PacketCookieReply(cookie) => by_index(cookie.receiver_idx, Kind::Cookie),
            Packet::HandshakeResponse(response) => {
                let found = by_index(response.receiver_idx, Kind::Response)?;
                if found.0 == self.lane {
                    self.admit(from, datagram, wire)?;
                }
                Ok(found)
            }
            Packet::HandshakeInit(_) => {
                self.admit(from, datagram, wire)?;
                let half = Initiation::open(&self.key, datagram).ok_or(DropReason::BadHandshake)?;
                let lanes = *self.lanes_of.get(half.sender()).ok_or(DropReason::UnknownKey)?;
                // A peer with one lane may be of any kind, and its index means nothing to us.
                let lane = if lanes == 1 { 0 } else { lane_of(half.sender_index()) };
                if lane >= lanes.min(self.lanes) {
                    return Err(DropReason::UnknownSession);
                }
                Ok((lane, Whose::Sender(half)))
            }
        }
    }

    /// The peer, if it has a cable in this lane. An initiation must be newer than any before, whichever lane that was on.
    fn find(&mut self, whose: Whose) -> Result<(usize, Kind), DropReason> {
        match whose {
            Whose::Slot(slot, kind) => Ok((slot, kind)),
            Whose::Sender(half) => {
                let slot = *self.peers.by_key.get(half.sender()).ok_or(DropReason::UnknownKey)?;
                let timestamp = half.timestamp(&self.key).ok_or(DropReason::BadHandshake)?;
                if self.handshakes.is_new(half.sender(), timestamp) {
                    Ok((slot, Kind::Initiation))
                } else {
                    if let Some(peer) = self.peers.at_mut(slot) {
                        peer.cable.handle_old_handshake();
                        peer.counters().drops.count(DropReason::Replayed);
                    }
                    Err(DropReason::Replayed)
                }
            }
        }
    }

    /// Lets a handshake message through if it was made for our key, and in a flood only if its sender owns its address and has not had
    /// its share.
    fn admit(&self, from: Remote, datagram: &[u8], wire: &mut impl Wire) -> Result<(), DropReason> {
        let mut cookie = [0; COOKIE_REPLY];
        let limiter = self.handshakes.limiter();
        match limiter.verify_packet(Some(from.address.ip()), datagram, &mut cookie) {
            Ok(_) if self.handshakes.is_affordable(from.address.ip()) => Ok(()),
            Ok(_) => Err(DropReason::RateLimited),
            Err(TunnResult::WriteToNetwork(reply)) => {
                if wire.send(from, reply).is_err() {
                    self.drops.count(DropReason::UdpSend);
                }
                Err(DropReason::RateLimited)
            }
            Err(_) => Err(DropReason::BadMac),
        }
    }

    /// What came out of a cable: a probe, or a packet for the TUN device if its source is one that the peer may use.
    fn take_inner(
        &mut self,
        slot: usize,
        outer: Ecn,
        len: usize,
        now: Instant,
        wire: &mut impl Wire,
    ) -> Result<(), DropReason> {
        let inner = &mut wire.opened()[..len];
        let header = IpHeader::parse(inner).map_err(|_| DropReason::BadInner)?;
        if is_reserved(header.source) || is_reserved(header.destination) {
            return self.take_probe(slot, len, now, wire);
        }
        let peer = self.peers.at(slot).ok_or(DropReason::UnknownSession)?;
        if !self.tables.accepts(slot, header.source) {
            return Err(DropReason::SpoofedSource);
        }
        if !ecn::decapsulate_in_place(inner, outer) {
            return Err(DropReason::Congested);
        }
        wire.deliver_opened(len);
        peer.counters().received(len);
        Ok(())
    }

    fn take_probe(&mut self, slot: usize, len: usize, now: Instant, wire: &mut impl Wire) -> Result<(), DropReason> {
        let peer = self.peers.at_mut(slot).ok_or(DropReason::UnknownSession)?;
        let datagram = Udp6::parse(&wire.opened()[..len]).map_err(|_| DropReason::ReservedAddress)?;
        if Some(datagram.source) != peer.probe_address() || datagram.destination != self.probe_address {
            return Err(DropReason::ReservedAddress);
        }
        if datagram.destination_port != PROBE_PORT {
            return Err(DropReason::BadProbe);
        }
        let message = Message::decode(datagram.payload).map_err(|_| DropReason::BadProbe)?;
        peer.cable.handle_message(&message, now);
        if message.kind == MessageKind::Request {
            peer.answer(&message, &mut self.context, &self.drops, now, wire);
        }
        self.settle(slot, now, wire);
        Ok(())
    }

    /// What a datagram may bring about: a new session is probed at once, and a state that changed moves traffic at once, not at the
    /// next tick.
    fn settle(&mut self, slot: usize, now: Instant, wire: &mut impl Wire) {
        if let Some(peer) = self.peers.at_mut(slot) {
            peer.probe_if_due(&mut self.context, &self.drops, now, wire);
            self.changed |= peer.take_change();
        }
        self.refresh(now);
    }
}

/// Who took a datagram.
enum Taken {
    Here,
    /// Nobody yet: it is for this lane.
    By(usize),
}

/// How a datagram says whose it is.
enum Whose {
    Slot(usize, Kind),
    Sender(Initiation),
}

const COOKIE_REPLY: usize = 64;

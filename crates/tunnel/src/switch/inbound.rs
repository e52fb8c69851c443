use std::net::SocketAddr;
use std::time::Instant;

use boringtun::noise::handshake::parse_handshake_anon;
use boringtun::noise::{Packet, Tunn, TunnResult};
use model::PublicKey;
use model::names::PROBE_PORT;
use packet::{IpHeader, Udp6};
use probe::{Message, MessageKind};

use super::peer::Kind;
use super::{Switch, Wire, is_reserved};
use crate::counters::DropReason;

impl Switch {
    /// A datagram from the underlay.
    pub(crate) fn handle_udp(&mut self, from: SocketAddr, datagram: &[u8], now: Instant, wire: &mut impl Wire) {
        if let Err(reason) = self.receive(from, datagram, now, wire) {
            self.drops.count(reason);
            tracing::trace!(reason = reason.label(), %from, bytes = datagram.len(), "datagram dropped");
        }
    }

    fn receive(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        wire: &mut impl Wire,
    ) -> Result<(), DropReason> {
        let (slot, kind) = self.identify(from, datagram, wire)?;
        let peer = self.peers.at_mut(slot).ok_or(DropReason::UnknownSession)?;
        let inner = peer.open(from, kind, datagram, &mut self.context, &self.drops, now, wire)?;
        // First, so that an answer to this very packet finds its way.
        self.settle(slot, now, wire);
        inner.map_or(Ok(()), |len| self.take_inner(slot, len, now, wire))
    }

    /// Whose datagram is it? By receiver index, and for a first message by the key inside.
    fn identify(
        &mut self,
        from: SocketAddr,
        datagram: &[u8],
        wire: &mut impl Wire,
    ) -> Result<(usize, Kind), DropReason> {
        let packet = Tunn::parse_incoming_packet(datagram).map_err(|_| DropReason::Malformed)?;
        match &packet {
            Packet::PacketData(data) => Ok((
                slot_of(data.receiver_idx),
                Kind::Data {
                    index: data.receiver_idx,
                },
            )),
            Packet::PacketCookieReply(cookie) => Ok((slot_of(cookie.receiver_idx), Kind::Cookie)),
            Packet::HandshakeResponse(response) => {
                self.admit(from, datagram, wire)?;
                Ok((slot_of(response.receiver_idx), Kind::Response))
            }
            Packet::HandshakeInit(initiation) => {
                self.admit(from, datagram, wire)?;
                let half = parse_handshake_anon(self.key.secret(), self.key.public(), initiation)
                    .map_err(|_| DropReason::BadHandshake)?;
                let key = PublicKey::from_bytes(half.peer_static_public);
                let slot = self.peers.by_key.get(&key).ok_or(DropReason::UnknownKey)?;
                Ok((*slot, Kind::Initiation))
            }
        }
    }

    /// Lets a handshake message through if it was made for our key, and in a flood only if its sender owns its address.
    fn admit(&self, from: SocketAddr, datagram: &[u8], wire: &mut impl Wire) -> Result<(), DropReason> {
        let mut cookie = [0; COOKIE_REPLY];
        match self.limiter.verify_packet(Some(from.ip()), datagram, &mut cookie) {
            Ok(_) => Ok(()),
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
    fn take_inner(&mut self, slot: usize, len: usize, now: Instant, wire: &mut impl Wire) -> Result<(), DropReason> {
        let inner = &self.context.opened[..len];
        let header = IpHeader::parse(inner).map_err(|_| DropReason::BadInner)?;
        if is_reserved(header.source) || is_reserved(header.destination) {
            return self.take_probe(slot, len, now, wire);
        }
        let peer = self.peers.at(slot).ok_or(DropReason::UnknownSession)?;
        if !self.tables.accepts(slot, header.source) {
            peer.counters().spoofed();
            return Err(DropReason::SpoofedSource);
        }
        wire.deliver(inner).map_err(|_| DropReason::TunWrite)?;
        peer.counters().received(len);
        Ok(())
    }

    fn take_probe(&mut self, slot: usize, len: usize, now: Instant, wire: &mut impl Wire) -> Result<(), DropReason> {
        let peer = self.peers.at_mut(slot).ok_or(DropReason::UnknownSession)?;
        let datagram = Udp6::parse(&self.context.opened[..len]).map_err(|_| DropReason::ReservedAddress)?;
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

fn slot_of(receiver_index: u32) -> usize {
    (receiver_index >> 8) as usize
}

const COOKIE_REPLY: usize = 64;

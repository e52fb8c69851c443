use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use boringtun::noise::TunnResult;
use boringtun::noise::errors::WireGuardError;
use model::names::PROBE_PORT;
use packet::{UDP6_OVERHEAD, Udp6, write_udp6};
use probe::Message;

use super::{Context, Peer};
use crate::counters::{DropReason, Drops};
use crate::switch::Wire;
use crate::udp::Remote;

/// What it sends of itself: probes, and messages of the protocol.
impl Peer {
    pub(in crate::switch) fn probe_if_due(
        &mut self,
        context: &mut Context,
        drops: &Drops,
        now: Instant,
        wire: &mut impl Wire,
    ) {
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
    pub(in crate::switch) fn answer(
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

    pub(super) fn remote(&self, address: SocketAddr) -> Remote {
        Remote { via: self.via, address }
    }

    /// To where the other end is; a handshake of a cable that does not work, to everywhere it may be.
    pub(super) fn send(&mut self, datagram: &[u8], drops: &Drops, now: Instant, wire: &mut impl Wire) {
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

    pub(super) fn count_unsent(&self, drops: &Drops) {
        drops.count(DropReason::UdpSend);
        self.counters.drops.count(DropReason::UdpSend);
    }

    pub(super) fn notice_size(&mut self, sent: &io::Result<()>, now: Instant) {
        if let Err(error) = sent
            && error.raw_os_error() == Some(libc::EMSGSIZE)
        {
            self.cable.handle_too_big(now);
        }
    }

    pub(super) fn send_everywhere(&mut self, initiation: &[u8], drops: &Drops, wire: &mut impl Wire) {
        for target in self.cable.targets() {
            if let Err(error) = wire.send(self.remote(target), initiation) {
                self.count_unsent(drops);
                self.cable.handle_send_error(format!("{target}: {error}"));
            }
        }
    }
}

const INITIATION: u8 = 1;

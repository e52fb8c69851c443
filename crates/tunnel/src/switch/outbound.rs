use std::net::IpAddr;
use std::time::Instant;

use model::names::{DEEP_PROBE_PORT, TRACKED_PROBE_PORT};
use packet::{IPV6_MIN_MTU, IpHeader, VirtioNetHeader, protocol, segment, too_big_reply};

use super::peer::Peer;
use super::{Switch, Wire, is_reserved};
use crate::counters::DropReason;

impl Switch {
    /// What the kernel routed into the TUN device: a packet, or a stretch of a stream that is to be split first.
    pub(crate) fn handle_tun(
        &mut self,
        header: VirtioNetHeader,
        packet: &mut [u8],
        now: Instant,
        wire: &mut impl Wire,
    ) {
        let bytes = packet.len();
        if let Err(reason) = self.forward(header, packet, now, wire) {
            self.drops.count(reason);
            tracing::trace!(reason = reason.label(), bytes, "packet from TUN dropped");
        }
    }

    fn forward(
        &mut self,
        header: VirtioNetHeader,
        packet: &mut [u8],
        now: Instant,
        wire: &mut impl Wire,
    ) -> Result<(), DropReason> {
        // Of a stretch of a stream this is the header of every part, so the way is looked up once.
        let ip = IpHeader::parse(packet).map_err(|_| DropReason::NotIp)?;
        if is_reserved(ip.source) || is_reserved(ip.destination) {
            return Err(DropReason::ReservedAddress);
        }
        let cluster = self.tables.cluster_towards(ip.destination).ok_or(DropReason::NoRoute)?;
        if self.lane > 0 && self.ways.version() != self.tables.version() {
            self.choose(now);
        }
        let way = match self.detour(&ip, packet) {
            // Never by another: that it does not arrive is what is asked.
            Some(detour) => detour.filter(|slot| self.tables.leads_to(*slot, cluster)),
            None => self.tables.way_to(cluster),
        };
        let Some(slot) = way else {
            if self.lane == 0 {
                return Err(DropReason::NoLivePeer);
            }
            wire.hand_over_packet(0, header, packet);
            return Ok(());
        };
        let peer = self.peers.at_mut(slot).ok_or(DropReason::NoLivePeer)?;
        let mtu = self.mtu.min(peer.cable.mtu());
        let mut segments = segment(header, &mut packet[..ip.total_len]).map_err(|_| DropReason::BadOffload)?;
        if segments.largest() > largest(&ip, mtu) {
            peer.counters().drops.count(DropReason::TooBig);
            self.refuse(&ip, segments.as_read(), mtu, wire);
            return Err(DropReason::TooBig);
        }
        while let Some(packet) = segments.next_packet() {
            peer.seal(packet, &self.drops, now, wire);
            peer.counters().sent(packet.len());
        }
        Ok(())
    }

    /// The peer by which a deep probe goes that does not go with the traffic; in lanes that have no cable to standbys, and where it is
    /// down, none.
    fn detour(&self, ip: &IpHeader, packet: &[u8]) -> Option<Option<usize>> {
        if self.detours.is_empty() || ip.protocol != protocol::UDP || ip.is_later_fragment {
            return None;
        }
        let (source, rest) = packet.get(ip.header_len..)?.split_first_chunk()?;
        let destination = u16::from_be_bytes(*rest.first_chunk()?);
        if ![DEEP_PROBE_PORT, TRACKED_PROBE_PORT].contains(&destination) {
            return None;
        }
        let detour = *self.detours.get(&u16::from_be_bytes(*source))?;
        Some(detour.filter(|slot| self.peers.at(*slot).is_some_and(Peer::is_usable)))
    }

    fn refuse(&mut self, header: &IpHeader, packet: &[u8], mtu: u16, wire: &mut impl Wire) {
        if self.icmp_budget == 0 {
            return;
        }
        self.icmp_budget -= 1;
        let source = self
            .icmp_sources
            .iter()
            .copied()
            .find(|source| source.is_ipv4() == header.source.is_ipv4());
        if let Some(reply) = too_big_reply(packet, source, mtu)
            && wire.deliver(&reply).is_err()
        {
            self.drops.count(DropReason::TunWrite);
        }
    }
}

/// A packet that may be fragmented, or that no IPv6 sender would make smaller, is carried whole: its outer datagram is what is
/// split then.
fn largest(header: &IpHeader, mtu: u16) -> usize {
    match header.source {
        IpAddr::V4(_) if header.may_fragment => usize::from(u16::MAX),
        IpAddr::V4(_) => usize::from(mtu),
        IpAddr::V6(_) => usize::from(mtu.max(IPV6_MIN_MTU)),
    }
}

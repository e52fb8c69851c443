use std::net::IpAddr;
use std::time::Instant;

use packet::{IPV6_MIN_MTU, IpHeader, too_big_reply};

use super::{Switch, Wire, is_reserved};
use crate::counters::DropReason;

impl Switch {
    /// A packet that the kernel routed into the TUN device.
    pub(crate) fn handle_tun(&mut self, packet: &[u8], now: Instant, wire: &mut impl Wire) {
        if let Err(reason) = self.forward(packet, now, wire) {
            self.drops.count(reason);
            tracing::trace!(reason = reason.label(), bytes = packet.len(), "packet from TUN dropped");
        }
    }

    fn forward(&mut self, packet: &[u8], now: Instant, wire: &mut impl Wire) -> Result<(), DropReason> {
        let header = IpHeader::parse(packet).map_err(|_| DropReason::NotIp)?;
        if is_reserved(header.source) || is_reserved(header.destination) {
            return Err(DropReason::ReservedAddress);
        }
        let packet = &packet[..header.total_len];
        let cluster = self
            .tables
            .cluster_towards(header.destination)
            .ok_or(DropReason::NoRoute)?;
        let slot = self.tables.way_to(cluster).ok_or(DropReason::NoLivePeer)?;
        let peer = self.peers.at_mut(slot).ok_or(DropReason::NoLivePeer)?;
        let mtu = self.mtu.min(peer.cable.mtu());
        if header.total_len > largest(&header, mtu) {
            self.refuse(&header, packet, mtu, wire);
            return Err(DropReason::TooBig);
        }
        peer.seal(packet, &mut self.context.sealed, &self.drops, now, wire);
        peer.counters().sent(packet.len());
        Ok(())
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

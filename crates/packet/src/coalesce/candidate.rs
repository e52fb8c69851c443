use crate::checksum::Checksum;
use crate::flow_hash::flow_hash;
use crate::ip::protocol;
use crate::layers::Layers;

use super::Merge;

/// Which protocol's rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
}

/// A packet of a flow that could be merged: TCP or UDP right behind an IP header without options, not fragmented, without padding.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) kind: Kind,
    pub(super) layers: Layers,
    pub(super) flow_hash: u32,
    /// Bytes of the IP and transport headers.
    pub(super) header_len: usize,
    pub(super) payload_len: usize,
    /// TCP flags, or zero.
    pub(super) flags: u8,
    /// Whether its kind may be merged at all.
    is_wanted: bool,
}

impl Candidate {
    pub(super) fn of(packet: &[u8], merge: Merge) -> Option<Self> {
        let layers = Layers::locate(packet).ok()?;
        if layers.is_fragment || !layers.is_plain() || layers.total_len != packet.len() {
            return None;
        }
        let transport = &packet[layers.ip_len..];
        let (kind, transport_header, flags, is_wanted) = match layers.protocol {
            protocol::TCP => {
                let fixed: &[u8; 20] = transport.first_chunk()?;
                (Kind::Tcp, usize::from(fixed[12] >> 4) * 4, fixed[13], merge.tcp)
            }
            protocol::UDP => {
                let header: &[u8; 8] = transport.first_chunk()?;
                let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
                // Without a checksum there is nothing to complete after a later split.
                let has_checksum = header[6..8] != [0, 0];
                (Kind::Udp, 8, 0, merge.udp && has_checksum && len == transport.len())
            }
            _ => return None,
        };
        if transport_header < 8 || kind == Kind::Tcp && transport_header < 20 || transport_header > transport.len() {
            return None;
        }
        Some(Self {
            kind,
            layers,
            flow_hash: flow_hash(packet),
            header_len: layers.ip_len + transport_header,
            payload_len: transport.len() - transport_header,
            flags,
            is_wanted,
        })
    }

    /// Whether others may be merged into it. One with CWR stays alone: with accurate ECN (draft-ietf-tcpm-accurate-ecn) the bit is part of
    /// a counter, which a receiver would misread on the others.
    pub(super) fn may_start(&self) -> bool {
        self.is_wanted && self.payload_len > 0 && self.flags & (CWR | URG | PSH | RST | SYN | FIN) == 0
    }

    /// Whether it may be merged into another, as far as it alone decides.
    pub(super) fn may_follow(&self) -> bool {
        self.is_wanted && self.payload_len > 0 && self.flags & CWR == 0
    }

    /// Whether all its checksums are right.
    pub(super) fn is_intact(&self, packet: &[u8]) -> bool {
        let transport = &packet[self.layers.ip_len..];
        // The transport part of an IP packet is shorter than 2^16.
        let sum = self
            .layers
            .pseudo_header(packet, transport.len() as u16)
            .with(transport);
        let ip_header = &packet[..self.layers.ip_len];
        sum.finish() == 0 && (!self.layers.is_v4 || Checksum::new().with(ip_header).finish() == 0)
    }

    /// Whether both are of the same direction of the same connection; the protocols are known to agree.
    pub(super) fn is_same_flow(&self, packet: &[u8], head: &[u8]) -> bool {
        let ports = self.layers.ip_len..self.layers.ip_len + 4;
        has_same_addresses(packet, head) && head.get(ports.clone()) == Some(&packet[ports])
    }
}

/// Whether both are of the same version, sender and receiver.
pub(super) fn has_same_addresses(packet: &[u8], head: &[u8]) -> bool {
    let addresses = match (
        packet.first().map(|first| first >> 4),
        head.first().map(|first| first >> 4),
    ) {
        (Some(4), Some(4)) => 12..20,
        (Some(6), Some(6)) => 8..40,
        _ => return false,
    };
    matches!((packet.get(addresses.clone()), head.get(addresses)), (Some(a), Some(b)) if a == b)
}

pub(super) const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
const URG: u8 = 0x20;
pub(super) const CWR: u8 = 0x80;

use crate::checksum::Checksum;
use crate::virtio::VirtioNetHeader;

use super::candidate::{Candidate, FIN, Kind, PSH};
use super::{MAX_IP_PACKET, MAX_PLAIN_HEADER, MAX_SEGMENTS};

/// One flow's packets, merged so far. The payloads lie in the slot; the header is here, where nothing that lands can cover it.
#[derive(Debug)]
pub(super) struct Pending {
    first: Candidate,
    header: [u8; MAX_PLAIN_HEADER],
    /// Bytes of the packet so far, with its one header.
    len: usize,
    segments: usize,
    /// How IPv4 identifications go on: unknown with one packet, then by 0 or 1.
    id_step: Option<u16>,
    is_complete: bool,
    /// When it was last added to, by a clock of packets.
    pub(super) touched: u64,
}

impl Pending {
    pub(super) fn begin(packet: &[u8], first: Candidate) -> Self {
        let mut header = [0; MAX_PLAIN_HEADER];
        header[..first.header_len].copy_from_slice(&packet[..first.header_len]);
        Self {
            first,
            header,
            len: packet.len(),
            segments: 1,
            id_step: None,
            is_complete: false,
            touched: 0,
        }
    }

    pub(super) fn header(&self) -> &[u8] {
        &self.header[..self.first.header_len]
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing more can follow.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether both are of the same direction of the same connection.
    pub(super) fn is_same_flow(&self, candidate: &Candidate, packet: &[u8]) -> bool {
        self.first.flow_hash == candidate.flow_hash
            && self.first.kind == candidate.kind
            && candidate.is_same_flow(packet, self.header())
    }

    /// Whether the packet, of the same flow, can be merged: a later split gives it back as it is.
    pub(super) fn is_continued_by(&self, candidate: &Candidate, packet: &[u8]) -> bool {
        candidate.may_follow()
            && candidate.header_len == self.first.header_len
            && candidate.payload_len <= self.first.payload_len
            && self.segments < MAX_SEGMENTS
            && self.len + candidate.payload_len <= MAX_IP_PACKET
            && self.ip_agrees(packet)
            && (self.first.kind == Kind::Udp || self.tcp_agrees(candidate, packet))
    }

    /// Counts in a packet that [continues](Self::is_continued_by) this one.
    pub(super) fn extend(&mut self, candidate: &Candidate, packet_header: &[u8]) {
        if self.first.layers.is_v4 {
            self.id_step
                .get_or_insert(id(packet_header).wrapping_sub(id(&self.header)));
        }
        self.len += candidate.payload_len;
        self.segments += 1;
        if self.first.kind == Kind::Tcp {
            self.header[self.first.layers.ip_len + FLAGS] |= candidate.flags & (FIN | PSH);
        }
        self.is_complete = candidate.payload_len < self.first.payload_len
            || candidate.flags & (FIN | PSH) != 0
            || self.segments == MAX_SEGMENTS;
    }

    /// Writes the headers of the whole over those of the first packet. One packet alone stays as it came.
    pub(super) fn finish(mut self, whole: &mut [u8]) {
        let (virtio, packet) = whole.split_at_mut(VirtioNetHeader::LEN);
        virtio.fill(0);
        if self.segments == 1 {
            return;
        }
        let layers = self.first.layers;
        let transport_len = (packet.len() - layers.ip_len) as u16;
        if layers.is_v4 {
            self.header[2..4].copy_from_slice(&(packet.len() as u16).to_be_bytes());
            self.header[10..12].copy_from_slice(&[0, 0]);
            let sum = Checksum::new().with(&self.header[..layers.ip_len]).finish();
            self.header[10..12].copy_from_slice(&sum.to_be_bytes());
        } else {
            self.header[4..6].copy_from_slice(&transport_len.to_be_bytes());
        }
        if self.first.kind == Kind::Udp {
            let at = layers.ip_len + 4;
            self.header[at..at + 2].copy_from_slice(&transport_len.to_be_bytes());
        }
        let pseudo = layers.pseudo_header(&self.header, transport_len).partial();
        let at = layers.ip_len + layers.checksum_offset();
        self.header[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        packet[..self.first.header_len].copy_from_slice(self.header());
        // All of these are below 2^16: they are parts of an IP packet.
        let header = VirtioNetHeader {
            flags: VirtioNetHeader::NEEDS_CHECKSUM,
            gso_type: self.gso_type(),
            hdr_len: self.first.header_len as u16,
            gso_size: self.first.payload_len as u16,
            csum_start: layers.ip_len as u16,
            csum_offset: layers.checksum_offset() as u16,
        };
        virtio.copy_from_slice(&header.to_bytes());
    }

    fn gso_type(&self) -> u8 {
        match (self.first.kind, self.first.layers.is_v4) {
            (Kind::Udp, _) => VirtioNetHeader::GSO_UDP_L4,
            (Kind::Tcp, true) => VirtioNetHeader::GSO_TCPV4,
            (Kind::Tcp, false) => VirtioNetHeader::GSO_TCPV6,
        }
    }

    fn ip_agrees(&self, packet: &[u8]) -> bool {
        let same = |range: std::ops::Range<usize>| self.header[range.clone()] == packet[range];
        if !self.first.layers.is_v4 {
            // Class and flow label, hop limit.
            return same(0..4) && same(7..8);
        }
        let count = self.segments as u16;
        let distance = id(packet).wrapping_sub(id(&self.header));
        let goes_on = match self.id_step {
            Some(step) => distance == step * count,
            // Where nothing is fragmented the identification means nothing, and some senders leave it as it is (RFC 6864).
            None => distance == 1 || distance == 0 && packet[6] & 0x40 != 0,
        };
        // TOS, "don't fragment", TTL.
        goes_on && same(1..2) && same(6..9)
    }

    fn tcp_agrees(&self, candidate: &Candidate, packet: &[u8]) -> bool {
        let at = self.first.layers.ip_len;
        let (head, tcp) = (
            &self.header[at..self.first.header_len],
            &packet[at..candidate.header_len],
        );
        let next = word32(head, 4).wrapping_add((self.len - self.first.header_len) as u32);
        word32(tcp, 4) == next
            // Acknowledged so far, header length and reserved bits.
            && head[8..13] == tcp[8..13]
            && (self.first.flags ^ candidate.flags) & !(FIN | PSH) == 0
            // Window.
            && head[14..16] == tcp[14..16]
            // Options; the urgent pointer means nothing without its flag.
            && head[20..] == tcp[20..]
    }
}

fn id(v4_header: &[u8]) -> u16 {
    u16::from_be_bytes([v4_header[4], v4_header[5]])
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Where the flags are in a TCP header.
const FLAGS: usize = 13;

//! Splitting what the kernel hands over whole.
//!
//! A device with segmentation offload delivers up to 64 KiB of a TCP stream, or up to 64 KiB of equal UDP datagrams, as one packet
//! with one header. [`segment`] splits it in place: each segment's header is written right before its payload, over the end of
//! the payload before it, which is no longer needed by then. No byte of payload is moved.
//!
//! ```text
//! read     │IP TCP│ payload 0 │ payload 1 │ payload 2 │
//! first    │IP TCP│ payload 0 │
//! second             │IP TCP│ payload 1 │
//! third                          │IP TCP│ payload 2 │
//! ```

use crate::checksum::Checksum;
use crate::ip::{ParseIpError, protocol};
use crate::layers::Layers;
use crate::virtio::VirtioNetHeader;

/// Why a packet cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// Not an IP packet at all.
    #[error(transparent)]
    Ip(#[from] ParseIpError),
    /// An offload type that was not asked for.
    #[error("segmentation type {0} is unknown")]
    UnknownType(u8),
    /// The offload type is of another protocol than the packet.
    #[error("the segmentation type does not fit the packet")]
    WrongProtocol,
    /// A fragment cannot be split by its transport header.
    #[error("a fragment cannot be segmented")]
    Fragment,
    /// The segment size is zero.
    #[error("the segment size is zero")]
    ZeroSize,
    /// The transport header is cut short or contradicts itself.
    #[error("the transport header does not fit the packet")]
    BadTransport,
    /// More header bytes than are ever sent.
    #[error("headers of {0} bytes are too long")]
    LongHeader(usize),
    /// The checksum that is to be completed lies outside the packet.
    #[error("the checksum lies outside the packet")]
    BadChecksumPlace,
}

/// Splits what a device handed over, `packet` being what follows the header.
///
/// A packet that is not to be split comes out as it is, with its checksum completed if that was left to us.
///
/// # Errors
/// When the packet is malformed or does not fit the header.
pub fn segment(header: VirtioNetHeader, packet: &mut [u8]) -> Result<Segments<'_>, SegmentError> {
    let transport = match header.gso_type & !VirtioNetHeader::GSO_ECN {
        VirtioNetHeader::GSO_NONE => return whole(header, packet),
        VirtioNetHeader::GSO_TCPV4 | VirtioNetHeader::GSO_TCPV6 => protocol::TCP,
        VirtioNetHeader::GSO_UDP_L4 => protocol::UDP,
        unknown => return Err(SegmentError::UnknownType(unknown)),
    };
    let layers = Layers::locate(packet)?;
    let wanted_version = match header.gso_type & !VirtioNetHeader::GSO_ECN {
        VirtioNetHeader::GSO_TCPV4 => true,
        VirtioNetHeader::GSO_TCPV6 => false,
        _ => layers.is_v4,
    };
    if layers.is_fragment {
        return Err(SegmentError::Fragment);
    }
    if layers.protocol != transport || layers.is_v4 != wanted_version {
        return Err(SegmentError::WrongProtocol);
    }
    if header.gso_size == 0 {
        return Err(SegmentError::ZeroSize);
    }
    let packet = &mut packet[..layers.total_len];
    let header_len = layers.ip_len + transport_header_len(&packet[layers.ip_len..], transport)?;
    if header_len > packet.len() {
        return Err(SegmentError::BadTransport);
    }
    let mut template = [0; MAX_HEADER];
    template
        .get_mut(..header_len)
        .ok_or(SegmentError::LongHeader(header_len))?
        .copy_from_slice(&packet[..header_len]);
    let pseudo = pseudo_header(header, &layers, packet);
    let segment_size = usize::from(header.gso_size);
    Ok(Segments {
        len: (packet.len() - header_len).div_ceil(segment_size).max(1),
        packet,
        next: 0,
        largest: header_len + segment_size,
        split: Some(Split {
            layers,
            template,
            header_len,
            segment_size,
            pseudo,
        }),
    })
}

/// The packets that one read from a device comes to, each whole, with right lengths and checksums.
#[derive(Debug)]
pub struct Segments<'a> {
    packet: &'a mut [u8],
    len: usize,
    next: usize,
    largest: usize,
    /// Absent when there is one packet and it is as it should be.
    split: Option<Split>,
}

#[derive(Debug)]
struct Split {
    layers: Layers,
    template: [u8; MAX_HEADER],
    header_len: usize,
    segment_size: usize,
    /// The sum of the pseudo header without the length.
    pseudo: Checksum,
}

impl Segments<'_> {
    /// How many packets there are in all.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the largest of them.
    pub fn largest(&self) -> usize {
        self.largest.min(self.packet.len())
    }

    /// The packet as it was read. Its addresses are those of every segment. Meaningful before the first
    /// [`next_packet`](Self::next_packet).
    pub fn as_read(&self) -> &[u8] {
        self.packet
    }

    /// The next packet, in the order of the stream. It lies where it was read.
    pub fn next_packet(&mut self) -> Option<&[u8]> {
        let index = self.next;
        if index == self.len {
            return None;
        }
        self.next += 1;
        match &self.split {
            None => Some(self.packet),
            Some(split) => Some(split.write(self.packet, index, index + 1 == self.len)),
        }
    }

    /// The next packet, copied to the beginning of `out`; its length. Nothing if it does not fit, and then it is lost.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<usize> {
        let packet = self.next_packet()?;
        out.get_mut(..packet.len())?.copy_from_slice(packet);
        Some(packet.len())
    }
}

impl Split {
    fn write<'a>(&self, packet: &'a mut [u8], index: usize, is_last: bool) -> &'a [u8] {
        let first = index * self.segment_size;
        let end = packet.len().min(self.header_len + first + self.segment_size);
        // The header takes the place right before its payload.
        let segment = &mut packet[first..end];
        segment[..self.header_len].copy_from_slice(&self.template[..self.header_len]);
        // A segment is a part of an IP packet, so its length fits, as does the index.
        let total_len = segment.len() as u16;
        if self.layers.is_v4 {
            write_v4(segment, self.layers.ip_len, total_len, index as u16);
        } else {
            segment[4..6].copy_from_slice(&(total_len - V6_FIXED).to_be_bytes());
        }
        let transport = &mut segment[self.layers.ip_len..];
        let transport_len = transport.len() as u16;
        if self.layers.protocol == protocol::TCP {
            let seq = word32(transport, 4).wrapping_add(first as u32);
            transport[4..8].copy_from_slice(&seq.to_be_bytes());
            if !is_last {
                transport[TCP_FLAGS] &= !(FIN | PSH);
            }
            if index > 0 {
                transport[TCP_FLAGS] &= !CWR;
            }
        } else {
            transport[4..6].copy_from_slice(&transport_len.to_be_bytes());
        }
        let place = self.layers.checksum_offset();
        transport[place..place + 2].copy_from_slice(&[0, 0]);
        let sum = self.pseudo.with_word(transport_len).with(transport).finish();
        write_checksum(transport, place, sum);
        segment
    }
}

fn write_v4(segment: &mut [u8], ip_len: usize, total_len: u16, index: u16) {
    segment[2..4].copy_from_slice(&total_len.to_be_bytes());
    let id = u16::from_be_bytes([segment[4], segment[5]]).wrapping_add(index);
    segment[4..6].copy_from_slice(&id.to_be_bytes());
    segment[10..12].copy_from_slice(&[0, 0]);
    let sum = Checksum::new().with(&segment[..ip_len]).finish();
    segment[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// One packet as it is, with its checksum completed where the header says that it is still to be done.
fn whole(header: VirtioNetHeader, packet: &mut [u8]) -> Result<Segments<'_>, SegmentError> {
    if header.needs_checksum() {
        let place = usize::from(header.csum_offset);
        let summed = packet
            .get_mut(usize::from(header.csum_start)..)
            .filter(|summed| summed.len() >= place + 2)
            .ok_or(SegmentError::BadChecksumPlace)?;
        // The field holds the pseudo header's sum and is summed with the rest.
        let sum = Checksum::new().with(summed).finish();
        write_checksum(summed, place, sum);
    }
    let largest = packet.len();
    Ok(Segments {
        packet,
        len: 1,
        next: 0,
        largest,
        split: None,
    })
}

/// The pseudo header's sum without the length. Where the kernel left a partial sum it is taken from there: under a routing header
/// the addresses in the packet are not those that count.
fn pseudo_header(header: VirtioNetHeader, layers: &Layers, packet: &[u8]) -> Checksum {
    if !header.needs_checksum() {
        return layers.pseudo_header(packet, 0);
    }
    let at = layers.ip_len + layers.checksum_offset();
    // The transport part of an IP packet is shorter than 2^16.
    let whole_len = (packet.len() - layers.ip_len) as u16;
    Checksum::new()
        .with_word(u16::from_be_bytes([packet[at], packet[at + 1]]))
        .without_word(whole_len)
}

fn transport_header_len(transport: &[u8], kind: u8) -> Result<usize, SegmentError> {
    if kind == protocol::UDP {
        return Ok(UDP_HEADER);
    }
    let len = transport.get(12).ok_or(SegmentError::BadTransport)? >> 4;
    if len < 5 {
        return Err(SegmentError::BadTransport);
    }
    Ok(usize::from(len) * 4)
}

fn write_checksum(transport: &mut [u8], place: usize, sum: u16) {
    // In UDP, zero would say that there is no checksum (RFC 768).
    let sum = if sum == 0 && place == UDP_CHECKSUM { 0xffff } else { sum };
    transport[place..place + 2].copy_from_slice(&sum.to_be_bytes());
}

fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Room for the longest IPv4 and TCP headers, and for an IPv6 header with any extension headers that are used in earnest.
const MAX_HEADER: usize = 256;
const V6_FIXED: u16 = 40;
const UDP_HEADER: usize = 8;
const UDP_CHECKSUM: usize = 6;
const TCP_FLAGS: usize = 13;
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

#[cfg(test)]
mod tests;

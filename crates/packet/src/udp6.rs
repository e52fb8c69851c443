use std::net::Ipv6Addr;

use crate::checksum::Checksum;
use crate::ip::{IpHeader, ParseIpError, V6_HEADER, protocol};

/// Bytes of IPv6 and UDP headers before the payload.
pub const UDP6_OVERHEAD: usize = V6_HEADER + UDP_HEADER;

/// A UDP datagram in an IPv6 packet, without extension headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp6<'a> {
    /// Sender.
    pub source: Ipv6Addr,
    /// Receiver.
    pub destination: Ipv6Addr,
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Why bytes are not a UDP datagram in an IPv6 packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseUdpError {
    /// Not an IP packet at all.
    #[error(transparent)]
    Ip(#[from] ParseIpError),
    /// An IP packet of another kind.
    #[error("not UDP in IPv6")]
    NotUdp6,
    /// The UDP length does not agree with the packet's.
    #[error("the UDP length does not agree with the packet")]
    BadLength,
    /// The checksum is wrong, or absent, which IPv6 does not allow.
    #[error("the UDP checksum is wrong")]
    BadChecksum,
}

impl<'a> Udp6<'a> {
    /// Reads a datagram and verifies its lengths and checksum.
    ///
    /// # Errors
    /// When the packet is anything else than a well-formed UDP datagram in IPv6.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseUdpError> {
        let ip = IpHeader::parse(packet)?;
        let (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination), protocol::UDP) =
            (ip.source, ip.destination, ip.protocol)
        else {
            return Err(ParseUdpError::NotUdp6);
        };
        let datagram = &packet[ip.header_len..ip.total_len];
        let (header, payload) = datagram
            .split_first_chunk::<UDP_HEADER>()
            .ok_or(ParseUdpError::BadLength)?;
        let len = u16::from_be_bytes([header[4], header[5]]);
        if usize::from(len) != datagram.len() {
            return Err(ParseUdpError::BadLength);
        }
        let sum = Checksum::new()
            .with_pseudo_header_v6(source, destination, protocol::UDP, u32::from(len))
            .with(datagram);
        if header[6..8] == [0, 0] || sum.finish() != 0 {
            return Err(ParseUdpError::BadChecksum);
        }
        Ok(Self {
            source,
            destination,
            source_port: u16::from_be_bytes([header[0], header[1]]),
            destination_port: u16::from_be_bytes([header[2], header[3]]),
            payload,
        })
    }
}

/// Writes the datagram as an IPv6 packet into `packet`, replacing what was there. A payload beyond the 65,527 bytes that fit
/// a UDP datagram is cut off.
pub fn write_udp6(datagram: &Udp6<'_>, packet: &mut Vec<u8>) {
    let payload = &datagram.payload[..datagram.payload.len().min(MAX_PAYLOAD)];
    // `payload` is at most `MAX_PAYLOAD` long, so this fits.
    let len = (UDP_HEADER + payload.len()) as u16;
    packet.clear();
    packet.extend_from_slice(&[0x60, 0, 0, 0]);
    packet.extend_from_slice(&len.to_be_bytes());
    packet.extend_from_slice(&[protocol::UDP, HOP_LIMIT]);
    packet.extend_from_slice(&datagram.source.octets());
    packet.extend_from_slice(&datagram.destination.octets());
    packet.extend_from_slice(&datagram.source_port.to_be_bytes());
    packet.extend_from_slice(&datagram.destination_port.to_be_bytes());
    packet.extend_from_slice(&len.to_be_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(payload);
    let sum = Checksum::new()
        .with_pseudo_header_v6(datagram.source, datagram.destination, protocol::UDP, u32::from(len))
        .with(&packet[V6_HEADER..])
        .finish();
    // A computed 0 is sent as its other form, because 0 means "no checksum" (RFC 8200 §8.1).
    let sum = if sum == 0 { 0xffff } else { sum };
    packet[V6_HEADER + 6..V6_HEADER + 8].copy_from_slice(&sum.to_be_bytes());
}

const UDP_HEADER: usize = 8;
const MAX_PAYLOAD: usize = u16::MAX as usize - UDP_HEADER;
/// The datagram travels one hop: from one end of a cable to the other.
const HOP_LIMIT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(source: u128, destination: u128, source_port: u16, destination_port: u16, payload: Vec<u8>) {
            let datagram = Udp6 {
                source: Ipv6Addr::from_bits(source),
                destination: Ipv6Addr::from_bits(destination),
                source_port,
                destination_port,
                payload: &payload,
            };
            let mut packet = vec![9; 3];
            write_udp6(&datagram, &mut packet);
            prop_assert_eq!(packet.len(), UDP6_OVERHEAD + payload.len());
            prop_assert_eq!(Udp6::parse(&packet), Ok(datagram));
        }

        #[test]
        fn one_flipped_bit_of_the_datagram_is_noticed(payload: Vec<u8>, bit: prop::sample::Index) {
            let (source, destination) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
            let mut packet = Vec::new();
            write_udp6(&Udp6 { source, destination, source_port: 1, destination_port: 2, payload: &payload }, &mut packet);
            let bit = V6_HEADER * 8 + bit.index((packet.len() - V6_HEADER) * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Udp6::parse(&packet).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Udp6::parse(&bytes);
        }
    }

    #[test]
    fn other_packets_are_told_apart() {
        let mut packet = Vec::new();
        let datagram = Udp6 {
            source: Ipv6Addr::LOCALHOST,
            destination: Ipv6Addr::LOCALHOST,
            source_port: 1,
            destination_port: 2,
            payload: b"probe",
        };
        write_udp6(&datagram, &mut packet);
        packet[6] = protocol::ICMPV6;
        assert_eq!(Udp6::parse(&packet), Err(ParseUdpError::NotUdp6));
        packet[6] = protocol::UDP;
        packet[45] = 9;
        assert_eq!(Udp6::parse(&packet), Err(ParseUdpError::BadLength));
        assert_eq!(
            Udp6::parse(&packet[..30]),
            Err(ParseUdpError::Ip(ParseIpError::Truncated))
        );
    }
}

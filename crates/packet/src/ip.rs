use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IP protocol numbers that are looked at here.
pub mod protocol {
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
}

/// What the data plane needs to know of an IP packet, either version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpHeader {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Protocol number; of an IPv6 packet the first "next header", extension headers are not walked.
    pub protocol: u8,
    /// Bytes of the header: with options for IPv4, 40 for IPv6.
    pub header_len: usize,
    /// Bytes of the whole packet by its own account, never more than were given.
    pub total_len: usize,
    /// Whether a router may split it: an IPv4 packet without "don't fragment".
    pub may_fragment: bool,
    /// Whether it is an IPv4 fragment other than the first, so that no transport header follows.
    pub is_later_fragment: bool,
}

/// Why bytes are not an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseIpError {
    /// Fewer bytes than the header, or than the length that the header states.
    #[error("the packet is cut short")]
    Truncated,
    /// The version nibble is neither 4 nor 6.
    #[error("version {0} is neither 4 nor 6")]
    UnknownVersion(u8),
    /// The lengths in the header contradict each other.
    #[error("the lengths in the header contradict each other")]
    BadLength,
}

impl IpHeader {
    /// Reads the header of a packet. Bytes after the stated length are padding and allowed.
    ///
    /// # Errors
    /// When the bytes are not a whole IP packet.
    pub fn parse(packet: &[u8]) -> Result<Self, ParseIpError> {
        match packet.first().ok_or(ParseIpError::Truncated)? >> 4 {
            4 => parse_v4(packet),
            6 => parse_v6(packet),
            version => Err(ParseIpError::UnknownVersion(version)),
        }
    }
}

fn parse_v4(packet: &[u8]) -> Result<IpHeader, ParseIpError> {
    let header: &[u8; V4_HEADER] = packet.first_chunk().ok_or(ParseIpError::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header_len < V4_HEADER || total_len < header_len {
        return Err(ParseIpError::BadLength);
    }
    if packet.len() < total_len {
        return Err(ParseIpError::Truncated);
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    Ok(IpHeader {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        protocol: header[9],
        header_len,
        total_len,
        may_fragment: fragment & DONT_FRAGMENT == 0,
        is_later_fragment: fragment & FRAGMENT_OFFSET != 0,
    })
}

fn parse_v6(packet: &[u8]) -> Result<IpHeader, ParseIpError> {
    let header: &[u8; V6_HEADER] = packet.first_chunk().ok_or(ParseIpError::Truncated)?;
    let total_len = V6_HEADER + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if packet.len() < total_len {
        return Err(ParseIpError::Truncated);
    }
    Ok(IpHeader {
        source: v6_address(header, 8).into(),
        destination: v6_address(header, 24).into(),
        protocol: header[6],
        header_len: V6_HEADER,
        total_len,
        may_fragment: false,
        is_later_fragment: false,
    })
}

fn v6_address(header: &[u8; V6_HEADER], at: usize) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&header[at..at + 16]);
    Ipv6Addr::from(octets)
}

pub(crate) const V4_HEADER: usize = 20;
pub(crate) const V6_HEADER: usize = 40;
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(total_len: u16, given: usize) -> Vec<u8> {
        let mut packet = vec![0; given];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        packet[6] = 0x40;
        packet[9] = protocol::UDP;
        packet[12..16].copy_from_slice(&[10, 1, 2, 3]);
        packet[16..20].copy_from_slice(&[10, 4, 5, 6]);
        packet
    }

    #[test]
    fn an_ipv4_packet_is_read_and_padding_is_not_part_of_it() {
        let header = IpHeader::parse(&v4(28, 64)).unwrap();
        assert_eq!(header.source, "10.1.2.3".parse::<IpAddr>().unwrap());
        assert_eq!(header.destination, "10.4.5.6".parse::<IpAddr>().unwrap());
        assert_eq!(
            (header.protocol, header.header_len, header.total_len),
            (protocol::UDP, 20, 28)
        );
        assert!(!header.may_fragment);
        assert!(!header.is_later_fragment);
    }

    #[test]
    fn an_ipv6_packet_is_read() {
        let mut packet = vec![0; 48];
        packet[0] = 0x60;
        packet[5] = 8;
        packet[6] = protocol::ICMPV6;
        packet[8..10].copy_from_slice(&[0xfd, 0x01]);
        packet[24..26].copy_from_slice(&[0xfd, 0x02]);
        let header = IpHeader::parse(&packet).unwrap();
        assert_eq!(header.source, "fd01::".parse::<IpAddr>().unwrap());
        assert_eq!(header.destination, "fd02::".parse::<IpAddr>().unwrap());
        assert_eq!((header.protocol, header.total_len), (protocol::ICMPV6, 48));
    }

    #[test]
    fn each_defect_has_its_name() {
        assert_eq!(IpHeader::parse(&[]), Err(ParseIpError::Truncated));
        assert_eq!(IpHeader::parse(&[0x45; 19]), Err(ParseIpError::Truncated));
        assert_eq!(IpHeader::parse(&[0x50; 40]), Err(ParseIpError::UnknownVersion(5)));
        assert_eq!(IpHeader::parse(&v4(65, 64)), Err(ParseIpError::Truncated));
        assert_eq!(IpHeader::parse(&v4(19, 64)), Err(ParseIpError::BadLength));
        let mut short_header = v4(28, 64);
        short_header[0] = 0x44;
        assert_eq!(IpHeader::parse(&short_header), Err(ParseIpError::BadLength));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_never_claim_more_than_given(bytes: Vec<u8>, version in 0u8..16) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | *first & 0x0f;
            }
            if let Ok(header) = IpHeader::parse(&bytes) {
                prop_assert!(header.total_len <= bytes.len());
                prop_assert!(header.header_len <= header.total_len);
            }
        }
    }
}

use crate::checksum::Checksum;
use crate::ip::{IpHeader, ParseIpError, V6_HEADER, protocol};

/// Where the transport header of a packet lies and what it is, with IPv6 extension headers walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) is_v4: bool,
    /// Bytes before the transport header.
    pub(crate) ip_len: usize,
    /// What follows the IP headers; for an IPv6 fragment, "fragment".
    pub(crate) protocol: u8,
    /// Bytes of the packet by its own account.
    pub(crate) total_len: usize,
    /// Any fragment, the first too.
    pub(crate) is_fragment: bool,
}

impl Layers {
    pub(crate) fn locate(packet: &[u8]) -> Result<Self, ParseIpError> {
        let ip = IpHeader::parse(packet)?;
        if ip.source.is_ipv4() {
            return Ok(Self {
                is_v4: true,
                ip_len: ip.header_len,
                protocol: ip.protocol,
                total_len: ip.total_len,
                is_fragment: u16::from_be_bytes([packet[6], packet[7]]) & FRAGMENT_V4 != 0,
            });
        }
        let packet = &packet[..ip.total_len];
        let (mut ip_len, mut next) = (V6_HEADER, ip.protocol);
        while let HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS = next {
            let extension = packet[ip_len..].first_chunk::<8>().ok_or(ParseIpError::Truncated)?;
            next = extension[0];
            ip_len += (usize::from(extension[1]) + 1) * 8;
            if ip_len > packet.len() {
                return Err(ParseIpError::Truncated);
            }
        }
        Ok(Self {
            is_v4: false,
            ip_len,
            protocol: next,
            total_len: ip.total_len,
            is_fragment: next == FRAGMENT,
        })
    }

    /// Whether nothing lies between the fixed IP header and the transport header.
    pub(crate) fn is_plain(&self) -> bool {
        self.ip_len == if self.is_v4 { 20 } else { V6_HEADER }
    }

    /// Where the transport header keeps its checksum, from its own beginning.
    pub(crate) fn checksum_offset(&self) -> usize {
        if self.protocol == protocol::TCP { 16 } else { 6 }
    }

    /// The sum of the pseudo header over the addresses as they stand, for a transport part of `len` bytes.
    pub(crate) fn pseudo_header(&self, packet: &[u8], len: u16) -> Checksum {
        let addresses = if self.is_v4 { &packet[12..20] } else { &packet[8..40] };
        Checksum::new()
            .with(addresses)
            .with_word(u16::from(self.protocol))
            .with_word(len)
    }
}

/// "More fragments" and the offset.
const FRAGMENT_V4: u16 = 0x3fff;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    #[test]
    fn extension_headers_are_walked() {
        let packet = Sample::tcp_v6()
            .extension(DESTINATION_OPTIONS, 3)
            .extension(HOP_BY_HOP, 0)
            .payload(b"x")
            .build();
        let layers = Layers::locate(&packet).unwrap();
        assert_eq!((layers.ip_len, layers.protocol), (40 + 32 + 8, protocol::TCP));
        assert!(!layers.is_plain());
        // Cut inside the last extension header, with lengths that agree.
        let mut cut = packet[..70].to_vec();
        cut[4..6].copy_from_slice(&30u16.to_be_bytes());
        assert_eq!(Layers::locate(&cut), Err(ParseIpError::Truncated));
    }

    #[test]
    fn fragments_of_both_versions_are_told() {
        let mut v4 = Sample::udp_v4().payload(b"x").build();
        assert!(!Layers::locate(&v4).unwrap().is_fragment);
        v4[6] = 0x20;
        assert!(Layers::locate(&v4).unwrap().is_fragment);
        let v6 = Sample::udp_v6().extension(FRAGMENT, 0).payload(b"x").build();
        assert!(Layers::locate(&v6).unwrap().is_fragment);
    }
}

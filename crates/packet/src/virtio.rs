/// The header that a TUN device with `IFF_VNET_HDR` puts before every packet: what of it is still to be done (`virtio_net_hdr`,
/// virtio 1.2 §5.1.6, in its form of ten bytes and in the machine's byte order).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VirtioNetHeader {
    /// [`NEEDS_CHECKSUM`](Self::NEEDS_CHECKSUM) and others.
    pub flags: u8,
    /// Whether and as what the packet is to be split: one of the `GSO_` constants, perhaps with [`GSO_ECN`](Self::GSO_ECN).
    pub gso_type: u8,
    /// Bytes of all headers, as far as the sender knew. A hint: it is written, and never believed.
    pub hdr_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// Where the checksummed part begins, from the packet's first byte.
    pub csum_start: u16,
    /// Where the checksum goes, from `csum_start`.
    pub csum_offset: u16,
}

impl VirtioNetHeader {
    /// Bytes of the header.
    pub const LEN: usize = 10;
    /// Flag: the checksum field holds the sum of the pseudo header, the rest is to be added.
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// One packet as it is.
    pub const GSO_NONE: u8 = 0;
    /// TCP in IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// TCP in IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// UDP datagrams of one size, either version.
    pub const GSO_UDP_L4: u8 = 5;
    /// Added to the type: the first segment carries CWR.
    pub const GSO_ECN: u8 = 0x80;

    /// The header at the beginning of what was read from a device, and the packet after it. Nothing if there are too few bytes.
    pub fn split(read: &mut [u8]) -> Option<(Self, &mut [u8])> {
        let (header, packet) = read.split_first_chunk_mut::<{ Self::LEN }>()?;
        Some((Self::from_bytes(header), packet))
    }

    /// Reads the header.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = *bytes;
        Self {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// The header as bytes.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let [a, b] = self.hdr_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }

    /// Whether the checksum is still to be completed.
    pub fn needs_checksum(&self) -> bool {
        self.flags & Self::NEEDS_CHECKSUM != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: [u8; VirtioNetHeader::LEN]) {
            prop_assert_eq!(VirtioNetHeader::from_bytes(&bytes).to_bytes(), bytes);
        }
    }

    #[test]
    fn fields_lie_where_the_kernel_has_them() {
        let header = VirtioNetHeader {
            flags: 1,
            gso_type: 4,
            hdr_len: 60,
            gso_size: 1360,
            csum_start: 40,
            csum_offset: 16,
        };
        let mut read = header.to_bytes().to_vec();
        assert_eq!(read[4..6], 1360u16.to_ne_bytes());
        assert_eq!(read[6..8], 40u16.to_ne_bytes());
        read.push(0x60);
        let (split, packet) = VirtioNetHeader::split(&mut read).unwrap();
        assert_eq!((split, &*packet), (header, &[0x60][..]));
        assert_eq!(VirtioNetHeader::split(&mut read[..9]), None);
    }
}

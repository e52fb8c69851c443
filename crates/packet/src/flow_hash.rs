use crate::ip::{V6_HEADER, protocol};

/// The hash that spreads flows over lanes: the same for both directions of a connection, and the same on every machine.
///
/// A device with several queues is given an eBPF program that computes the very same number, so it is defined by what such a program
/// can do in a few instructions. All loads are big-endian, all arithmetic is on 32 bits:
///
/// 1. `x` = the exclusive or of the 32-bit words of both addresses: 2 words from offset 12 for version 4, 8 words from offset 8
///    for version 6. The version is the first byte's high nibble; anything else hashes to 0.
/// 2. The protocol `p` is the byte at 9 (version 4) or at 6 (version 6: the first next header, extension headers are not walked).
///    If `p` is 6 (TCP) or 17 (UDP), and the packet is not a version 4 fragment (16-bit word at 6, masked with 0x3fff, is not
///    0): with `w` the word at the transport header (offset `(byte 0 & 15) * 4`, or 40), `x ^= (w >> 16) ^ (w & 0xffff) ^ p`.
/// 3. `x ^= x >> 16`, then `x *=` [`FLOW_HASH_MULTIPLIER`], and the hash is `x >> 16`.
///
/// A load beyond the end of the packet makes the whole hash 0, as such a load ends an eBPF program. A lane is the hash
/// modulo the number of lanes; TUN takes the same modulus of what the program returns.
///
/// Fragments of either version hash by their addresses alone, so all fragments of a packet take one lane.
pub fn flow_hash(packet: &[u8]) -> u32 {
    folded(packet).map_or(0, |x| (x ^ x >> 16).wrapping_mul(FLOW_HASH_MULTIPLIER) >> 16)
}

/// 2^32 divided by the golden ratio, made odd: Knuth's multiplier.
pub const FLOW_HASH_MULTIPLIER: u32 = 0x9e37_79b1;

fn folded(packet: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    let first = *packet.first()?;
    let (addresses, next, transport, is_fragment) = match first >> 4 {
        4 => {
            let fragment = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x3fff;
            (12..20, *packet.get(9)?, usize::from(first & 15) * 4, fragment != 0)
        }
        6 => (8..40, *packet.get(6)?, V6_HEADER, false),
        _ => return None,
    };
    let mut x = 0;
    for at in addresses.step_by(4) {
        x ^= word(at)?;
    }
    if let (protocol::TCP | protocol::UDP, false) = (next, is_fragment) {
        let ports = word(transport)?;
        x ^= ports >> 16 ^ ports & 0xffff ^ u32::from(next);
    }
    Some(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;
    use proptest::prelude::*;

    #[test]
    fn the_hash_is_what_its_description_says() {
        let packet = Sample::tcp_v4().ports(40_000, 443).build();
        let addresses = 0x0a01_0203u32 ^ 0x0a02_0304;
        let x = addresses ^ 40_000 ^ 443 ^ 6;
        assert_eq!(flow_hash(&packet), (x ^ (x >> 16)).wrapping_mul(0x9e37_79b1) >> 16);
    }

    #[test]
    fn fragments_and_other_protocols_hash_by_address() {
        let mut first = Sample::udp_v4().ports(1, 2).build();
        first[6] = 0x20;
        let mut later = Sample::udp_v4().ports(3, 4).build();
        later[7] = 100;
        let mut icmp = Sample::udp_v4().ports(5, 6).build();
        icmp[9] = protocol::ICMP;
        assert_eq!(flow_hash(&first), flow_hash(&later));
        assert_eq!(flow_hash(&first), flow_hash(&icmp));
        let mut v6 = Sample::udp_v6().ports(1, 2).build();
        let whole = flow_hash(&v6);
        v6[6] = 44;
        assert_ne!(flow_hash(&v6), whole);
    }

    #[test]
    fn consecutive_ports_spread_over_lanes() {
        for lanes in [2u32, 3, 4, 8, 16] {
            let mut counts = vec![0; lanes as usize];
            for port in 40_000..41_024 {
                counts[(flow_hash(&Sample::tcp_v4().ports(port, 5201).build()) % lanes) as usize] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most * 2 <= least * 3, "{lanes} lanes: {counts:?}");
        }
    }

    proptest! {
        #[test]
        fn both_directions_hash_alike(v6: bool, tcp: bool, source: u16, destination: u16) {
            let sample = Sample::of(v6, tcp);
            let there = sample.clone().ports(source, destination).build();
            let back = sample.swapped().ports(destination, source).build();
            prop_assert_eq!(flow_hash(&there), flow_hash(&back));
        }

        #[test]
        fn no_input_panics(bytes: Vec<u8>, version in 0u8..16) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | *first & 0x0f;
            }
            prop_assert!(flow_hash(&bytes) <= 0xffff);
        }
    }
}

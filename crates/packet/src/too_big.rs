use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::Checksum;
use crate::ip::{IpHeader, V4_HEADER, V6_HEADER, protocol};

/// Every IPv6 link carries packets of this size (RFC 8200 §5), and no host believes in a smaller one.
pub const IPV6_MIN_MTU: u16 = 1280;

/// The error that tells the sender of `packet` that only packets of at most `mtu` bytes pass: ICMP "fragmentation needed" (RFC
/// 792, RFC 1191) or ICMPv6 "packet too big" (RFC 4443 §3.2).
///
/// `source` is who the error comes from; of the other family, or absent, the error comes from the packet's destination, which
/// is the one address that is sure to be routed from where the error enters. There is no answer to what must not be answered
/// (RFC 1122 §3.2.2, RFC 4443 §2.4): a packet that may be fragmented, a later fragment, an ICMP error, or one from or to a
/// group or to nobody.
pub fn too_big_reply(packet: &[u8], source: Option<IpAddr>, mtu: u16) -> Option<Vec<u8>> {
    let header = IpHeader::parse(packet).ok()?;
    let packet = &packet[..header.total_len];
    if header.may_fragment || header.is_later_fragment || is_icmp_error(&header, packet) {
        return None;
    }
    match (header.source, header.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            if !is_one_host_v4(from) || !is_one_host_v4(to) {
                return None;
            }
            let source = source.and_then(as_v4).unwrap_or(to);
            Some(fragmentation_needed(packet, source, from, mtu))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            // Path MTU discovery works for groups too, so the destination may be one (RFC 4443 §2.4 e.3).
            if from.is_multicast() || from.is_unspecified() {
                return None;
            }
            let source = source.and_then(as_v6).or((!to.is_multicast()).then_some(to))?;
            Some(packet_too_big(packet, source, from, mtu.max(IPV6_MIN_MTU)))
        }
        _ => None,
    }
}

fn fragmentation_needed(packet: &[u8], source: Ipv4Addr, destination: Ipv4Addr, mtu: u16) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(MAX_ERROR_V4 - V4_HEADER - ICMP_HEADER)];
    let total_len = V4_HEADER + ICMP_HEADER + quoted.len();
    let mut reply = Vec::with_capacity(total_len);
    reply.extend_from_slice(&[0x45, INTERNETWORK_CONTROL]);
    // At most `MAX_ERROR_V4`, so this fits.
    reply.extend_from_slice(&(total_len as u16).to_be_bytes());
    reply.extend_from_slice(&[0; 4]);
    reply.extend_from_slice(&[HOP_LIMIT, protocol::ICMP, 0, 0]);
    reply.extend_from_slice(&source.octets());
    reply.extend_from_slice(&destination.octets());
    let sum = Checksum::new().with(&reply).finish();
    reply[10..12].copy_from_slice(&sum.to_be_bytes());

    reply.extend_from_slice(&[UNREACHABLE, FRAGMENTATION_NEEDED, 0, 0, 0, 0]);
    reply.extend_from_slice(&mtu.to_be_bytes());
    reply.extend_from_slice(quoted);
    let sum = Checksum::new().with(&reply[V4_HEADER..]).finish();
    reply[V4_HEADER + 2..V4_HEADER + 4].copy_from_slice(&sum.to_be_bytes());
    reply
}

fn packet_too_big(packet: &[u8], source: Ipv6Addr, destination: Ipv6Addr, mtu: u16) -> Vec<u8> {
    let quoted = &packet[..packet.len().min(usize::from(IPV6_MIN_MTU) - V6_HEADER - ICMP_HEADER)];
    // At most `IPV6_MIN_MTU`, so this fits.
    let len = (ICMP_HEADER + quoted.len()) as u16;
    let mut reply = Vec::with_capacity(V6_HEADER + usize::from(len));
    reply.extend_from_slice(&[0x60, 0, 0, 0]);
    reply.extend_from_slice(&len.to_be_bytes());
    reply.extend_from_slice(&[protocol::ICMPV6, HOP_LIMIT]);
    reply.extend_from_slice(&source.octets());
    reply.extend_from_slice(&destination.octets());
    reply.extend_from_slice(&[PACKET_TOO_BIG, 0, 0, 0]);
    reply.extend_from_slice(&u32::from(mtu).to_be_bytes());
    reply.extend_from_slice(quoted);
    let sum = Checksum::new()
        .with_pseudo_header_v6(source, destination, protocol::ICMPV6, u32::from(len))
        .with(&reply[V6_HEADER..])
        .finish();
    reply[V6_HEADER + 2..V6_HEADER + 4].copy_from_slice(&sum.to_be_bytes());
    reply
}

fn is_icmp_error(header: &IpHeader, packet: &[u8]) -> bool {
    let kind = packet.get(header.header_len).copied();
    match (header.source, header.protocol) {
        // Everything but echo, timestamp and the like (RFC 1122 §3.2.2).
        (IpAddr::V4(_), protocol::ICMP) => kind.is_none_or(|kind| matches!(kind, 3..=5 | 11 | 12)),
        // Errors have the high bit clear (RFC 4443 §2.1).
        (IpAddr::V6(_), protocol::ICMPV6) => kind.is_none_or(|kind| kind < 128),
        _ => false,
    }
}

fn is_one_host_v4(address: Ipv4Addr) -> bool {
    !(address.is_multicast() || address.is_broadcast() || address.is_unspecified())
}

fn as_v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    }
}

fn as_v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    }
}

const ICMP_HEADER: usize = 8;
const UNREACHABLE: u8 = 3;
const FRAGMENTATION_NEEDED: u8 = 4;
const PACKET_TOO_BIG: u8 = 2;
const HOP_LIMIT: u8 = 64;
/// Precedence 6, "internetwork control", as RFC 1812 §4.3.2.5 asks for ICMP errors.
const INTERNETWORK_CONTROL: u8 = 0xc0;
/// As much of the packet is quoted as fits an error of 576 bytes (RFC 1812 §4.3.2.3).
const MAX_ERROR_V4: usize = 576;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp6::{Udp6, write_udp6};
    use proptest::prelude::*;

    fn v4_packet(len: u16, proto: u8, df: bool) -> Vec<u8> {
        let mut packet = vec![0; usize::from(len)];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[6] = if df { 0x40 } else { 0 };
        packet[9] = proto;
        packet[12..16].copy_from_slice(&[10, 1, 0, 1]);
        packet[16..20].copy_from_slice(&[10, 2, 0, 1]);
        packet
    }

    #[test]
    fn an_ipv4_sender_learns_the_mtu() {
        let packet = v4_packet(1500, protocol::UDP, true);
        let reply = too_big_reply(&packet, Some("10.1.0.254".parse().unwrap()), 1420).unwrap();
        let header = IpHeader::parse(&reply).unwrap();
        assert_eq!(header.source, "10.1.0.254".parse::<IpAddr>().unwrap());
        assert_eq!(header.destination, "10.1.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(header.total_len, 576);
        assert_eq!(reply[20..22], [UNREACHABLE, FRAGMENTATION_NEEDED]);
        assert_eq!(reply[26..28], 1420u16.to_be_bytes());
        assert_eq!(reply[28..48], packet[..20]);
        assert_eq!(Checksum::new().with(&reply[..20]).finish(), 0);
        assert_eq!(Checksum::new().with(&reply[20..]).finish(), 0);
    }

    #[test]
    fn without_a_source_the_error_comes_from_the_destination() {
        let reply = too_big_reply(&v4_packet(1500, protocol::UDP, true), None, 1420).unwrap();
        assert_eq!(
            IpHeader::parse(&reply).unwrap().source,
            "10.2.0.1".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn an_ipv6_sender_learns_an_mtu_that_it_can_believe() {
        let mut packet = Vec::new();
        let (source, destination) = ("fd01::1".parse().unwrap(), "fd02::1".parse().unwrap());
        write_udp6(
            &Udp6 {
                source,
                destination,
                source_port: 1,
                destination_port: 2,
                payload: &[7; 1400],
            },
            &mut packet,
        );
        for (mtu, told) in [(1420, 1420), (1000, 1280)] {
            let reply = too_big_reply(&packet, None, mtu).unwrap();
            assert_eq!(reply.len(), 1280);
            assert_eq!(reply[40], PACKET_TOO_BIG);
            assert_eq!(reply[44..48], u32::from(told as u16).to_be_bytes());
            let sum = Checksum::new()
                .with_pseudo_header_v6(destination, source, protocol::ICMPV6, (reply.len() - 40) as u32)
                .with(&reply[40..]);
            assert_eq!(sum.finish(), 0);
        }
    }

    #[test]
    fn what_must_not_be_answered_is_not() {
        assert_eq!(
            too_big_reply(&v4_packet(1500, protocol::UDP, false), None, 1420),
            None,
            "may be fragmented"
        );
        let mut error = v4_packet(1500, protocol::ICMP, true);
        error[20] = 11;
        assert_eq!(too_big_reply(&error, None, 1420), None, "an ICMP error");
        error[20] = 8;
        assert!(
            too_big_reply(&error, None, 1420).is_some(),
            "an echo request is answered"
        );
        let mut later_fragment = v4_packet(1500, protocol::UDP, true);
        later_fragment[7] = 1;
        assert_eq!(too_big_reply(&later_fragment, None, 1420), None, "a later fragment");
        let mut to_group = v4_packet(1500, protocol::UDP, true);
        to_group[16] = 224;
        assert_eq!(too_big_reply(&to_group, None, 1420), None, "to a group");
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_and_no_error_exceeds_its_limit(bytes: Vec<u8>, v6: bool, mtu: u16) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = if v6 { 0x60 } else { 0x45 };
            }
            if let Some(reply) = too_big_reply(&bytes, None, mtu) {
                let limit = if v6 { 1280 } else { 576 };
                prop_assert!(reply.len() <= limit);
            }
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::sample::{self, Sample};

/// What the kernel hands over for this packet: a partial sum instead of a checksum, and the sizes.
fn offloaded(sample: &Sample, gso_type: u8, gso_size: u16) -> (VirtioNetHeader, Vec<u8>) {
    let mut packet = sample.build();
    let layers = Layers::locate(&packet).unwrap();
    let at = layers.ip_len + layers.checksum_offset();
    let partial = layers
        .pseudo_header(&packet, (packet.len() - layers.ip_len) as u16)
        .partial();
    packet[at..at + 2].copy_from_slice(&partial.to_be_bytes());
    let header = VirtioNetHeader {
        flags: VirtioNetHeader::NEEDS_CHECKSUM,
        gso_type,
        hdr_len: 1,
        gso_size,
        csum_start: layers.ip_len as u16,
        csum_offset: layers.checksum_offset() as u16,
    };
    (header, packet)
}

fn split(header: VirtioNetHeader, mut packet: Vec<u8>) -> Vec<Vec<u8>> {
    let mut segments = segment(header, &mut packet).unwrap();
    let (len, largest) = (segments.len(), segments.largest());
    let mut out = Vec::new();
    while let Some(packet) = segments.next_packet() {
        assert!(packet.len() <= largest);
        out.push(packet.to_vec());
    }
    assert_eq!(out.len(), len);
    out
}

fn gso_type(v6: bool, tcp: bool) -> u8 {
    match (v6, tcp) {
        (_, false) => VirtioNetHeader::GSO_UDP_L4,
        (false, true) => VirtioNetHeader::GSO_TCPV4,
        (true, true) => VirtioNetHeader::GSO_TCPV6,
    }
}

/// The packets that a sender without offload would have sent.
fn sent_one_by_one(whole: &Sample, size: usize) -> Vec<Vec<u8>> {
    let count = whole.payload.len().div_ceil(size).max(1);
    (0..count)
        .map(|index| {
            let mut one = whole.clone();
            one.payload = whole.payload.iter().skip(index * size).take(size).copied().collect();
            one.seq = whole.seq.wrapping_add((index * size) as u32);
            one.id = whole.id.wrapping_add(index as u16);
            if index + 1 < count {
                one.flags &= !(sample::FIN | sample::PSH);
            }
            if index > 0 {
                one.flags &= !sample::CWR;
            }
            one.build()
        })
        .collect()
}

proptest! {
    #[test]
    fn segments_are_what_a_sender_without_offload_sends(
        v6: bool,
        tcp: bool,
        payload in proptest::collection::vec(any::<u8>(), 0..6000),
        size in 1u16..1500,
        option_words in proptest::collection::vec(any::<[u8; 4]>(), 0..=10),
        flags: u8,
        extensions in proptest::collection::vec((prop_oneof![Just(0u8), Just(60)], 0u8..4), 0..3),
    ) {
        let mut whole = Sample::of(v6, tcp).payload(&payload).flags(flags);
        if tcp {
            whole = whole.options(&option_words.concat());
        }
        for (kind, units) in extensions.into_iter().filter(|_| v6) {
            whole = whole.extension(kind, units);
        }
        let (header, packet) = offloaded(&whole, gso_type(v6, tcp), size);
        prop_assert_eq!(split(header, packet), sent_one_by_one(&whole, usize::from(size)));
    }

    #[test]
    fn a_partial_sum_is_completed(v6: bool, tcp: bool, payload: Vec<u8>) {
        let whole = Sample::of(v6, tcp).payload(&payload);
        let (header, packet) = offloaded(&whole, VirtioNetHeader::GSO_NONE, 0);
        prop_assert_eq!(split(header, packet), [whole.build()]);
    }

    #[test]
    fn no_input_panics(
        header: [u8; VirtioNetHeader::LEN],
        kind in prop_oneof![Just(0u8), Just(1), Just(4), Just(5), Just(0x81), any::<u8>()],
        first in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()],
        next in prop_oneof![Just(6u8), Just(17), Just(0), Just(44), any::<u8>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        honest_length: bool,
    ) {
        let mut header = VirtioNetHeader::from_bytes(&header);
        header.gso_type = kind;
        let mut packet = bytes;
        let len = packet.len() as u16;
        if packet.len() >= 40 {
            (packet[0], packet[6], packet[7], packet[9]) = (first, if first == 0x60 { next } else { 0 }, 0, next);
            if honest_length {
                packet[2..4].copy_from_slice(&len.to_be_bytes());
                packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
            }
        }
        if let Ok(mut segments) = segment(header, &mut packet) {
            let mut count = 0;
            while segments.next_packet().is_some() {
                count += 1;
            }
            prop_assert_eq!(count, segments.len());
        }
    }
}

#[test]
fn a_packet_that_asks_for_nothing_is_left_alone() {
    let packet = Sample::udp_v4().payload(b"as it is").build();
    assert_eq!(split(VirtioNetHeader::default(), packet.clone()), [packet]);
}

#[test]
fn without_a_partial_sum_the_addresses_are_summed() {
    let whole = Sample::tcp_v6().payload(&[5; 100]);
    let (mut header, _) = offloaded(&whole, VirtioNetHeader::GSO_TCPV6, 30);
    header.flags = 0;
    assert_eq!(split(header, whole.build()), sent_one_by_one(&whole, 30));
}

#[test]
fn copies_go_where_they_are_wanted() {
    let whole = Sample::tcp_v4().payload(&[5; 100]);
    let (header, mut packet) = offloaded(&whole, VirtioNetHeader::GSO_TCPV4, 60);
    let mut segments = segment(header, &mut packet).unwrap();
    assert_eq!(segments.as_read().len(), 140);
    let mut out = [0; 200];
    assert_eq!(segments.next_into(&mut out), Some(100));
    assert_eq!(out[..100], sent_one_by_one(&whole, 60)[0]);
    assert_eq!(segments.next_into(&mut out), Some(80));
    assert_eq!(segments.next_into(&mut out), None);
}

#[test]
fn each_defect_has_its_name() {
    let refused = |sample: &Sample, gso_type: u8, gso_size: u16, spoil: fn(&mut [u8])| {
        let (header, mut packet) = offloaded(sample, gso_type, gso_size);
        spoil(&mut packet);
        segment(header, &mut packet).map(|segments| segments.len()).unwrap_err()
    };
    let (tcp, udp) = (Sample::tcp_v4().payload(&[1; 99]), Sample::udp_v4().payload(&[1; 99]));
    let tcp_type = VirtioNetHeader::GSO_TCPV4;
    assert_eq!(refused(&tcp, 3, 9, |_| ()), SegmentError::UnknownType(3));
    assert_eq!(refused(&udp, tcp_type, 9, |_| ()), SegmentError::WrongProtocol);
    assert_eq!(
        refused(&Sample::tcp_v6(), tcp_type, 9, |_| ()),
        SegmentError::WrongProtocol
    );
    assert_eq!(refused(&tcp, tcp_type, 0, |_| ()), SegmentError::ZeroSize);
    assert_eq!(
        refused(&tcp, tcp_type, 9, |packet| packet[6] = 0x20),
        SegmentError::Fragment
    );
    assert_eq!(
        refused(&tcp, tcp_type, 9, |packet| packet[32] = 0x40),
        SegmentError::BadTransport
    );
    assert_eq!(
        refused(&Sample::tcp_v4(), tcp_type, 9, |packet| packet[32] = 0xf0),
        SegmentError::BadTransport
    );
    let cut = SegmentError::Ip(ParseIpError::Truncated);
    assert_eq!(refused(&tcp, tcp_type, 9, |packet| packet[3] += 1), cut);
    let long = Sample::tcp_v6().extension(60, 30).payload(&[1; 99]);
    assert_eq!(
        refused(&long, VirtioNetHeader::GSO_TCPV6, 9, |_| ()),
        SegmentError::LongHeader(308)
    );
    let outside = VirtioNetHeader {
        flags: 1,
        csum_start: 20,
        csum_offset: 16,
        ..VirtioNetHeader::default()
    };
    assert_eq!(
        segment(outside, &mut [0; 37])
            .map(|segments| segments.len())
            .unwrap_err(),
        SegmentError::BadChecksumPlace
    );
}

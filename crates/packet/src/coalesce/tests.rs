use proptest::prelude::*;

use super::*;
use crate::sample::{self, Sample};
use crate::segment::segment;

const BOTH: Merge = Merge { tcp: true, udp: true };

/// What is written to the device for these packets, flushed at the end.
fn writes(coalescer: &mut Coalescer, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for packet in packets {
        coalescer.spare()[..packet.len()].copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut |write| out.push(write.to_vec()));
    }
    coalescer.flush(&mut |write| out.push(write.to_vec()));
    out
}

fn coalesced(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    writes(&mut Coalescer::new(2048, BOTH), packets)
}

fn split(write: &[u8]) -> Vec<Vec<u8>> {
    let mut write = write.to_vec();
    let (header, packet) = VirtioNetHeader::split(&mut write).unwrap();
    let mut segments = segment(header, packet).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = segments.next_packet() {
        packets.push(packet.to_vec());
    }
    packets
}

/// `count` packets of one connection, `size` bytes each.
fn stream(first: &Sample, count: usize, size: usize) -> Vec<Sample> {
    (0..count)
        .map(|index| {
            let mut one = first.clone();
            one.payload = (0..size).map(|byte| (index * 31 + byte) as u8).collect();
            one.seq = first.seq.wrapping_add((index * size) as u32);
            one.id = first.id.wrapping_add(index as u16);
            one
        })
        .collect()
}

fn built(samples: &[Sample]) -> Vec<Vec<u8>> {
    samples.iter().map(Sample::build).collect()
}

#[test]
fn a_stretch_of_a_stream_becomes_one_write() {
    for (v6, tcp) in [(false, true), (true, true), (false, false), (true, false)] {
        let packets = built(&stream(&Sample::of(v6, tcp), 40, 1000));
        let out = coalesced(&packets);
        assert_eq!(out.len(), 1, "v6 {v6}, tcp {tcp}");
        let header = VirtioNetHeader::from_bytes(out[0].first_chunk().unwrap());
        assert_eq!((header.gso_size, header.flags), (1000, VirtioNetHeader::NEEDS_CHECKSUM));
        assert_eq!(split(&out[0]), packets);
    }
}

#[test]
fn one_packet_alone_is_written_as_it_came() {
    let packet = Sample::tcp_v4().payload(b"alone").build();
    assert_eq!(
        coalesced(std::slice::from_ref(&packet)),
        [[&[0; 10][..], &packet].concat()]
    );
}

#[test]
fn what_ends_a_stretch_is_its_last() {
    let mut packets = stream(&Sample::tcp_v4(), 4, 100);
    packets[1].flags |= sample::PSH;
    packets[3].payload.truncate(7);
    let packets = built(&packets);
    let mut coalescer = Coalescer::new(2048, BOTH);
    let mut out = Vec::new();
    for packet in &packets {
        coalescer.spare()[..packet.len()].copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut |write| out.push(split(write)));
    }
    // Both went without a flush.
    assert_eq!(out, [&packets[..2], &packets[2..]]);
}

#[test]
fn what_carries_cwr_stays_alone() {
    for others in [0, sample::CWR] {
        let mut packets = stream(&Sample::tcp_v6(), 3, 100);
        packets[0].flags |= sample::CWR;
        packets[1].flags |= others;
        packets[2].flags |= others;
        let packets = built(&packets);
        let out: Vec<_> = coalesced(&packets).iter().map(|whole| split(whole)).collect();
        let expected = match others {
            0 => vec![packets[..1].to_vec(), packets[1..].to_vec()],
            _ => packets.iter().map(|packet| vec![packet.clone()]).collect(),
        };
        assert_eq!(out, expected);
    }
}

/// One change in the second of two packets that forbids to merge them.
#[test]
fn what_differs_is_not_merged() {
    type Change = fn(&mut Sample);
    let any: &[(&str, Change)] = &[
        ("traffic class", |sample| sample.class = 3),
        ("hop limit", |sample| sample.ttl = 63),
        ("larger", |sample| sample.payload.push(1)),
        ("ports", |sample| *sample = sample.clone().ports(1, 2)),
        ("direction", |sample| *sample = sample.clone().swapped()),
    ];
    let tcp: &[(&str, Change)] = &[
        ("sequence", |sample| sample.seq = sample.seq.wrapping_add(1)),
        ("acknowledgement", |sample| sample.ack += 1),
        ("window", |sample| sample.window += 1),
        ("options", |sample| sample.options = vec![1; 4]),
        ("SYN", |sample| sample.flags |= sample::SYN),
        ("RST", |sample| sample.flags |= sample::RST),
        ("URG", |sample| sample.flags |= sample::URG),
        ("CWR", |sample| sample.flags |= sample::CWR),
        ("no payload", |sample| sample.payload.clear()),
    ];
    let v4: &[(&str, Change)] = &[
        ("identification", |sample| sample.id = sample.id.wrapping_add(1)),
        ("don't fragment", |sample| sample.dont_fragment = false),
    ];
    for (v6, is_tcp) in [(false, true), (true, true), (false, false), (true, false)] {
        let of_tcp = if is_tcp { tcp } else { &[] };
        let of_v4 = if v6 { &[] } else { v4 };
        for (name, change) in any.iter().chain(of_tcp).chain(of_v4) {
            let mut samples = stream(&Sample::of(v6, is_tcp), 2, 100);
            change(&mut samples[1]);
            let packets = built(&samples);
            let out = coalesced(&packets);
            assert_eq!(out.len(), 2, "{name}, v6 {v6}, tcp {is_tcp}");
            assert_eq!([&out[0][10..], &out[1][10..]], [&packets[0], &packets[1]], "{name}");
        }
    }
}

#[test]
fn a_wrong_checksum_is_passed_on_and_never_hidden() {
    for (v6, tcp) in [(false, true), (true, true), (false, false), (true, false)] {
        for wrong in 0..3 {
            let mut packets = built(&stream(&Sample::of(v6, tcp), 3, 100));
            *packets[wrong].last_mut().unwrap() ^= 1;
            let given: Vec<_> = coalesced(&packets).iter().flat_map(|write| split(write)).collect();
            assert_eq!(given, packets, "packet {wrong}, v6 {v6}, tcp {tcp}");
        }
    }
    let mut header = built(&stream(&Sample::tcp_v4(), 3, 100));
    header[1][10] ^= 1;
    assert_eq!(coalesced(&header).len(), 3);
}

#[test]
fn identifications_that_stay_are_merged_only_where_they_mean_nothing() {
    let count = |dont_fragment: bool, ids: [u16; 3]| {
        let mut samples = stream(&Sample::tcp_v4(), 3, 100);
        for (sample, id) in samples.iter_mut().zip(ids) {
            (sample.dont_fragment, sample.id) = (dont_fragment, id);
        }
        coalesced(&built(&samples)).len()
    };
    assert_eq!(count(true, [5, 5, 5]), 1);
    assert_eq!(count(false, [5, 5, 5]), 3);
    assert_eq!(count(false, [5, 6, 7]), 1);
    assert_eq!(count(true, [5, 6, 6]), 2);
}

#[test]
fn a_udp_datagram_without_checksum_stays_alone() {
    let mut packets = built(&stream(&Sample::udp_v4(), 3, 100));
    packets.iter_mut().for_each(|packet| packet[26..28].fill(0));
    assert_eq!(coalesced(&packets).len(), 3);
}

#[test]
fn what_a_device_does_not_take_stays_in_pieces() {
    let tcp = built(&stream(&Sample::tcp_v4(), 3, 100));
    let udp = built(&stream(&Sample::udp_v4(), 3, 100));
    let mut coalescer = Coalescer::new(2048, Merge { tcp: true, udp: false });
    assert_eq!(
        (writes(&mut coalescer, &tcp).len(), writes(&mut coalescer, &udp).len()),
        (1, 3)
    );
    coalescer.set_merge(Merge { tcp: false, udp: true });
    assert_eq!(
        (writes(&mut coalescer, &tcp).len(), writes(&mut coalescer, &udp).len()),
        (3, 1)
    );
}

#[test]
fn sizes_and_counts_are_bounded() {
    let large = coalesced(&built(&stream(&Sample::tcp_v4(), 60, 1400)));
    assert_eq!(large.len(), 2);
    assert!(large.iter().all(|write| write.len() <= 10 + 65_535));
    let small = coalesced(&built(&stream(&Sample::udp_v6(), 130, 10)));
    let counts: Vec<_> = small.iter().map(|write| split(write).len()).collect();
    assert_eq!(counts, [64, 64, 2]);
}

#[test]
fn a_fragment_comes_after_what_was_before_it() {
    let mut samples = built(&stream(&Sample::udp_v4(), 3, 100));
    samples[2][6] = 0x20;
    let other = Sample::udp_v4().swapped().payload(b"other").build();
    let packets = [vec![other.clone()], samples].concat();
    let out = coalesced(&packets);
    assert_eq!(split(&out[0]), packets[1..3]);
    assert_eq!(out[1][10..], packets[3]);
    assert_eq!(out[2][10..], other);
}

#[test]
fn what_is_not_committed_leaves_no_trace() {
    let packets = built(&stream(&Sample::tcp_v4(), 3, 5));
    let mut coalescer = Coalescer::new(2048, BOTH);
    let mut out = Vec::new();
    for packet in &packets {
        coalescer.spare().fill(0xee);
        coalescer.spare()[..packet.len()].copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut |write| out.push(write.to_vec()));
        coalescer.commit(packet.len(), &mut |_| panic!("there is nothing to commit"));
    }
    coalescer.spare().fill(0xee);
    coalescer.flush(&mut |write| out.push(write.to_vec()));
    assert_eq!(out.len(), 1);
    assert_eq!(split(&out[0]), packets);
}

/// A packet of one of a few flows, often the next of its flow.
fn traffic() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let step = (0usize..40, 0u8..20, 1usize..90, any::<[u8; 2]>());
    proptest::collection::vec(step, 0..200).prop_map(|steps| {
        let mut flows: Vec<Sample> = (0..40u16)
            .map(|flow| Sample::of(flow & 1 == 1, flow & 2 == 0).ports(flow / 4, 9))
            .collect();
        let mut packets = Vec::new();
        for (flow, event, size, noise) in steps {
            // Half of all goes to four flows, so that something merges.
            let flow = &mut flows[if event % 2 == 0 { flow % 4 } else { flow }];
            let size = if event < 16 { 60 } else { size };
            flow.payload = (0..size).map(|at| noise[0].wrapping_add(at as u8)).collect();
            flow.flags = if event == 3 { noise[1] } else { sample::ACK };
            let mut packet = flow.build();
            match event {
                5 => packet[usize::from(noise[0]) % 40] ^= noise[1],
                7 => packet.push(0),
                _ => {}
            }
            packets.push(packet);
            flow.seq = flow.seq.wrapping_add(size as u32);
            flow.id = flow.id.wrapping_add(1);
        }
        packets
    })
}

/// What belongs together, for the order that must be kept: version, addresses, protocol and what may be ports.
fn flow_of(packet: &[u8]) -> Vec<u8> {
    match packet[0] >> 4 {
        4 => [&[4], &packet[12..20], &packet[9..10], &packet[20..24]].concat(),
        version => [&[version], &packet[8..40], &packet[6..7], &packet[40..44]].concat(),
    }
}

proptest! {
    #[test]
    fn splitting_what_was_merged_gives_each_flow_as_it_came(packets in traffic()) {
        let out: Vec<_> = coalesced(&packets).iter().flat_map(|write| split(write)).collect();
        prop_assert_eq!(out.len(), packets.len());
        for flow in packets.iter().map(|packet| flow_of(packet)) {
            let of_flow = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                packets.iter().filter(|packet| flow_of(packet) == flow).cloned().collect()
            };
            prop_assert_eq!(of_flow(&out), of_flow(&packets));
        }
    }

    #[test]
    fn merging_what_was_split_gives_the_same_stream(v6: bool, tcp: bool, payload in proptest::collection::vec(any::<u8>(), 2..9000), size in 200u16..1400) {
        let whole = Sample::of(v6, tcp).payload(&payload);
        let kind = match (v6, tcp) {
            (_, false) => VirtioNetHeader::GSO_UDP_L4,
            (false, true) => VirtioNetHeader::GSO_TCPV4,
            (true, true) => VirtioNetHeader::GSO_TCPV6,
        };
        let header = VirtioNetHeader { gso_type: kind, gso_size: size, ..VirtioNetHeader::default() };
        let packets = split(&[&header.to_bytes()[..], &whole.build()].concat());
        let out = coalesced(&packets);
        prop_assert_eq!(out.len(), 1);
        let header_len = out[0].len() - payload.len();
        prop_assert_eq!(&out[0][header_len..], &payload);
    }

    #[test]
    fn no_input_panics(packets in proptest::collection::vec((prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()], proptest::collection::vec(any::<u8>(), 0..120)), 0..50)) {
        let packets: Vec<_> = packets
            .into_iter()
            .map(|(first, mut packet)| {
                let len = packet.len() as u16;
                if packet.len() >= 40 {
                    (packet[0], packet[6], packet[7], packet[9]) = (first, if first == 0x60 { 6 } else { 0 }, 0, 6);
                    packet[2..4].copy_from_slice(&len.to_be_bytes());
                    packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
                }
                packet
            })
            .collect();
        let out = coalesced(&packets);
        prop_assert_eq!(out.iter().map(|write| split_len(write)).sum::<usize>(), packets.len());
    }
}

fn split_len(write: &[u8]) -> usize {
    let header = VirtioNetHeader::from_bytes(write.first_chunk().unwrap());
    if header.gso_type == VirtioNetHeader::GSO_NONE {
        1
    } else {
        split(write).len()
    }
}

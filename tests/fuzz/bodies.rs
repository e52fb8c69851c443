//! What is done with an input, and what must hold.

use packet::{Coalescer, IpHeader, Merge, Udp6, VirtioNetHeader, ecn, flow_hash, segment, too_big_reply};

/// Every reader of a single packet.
pub(crate) fn parse(input: &[u8]) {
    if let Ok(header) = IpHeader::parse(input) {
        assert!(header.header_len <= header.total_len && header.total_len <= input.len());
    }
    let _ = Udp6::parse(input);
    let _ = too_big_reply(input, None, 1420);
    assert!(flow_hash(input) <= 0xffff);
    let mut packet = input.to_vec();
    for outer in 0..4 {
        let _ = ecn::decapsulate_in_place(&mut packet, ecn::Ecn::from_bits(outer));
    }
    assert_eq!(packet.len(), input.len());
}

/// What a device handed over: a virtio header, then a packet.
pub(crate) fn split(input: &[u8]) {
    let mut read = input.to_vec();
    let Some((header, packet)) = VirtioNetHeader::split(&mut read) else {
        return;
    };
    let Ok(mut segments) = segment(header, packet) else {
        return;
    };
    let (len, largest) = (segments.len(), segments.largest());
    let mut count = 0;
    while let Some(packet) = segments.next_packet() {
        assert!(packet.len() <= largest);
        count += 1;
    }
    assert_eq!(count, len);
}

/// Packets, each after its length in two bytes. Nothing is lost, and what was merged splits into packets that are well-formed.
pub(crate) fn coalesce(input: &[u8]) {
    let mut coalescer = Coalescer::new(MAX_PACKET, Merge { tcp: true, udp: true });
    let (mut given, mut taken) = (0, 0);
    let mut sink = |write: &[u8]| {
        let mut write = write.to_vec();
        let (header, packet) = VirtioNetHeader::split(&mut write).expect("a write begins with a header");
        if header.gso_type == VirtioNetHeader::GSO_NONE {
            taken += 1;
            return;
        }
        let mut segments = segment(header, packet).expect("what is merged can be split");
        while let Some(packet) = segments.next_packet() {
            assert!(IpHeader::parse(packet).is_ok_and(|header| header.total_len == packet.len()));
            taken += 1;
        }
    };
    let mut rest = input;
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let len = usize::from(u16::from_be_bytes(*len)).min(after.len()).min(MAX_PACKET);
        let (packet, after) = after.split_at(len);
        coalescer.spare()[..len].copy_from_slice(packet);
        coalescer.commit(len, &mut sink);
        given += 1;
        rest = after;
    }
    coalescer.flush(&mut sink);
    assert_eq!(taken, given);
}

const MAX_PACKET: usize = 2048;

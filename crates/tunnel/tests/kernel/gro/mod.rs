//! The merging of crate `packet` beside the kernel's own (GRO), on the same packets.
//!
//! A TUN device with NAPI passes what is written to it through the kernel's receive offload, and a packet socket sees what came of it,
//! with a header that says how it was merged. The law: every flow comes out of ours as it went in, and what ours made one of, the
//! kernel makes the very same of. We may merge less. The kernel may merge less for a while,
//! when its clock ticks between two packets: then it is asked again.
mod kernel;
mod sender;

use std::collections::BTreeMap;

use packet::{Coalescer, Merge, VirtioNetHeader, segment};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

use crate::bed::must_skip;
use kernel::Kernel;
use sender::{Event, Sender, traffic};

#[test]
fn what_we_merge_the_kernel_merges_too() {
    if must_skip(None) {
        return;
    }
    let mut kernel = Kernel::new();
    // Else the kernel might merge nothing, and the test compare nothing.
    let plain: Vec<_> = (0..4)
        .flat_map(|flow| {
            let mut sender = Sender::of(flow);
            (0..10).map(move |_| sender.next(Event::Next))
        })
        .collect();
    compare(&mut kernel, &plain).unwrap();
    assert_eq!(ours(&plain).len(), 4);

    let kernel = std::cell::RefCell::new(kernel);
    let config = Config {
        cases: 200,
        failure_persistence: None,
        ..Config::default()
    };
    let found = TestRunner::new(config).run(&traffic(), |packets| compare(&mut kernel.borrow_mut(), &packets));
    if let Err(TestError::Fail(why, packets)) = found {
        panic!("{why}; of {}", headers(&packets));
    }
}

fn compare(kernel: &mut Kernel, packets: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let fail = |what: String| Err(TestCaseError::fail(what));
    let wholes = ours(packets);
    let sent = flows(packets.iter().cloned());
    let given = flows(wholes.iter().flat_map(|whole| split(whole)));
    for (port, sent) in &sent {
        let [sent, given] = [sent, &given[port]].map(|packets| {
            let packets = packets.iter().map(|packet| without_identification(packet));
            packets.collect::<Vec<_>>()
        });
        if sent != given {
            return fail(format!("flow {port} came out as {}", headers(&given)));
        }
    }
    let mut waiting = sent;
    for whole in &wholes {
        let count = split(whole).len();
        let flow = waiting.get_mut(&source_port(&whole[VirtioNetHeader::LEN..]));
        let group: Vec<_> = flow.expect("it was sent").drain(..count).collect();
        if count == 1 {
            continue;
        }
        let mut kernels = Vec::new();
        // With its own clock it is soon one piece, if it is ever.
        for _ in 0..TRIES {
            kernels = kernel.merge(&group);
            if kernels.len() == 1 {
                break;
            }
        }
        if kernels
            .iter()
            .map(|whole| without_hint(whole))
            .ne([without_hint(whole)])
        {
            return fail(format!(
                "of {} we made {} and the kernel {}",
                headers(&group),
                headers(std::slice::from_ref(whole)),
                headers(&kernels)
            ));
        }
    }
    Ok(())
}

/// Without `hdr_len`, which says how the bytes lie in the sender's memory.
fn without_hint(whole: &[u8]) -> Vec<u8> {
    [&whole[..2], &[0; 2], &whole[4..]].concat()
}

/// What our coalescer makes of them.
fn ours(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut coalescer = Coalescer::new(2048, Merge { tcp: true, udp: true });
    let mut out = Vec::new();
    for packet in packets {
        coalescer.spare()[..packet.len()].copy_from_slice(packet);
        coalescer.commit(packet.len(), &mut |write| out.push(write.to_vec()));
    }
    coalescer.flush(&mut |write| out.push(write.to_vec()));
    out
}

fn split(whole: &[u8]) -> Vec<Vec<u8>> {
    let mut whole = whole.to_vec();
    let (mut header, packet) = VirtioNetHeader::split(&mut whole).unwrap();
    if header.gso_type == VirtioNetHeader::GSO_NONE {
        // What the kernel has checked already is not to be computed again: a wrong sum would become right.
        header.flags = 0;
    }
    let mut segments = segment(header, packet).unwrap();
    let mut packets = Vec::new();
    while let Some(packet) = segments.next_packet() {
        packets.push(packet.to_vec());
    }
    packets
}

/// Packets by flow, in order.
fn flows(packets: impl IntoIterator<Item = Vec<u8>>) -> BTreeMap<u16, Vec<Vec<u8>>> {
    let mut flows = BTreeMap::<u16, Vec<_>>::new();
    for packet in packets {
        flows.entry(source_port(&packet)).or_default().push(packet);
    }
    flows
}

/// Where nothing is fragmented the identification of IPv4 means nothing (RFC 6864), and one that stays is not kept.
fn without_identification(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    if packet[0] >> 4 == 4 && packet[6] & 0x40 != 0 {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
    packet
}

fn source_port(packet: &[u8]) -> u16 {
    let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

/// What matters of packets, for a person.
fn headers(packets: &[Vec<u8>]) -> String {
    let header = |packet: &Vec<u8>| format!("{:02x?} of {}", &packet[..packet.len().min(60)], packet.len());
    packets.iter().map(header).collect::<Vec<_>>().join(", ")
}

const TRIES: u32 = 20;

//! Cables of several lanes.

use std::net::{SocketAddr, UdpSocket};
use std::thread;

use prometheus::{Encoder, Registry, TextEncoder};
use tunnel::{Engine, Lanes};

use crate::bed::{Bed, Side, must_skip, plan, wait_until};
use crate::traffic::{assert_echo, noise, receive, transfer, udp};

/// What a metric says: the sum of all series that have these labels.
fn metric(engine: &Lanes, name: &str, label: &str) -> u64 {
    let registry = Registry::new();
    engine.register(&registry).unwrap();
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let series = text
        .lines()
        .filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    series
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

fn with_lanes(family: usize, lanes: u8) -> Bed {
    let bed = Bed::with_lanes(family, lanes);
    for side in [&bed.east, &bed.west] {
        wait_until("all lanes carry packets", || {
            side.engine().status()[0].lanes == (1 << lanes) - 1
        });
    }
    bed
}

fn lane_work(side: &Side, lane: usize, work: &str) -> u64 {
    let label = format!("lane=\"{lane}\",work=\"{work}\"");
    metric(side.engine(), "tombolo_tunnel_lane_work_total", &label)
}

#[test]
fn streams_cross_in_every_lane() {
    if must_skip(None) {
        return;
    }
    for underlay in [0, 1] {
        let bed = with_lanes(underlay, 2);
        let bytes = noise(1 << 20);
        let mut streams = 0;
        // Which lane a stream takes is in its ports, which the kernel picks.
        wait_until("both lanes have sent and received streams", || {
            let family = streams % 2;
            let (received, source) = transfer(&bed.east, &bed.west, family, &bytes);
            assert!(received == bytes, "stream {streams}, underlay {underlay}");
            assert_eq!(source.ip(), bed.east.pods[family]);
            streams += 1;
            [&bed.east, &bed.west]
                .iter()
                .all(|side| (0..2).all(|lane| lane_work(side, lane, "tun_reads") > 100))
        });
    }
}

#[test]
fn flows_keep_to_one_lane_in_both_directions_and_their_order() {
    if must_skip(None) {
        return;
    }
    let bed = with_lanes(0, 2);
    for side in [&bed.east, &bed.west] {
        assert_eq!(metric(side.engine(), "tombolo_tunnel_offload", "lane_of_flow"), 1);
        assert_eq!(metric(side.engine(), "tombolo_tunnel_offload", "lane_of_datagram"), 1);
    }
    let handed = |side: &Side| (0..2).map(|lane| lane_work(side, lane, "hand_overs")).sum::<u64>();
    let before = [&bed.east, &bed.west].map(handed);
    // Both ends are busy, and hash with seeds of their own where they are let: then a flow's lane changes with every answer.
    thread::scope(|scope| {
        for _ in 0..8 {
            let (east, west) = (udp(&bed.east, 0), udp(&bed.west, 0));
            scope.spawn(move || assert_in_order(&east, &west));
        }
    });
    let after = [&bed.east, &bed.west].map(handed);
    assert_eq!(before, after, "every packet came to the lane that it was for");
}

/// Exchanges numbered datagrams, a window at a time in each direction, and asserts that each side gets them all, in order.
fn assert_in_order(east: &UdpSocket, west: &UdpSocket) {
    const ROUNDS: u32 = 100;
    const WINDOW: u32 = 20;
    let mut buffer = [0; 64];
    let mut expect = |socket: &UdpSocket, first: u32| {
        for number in first..first + WINDOW {
            let (len, _) = receive(socket, &mut buffer);
            assert_eq!(buffer[..len], number.to_le_bytes(), "in order");
        }
    };
    let send = |from: &UdpSocket, to: SocketAddr, first: u32| {
        for number in first..first + WINDOW {
            from.send_to(&number.to_le_bytes(), to).unwrap();
        }
    };
    let [east_at, west_at] = [east, west].map(|socket| socket.local_addr().unwrap());
    for first in (0..ROUNDS * WINDOW).step_by(WINDOW as usize) {
        send(east, west_at, first);
        send(west, east_at, first);
        expect(west, first);
        expect(east, first);
    }
}

#[test]
fn ends_with_different_numbers_of_lanes_use_the_fewer() {
    if must_skip(None) {
        return;
    }
    let mut bed = Bed::new();
    (bed.east.lanes, bed.west.lanes) = (4, 2);
    for side in [&mut bed.east, &mut bed.west] {
        side.start();
    }
    bed.east.route_to(&bed.west.prefixes);
    bed.west.route_to(&bed.east.prefixes);
    for (side, other) in [(&bed.east, &bed.west), (&bed.west, &bed.east)] {
        let mut plan = plan(&[(other, 1)]);
        plan.peers[0].lanes = 2;
        side.engine().apply(&plan);
    }
    bed.wait_connected();
    for side in [&bed.east, &bed.west] {
        wait_until("two lanes carry packets", || side.engine().status()[0].lanes == 0b11);
    }
    let bytes = noise(1 << 20);
    for family in [0, 1] {
        for _ in 0..4 {
            let (received, _) = transfer(&bed.west, &bed.east, family, &bytes);
            assert!(received == bytes);
        }
    }
}

#[test]
fn a_peer_that_is_removed_from_lanes_leaves_other_flows_alone_and_may_come_back() {
    if must_skip(None) {
        return;
    }
    let bed = with_lanes(0, 2);
    let pairs: Vec<_> = (0..8).map(|_| (udp(&bed.east, 0), udp(&bed.west, 0))).collect();
    let wanted = plan(&[(&bed.east, 0)]);
    bed.west.engine().apply(&model::CablePlan {
        peers: vec![],
        ..wanted.clone()
    });
    wait_until("west has no cable", || bed.west.engine().status().is_empty());
    bed.west.engine().apply(&wanted);
    bed.wait_connected();
    for side in [&bed.east, &bed.west] {
        wait_until("all lanes carry packets again", || {
            side.engine().status()[0].lanes == 0b11
        });
    }
    for (east, west) in &pairs {
        assert_echo(east, west);
    }
}

//! Cables that come, go and come back.

use model::ConnectionState::{Connected, Error};
use model::GatewayId;
use prometheus::{Encoder, Registry, TextEncoder};
use tunnel::{DropReason, Engine, PrivateKey};

use crate::bed::{Bed, must_skip, plan, wait_until};
use crate::traffic::{assert_echo, udp};

#[test]
fn other_peers_come_and_go_without_disturbing_a_flow() {
    if must_skip(None) {
        return;
    }
    for lanes in [1, 2] {
        come_and_go(&Bed::with_lanes(0, lanes));
    }
}

fn come_and_go(bed: &Bed) {
    // Enough for every lane to have one.
    let flows: Vec<_> = (0..8).map(|_| (udp(&bed.east, 0), udp(&bed.west, 0))).collect();
    let alone = plan(&[(&bed.west, 0)]);
    let mut crowded = alone.clone();
    for n in 0..20u8 {
        let mut other = alone.peers[0].clone();
        other.gateway = GatewayId {
            cluster: "north".parse().unwrap(),
            node: format!("gw{n}").parse().unwrap(),
        };
        other.public_key = PrivateKey::generate().public_key();
        other.candidates = vec![format!("192.0.2.{}:4510", 100 + n).parse().unwrap()];
        crowded.peers.insert(0, other);
    }
    crowded
        .send
        .push(("10.3.0.0/16".parse().unwrap(), "north".parse().unwrap()));
    let handshake = bed.west.cable().unwrap().last_handshake;
    for peers in [21, 1, 21, 1] {
        bed.east.engine().apply(if peers == 1 { &alone } else { &crowded });
        wait_until("the plan is in effect", || {
            // Each of these crosses, or the receive times out.
            for (east, west) in &flows {
                assert_echo(east, west);
            }
            bed.east.engine().status().len() == peers
        });
    }
    assert_eq!(
        bed.west.cable().unwrap().last_handshake,
        handshake,
        "the session is the same one"
    );
}

#[test]
fn a_removed_peer_is_cut_off_at_once_and_may_come_back() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_cable(0);
    let (east, west) = (udp(&bed.east, 0), udp(&bed.west, 0));
    let plan = plan(&[(&bed.east, 0)]);
    bed.west.engine().apply(&model::CablePlan {
        peers: vec![],
        ..plan.clone()
    });
    wait_until("west has no cable", || bed.west.engine().status().is_empty());
    let before = bed.west.engine().dropped(DropReason::UnknownSession);
    east.send_to(b"late", west.local_addr().unwrap()).unwrap();
    wait_until("what still arrives is dropped", || {
        bed.west.engine().dropped(DropReason::UnknownSession) > before
    });
    wait_until("east says that the cable is down", || {
        bed.east
            .cable()
            .is_some_and(|cable| cable.state == Error && !cable.message.is_empty())
    });
    bed.west.engine().apply(&plan);
    bed.wait_connected();
    assert_echo(&east, &west);
}

#[test]
fn a_restarted_engine_is_found_again() {
    if must_skip(None) {
        return;
    }
    let mut bed = Bed::with_cable(1);
    let west_plan = plan(&[(&bed.east, 1)]);
    // The TUN link is persistent: the route into it is still there afterwards.
    bed.west.engine = None;
    bed.west.start();
    bed.west.engine().apply(&west_plan);
    wait_until("west is connected", || {
        bed.west.cable().is_some_and(|cable| cable.state == Connected)
    });
    bed.wait_connected();
    assert_echo(&udp(&bed.east, 0), &udp(&bed.west, 0));
}

#[test]
fn a_cable_follows_its_peer_to_another_address() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_cable(0);
    let west = &bed.west.namespace;
    west.ip("address delete 192.0.2.2/24 dev under");
    west.ip("address add 192.0.2.77/24 dev under");
    wait_until("east sees the new address", || {
        bed.east
            .cable()
            .and_then(|cable| cable.remote_address)
            .is_some_and(|at| at.to_string() == "192.0.2.77:4510")
    });
    bed.wait_connected();
    assert_echo(&udp(&bed.east, 1), &udp(&bed.west, 1));
}

#[test]
fn metrics_name_the_cable_and_forget_it_with_the_plan() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_cable(0);
    let registry = Registry::new();
    bed.east.engine().register(&registry).unwrap();
    assert_echo(&udp(&bed.east, 0), &udp(&bed.west, 0));
    let scrape = || {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    };
    let labels = r#"{cluster="west",gateway="gw"}"#;
    for line in [
        format!("tombolo_cable_connected{labels} 1"),
        format!("tombolo_cable_transmit_packets_total{labels} 1"),
        format!("tombolo_cable_receive_bytes_total{labels} 32"),
        format!("tombolo_cable_handshakes_total{labels} "),
        r#"tombolo_tunnel_lane_transmit_packets_total{lane="0"} 1"#.to_owned(),
        r#"tombolo_tunnel_dropped_packets_total{lane="0",reason="spoofed_source"} 0"#.to_owned(),
    ] {
        // A packet may arrive before the thread that sent it has counted it.
        wait_until(&line, || scrape().contains(&line));
    }
    let sent = format!("tombolo_cable_transmit_packets_total{labels} 1\n");
    assert!(scrape().contains(&sent), "counters do not grow by being read");
    bed.east.engine().apply(&model::CablePlan::default());
    wait_until("the cable is gone", || bed.east.engine().status().is_empty());
    assert!(!scrape().contains(labels));
    // A scraper takes a counter that falls for one that began anew.
    let kept = scrape();
    assert!(
        kept.contains(r#"tombolo_tunnel_lane_transmit_packets_total{lane="0"} 1"#),
        "{kept}"
    );
}

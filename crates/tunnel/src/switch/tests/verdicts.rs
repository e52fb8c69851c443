//! What deep probes need of the data plane, and what becomes of their verdicts.

use model::names::{DEEP_PROBE_PORT, TRACKED_PROBE_PORT};
use probe::{Request, Says};

use super::*;

/// East's gateway with cables to both gateways of west; traffic goes to the first.
fn triangle() -> (Node, [Node; 2]) {
    let mut east = Node::new("east", "gw", "192.0.2.10:4510");
    let mut west = [
        Node::new("west", "gw1", "192.0.2.20:4510"),
        Node::new("west", "gw2", "192.0.2.21:4510"),
    ];
    east.add_peer(&west[0], &["10.2.0.0/16"]);
    east.add_peer(&west[1], &[]);
    east.plan.chosen.insert(west[0].id.cluster.clone(), west[0].id.clone());
    for node in &mut west {
        node.add_peer(&east, &["10.1.0.0/16"]);
    }
    let [first, second] = &mut west;
    for node in [&mut east, first, second] {
        node.apply();
    }
    settle(&mut east, &mut west);
    assert!(west.iter().all(|node| node.cable().connection.state == Connected));
    (east, west)
}

fn settle(east: &mut Node, [first, second]: &mut [Node; 2]) {
    exchange(&mut [east, first, second]);
}

fn deep_probe(from: u16, to: u16) -> Vec<u8> {
    let mut packet = packet("10.1.0.1", "10.2.0.9", 64);
    packet[20..22].copy_from_slice(&from.to_be_bytes());
    packet[22..24].copy_from_slice(&to.to_be_bytes());
    packet
}

#[test]
fn deep_probes_of_a_standby_go_by_it_and_by_nobody_else() {
    let (mut east, mut west) = triangle();
    east.plan.detours.insert(40_001, west[1].id.clone());
    east.apply();
    settle(&mut east, &mut west);
    let mut arrivals = |east: &mut Node, from, to| {
        west.iter_mut().for_each(|node| node.out.delivered.clear());
        east.transmit(&deep_probe(from, to));
        settle(east, &mut west);
        west.each_ref().map(|node| node.out.delivered.len())
    };
    assert_eq!(arrivals(&mut east, 40_001, DEEP_PROBE_PORT), [0, 1]);
    assert_eq!(arrivals(&mut east, 40_001, TRACKED_PROBE_PORT), [0, 1]);
    assert_eq!(
        arrivals(&mut east, 40_002, DEEP_PROBE_PORT),
        [1, 0],
        "of the gateway in use"
    );
    assert_eq!(arrivals(&mut east, 40_001, 53), [1, 0], "no probe");

    let standby = east.plan.peers.remove(1);
    east.apply();
    assert_eq!(arrivals(&mut east, 40_001, DEEP_PROBE_PORT), [0, 0], "it has no cable");
    assert_eq!(east.dropped(DropReason::NoLivePeer), 1);
    east.plan.peers.push(standby);
    let unknown = GatewayId {
        cluster: "north".parse().unwrap(),
        node: "gw".parse().unwrap(),
    };
    east.plan.detours.insert(40_001, unknown);
    east.apply();
    assert_eq!(
        arrivals(&mut east, 40_001, DEEP_PROBE_PORT),
        [0, 0],
        "nobody knows that one"
    );
}

#[test]
fn a_gateway_is_called_broken_only_if_its_cluster_has_a_better_one() {
    let (mut east, west) = triangle();
    let request = Request {
        sequence: 0,
        stamp: 0,
        size: 0,
    };
    let mut called = |avoided: &[usize]| {
        east.plan.avoid = avoided.iter().map(|place| west[*place].id.clone()).collect();
        east.apply();
        let peers = east.switch.peers.iter();
        let asked = peers.map(|peer| peer.cable.ask(request, Says::default()).finds_broken);
        asked.collect::<Vec<_>>()
    };
    assert_eq!(called(&[]), [false, false]);
    assert_eq!(called(&[0]), [true, false]);
    assert_eq!(called(&[0, 1]), [false, false], "that would help nobody");
}

#[test]
fn a_cluster_that_another_of_ours_has_lost_is_asked_at_once() {
    let (mut east, mut west) = triangle();
    let asked = |east: &mut Node| {
        east.out.sent.clear();
        east.apply();
        east.out.sent.len()
    };
    assert_eq!(asked(&mut east), 0, "it was asked just now");
    for other in ["gw-2", "gw-3"] {
        let other = GatewayId {
            cluster: east.id.cluster.clone(),
            node: other.parse().unwrap(),
        };
        east.plan.doubts.insert((other, west[0].id.cluster.clone()));
        assert_eq!(asked(&mut east), 2, "both of its gateways");
        settle(&mut east, &mut west);
        assert_eq!(asked(&mut east), 0, "once");
    }
}

#[test]
fn a_cluster_that_is_gone_loses_all_its_gateways_at_once() {
    let (mut east, mut west) = triangle();
    east.plan.carries = true;
    east.apply();
    settle(&mut east, &mut west);
    let start = Instant::now();
    // Nothing is carried from here on.
    let mut lost_at = |count: usize| {
        let lost = |after: &u32| {
            let now = start + MIN_TICK * *after;
            east.switch.tick(now, &mut east.out);
            let status = east.switch.status(now);
            let lost = status.iter().filter(|(cable, _)| cable.connection.state != Connected);
            lost.count() >= count
        };
        MIN_TICK * (1..400).find(lost).expect("it is found within two seconds")
    };
    let (first, all) = (lost_at(1), lost_at(2));
    assert!(all < first + Duration::from_millis(100), "{first:?}, and {all:?}");
}

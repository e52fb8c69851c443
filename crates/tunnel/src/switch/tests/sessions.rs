//! Handshakes, plans and peers.

use super::*;

#[test]
fn a_cable_comes_up_and_carries_both_families_both_ways() {
    let (mut east, mut west) = connected();
    for (source, destination) in [("10.1.0.5", "10.2.0.9"), ("fd01::5", "fd02::9")] {
        let there = packet(source, destination, 1420);
        east.transmit(&there);
        exchange(&mut [&mut east, &mut west]);
        assert_eq!(west.out.delivered.pop().unwrap(), there);
        let back = packet(destination, source, 60);
        west.transmit(&back);
        exchange(&mut [&mut east, &mut west]);
        assert_eq!(east.out.delivered.pop().unwrap(), back);
    }
    let status = east.cable();
    assert_eq!(status.connection.remote_address, Some(west.address));
    assert_eq!((status.connection.tx_bytes, status.connection.rx_bytes), (2840, 120));
    assert!(status.connection.rtt.is_some());
    assert!(status.connection.last_handshake.is_some());
    assert!(
        east.out.delivered.is_empty() && west.out.delivered.is_empty(),
        "no probe reaches the kernel"
    );
}

#[test]
fn probes_carry_the_role() {
    let (mut east, mut west) = strangers();
    west.plan.role = model::ProbeRole {
        active: true,
        draining: false,
        epoch: 42,
    };
    east.apply();
    west.apply();
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(east.cable().role, Some(west.plan.role));
}

#[test]
fn handshakes_go_to_every_candidate_at_once() {
    let (mut east, _) = strangers();
    let candidates: Vec<SocketAddr> = ["192.0.2.20:4510", "198.51.100.7:999", "[2001:db8::1]:4510"]
        .map(|text| text.parse().unwrap())
        .to_vec();
    east.plan.peers[0].candidates.clone_from(&candidates);
    // A stock peer is always called first, whoever has the lower key.
    east.plan.peers[0].probe_address = None;
    east.apply();
    let (to, datagrams): (Vec<_>, Vec<_>) = std::mem::take(&mut east.out.sent).into_iter().unzip();
    assert_eq!(to, candidates);
    assert!(
        datagrams.iter().all(|datagram| *datagram == datagrams[0]),
        "one handshake, many addresses"
    );
}

#[test]
fn a_new_plan_leaves_what_stays_alone() {
    let (mut east, mut west) = connected();
    let handshakes = |node: &Node| node.switch.status(Instant::now())[0].1.totals().handshakes;
    let before = handshakes(&east);
    east.plan
        .peers
        .push(Node::new("north", "gw", "192.0.2.30:4510").as_peer());
    east.add_prefix(&"north".parse().unwrap(), "10.3.0.0/16");
    east.plan.peers.rotate_right(1);
    east.apply();
    let own = east.switch.status(Instant::now());
    let west_status = own
        .iter()
        .find(|(status, _)| status.connection.remote == west.id)
        .unwrap();
    assert_eq!(west_status.0.connection.state, Connected);
    assert_eq!(west_status.1.totals().handshakes, before);
    east.transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(west.out.delivered.len(), 1);
}

#[test]
fn a_removed_peer_has_no_session_and_a_changed_key_makes_a_new_one() {
    let (mut east, mut west) = connected();
    let peers = std::mem::take(&mut west.plan.peers);
    west.apply();
    east.transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(west.dropped(DropReason::UnknownSession), 1);
    assert!(west.switch.status(Instant::now()).is_empty());

    west.plan.peers = peers;
    west.plan.peers[0].public_key = PrivateKey::generate().public_key();
    west.apply();
    assert_eq!(west.cable().connection.state, Connecting);
    west.plan.peers[0] = east.as_peer();
    west.apply();
    assert_eq!(west.switch.peers.slots.len(), 1, "slots are used again");
}

#[test]
fn a_peer_with_our_key_or_with_anothers_gets_no_cable() {
    let (mut east, west) = strangers();
    let mut ours = west.as_peer();
    ours.public_key = east.switch.public_key;
    ours.gateway.node = "copy-of-us".parse().unwrap();
    let mut twin = west.as_peer();
    twin.gateway.node = "copy-of-west".parse().unwrap();
    east.plan.peers.extend([ours, twin]);
    east.apply();
    let gateways: Vec<_> = east
        .switch
        .status(Instant::now())
        .into_iter()
        .map(|(s, _)| s.connection.remote)
        .collect();
    assert_eq!(gateways, [west.id]);
}

/// Runs until east has sent an initiation, and takes it.
pub(super) fn initiation_of(node: &mut Node) -> Vec<u8> {
    let peer = node.switch.peers.at_mut(0).unwrap();
    peer.cable = probe::Cable::new(
        probe::CableSettings {
            candidates: node.plan.peers[0].candidates.clone(),
            mode: model::ProbeMode::None,
            is_initiator: true,
        },
        1420,
        1,
        Instant::now(),
    );
    node.switch.tick(Instant::now(), &mut node.out);
    node.out
        .sent
        .drain(..)
        .find(|(_, datagram)| datagram[0] == 1)
        .expect("an initiation")
        .1
}

#[test]
fn a_handshake_alone_moves_no_cable_and_data_does() {
    let (mut east, mut west) = connected();
    let elsewhere: SocketAddr = "203.0.113.66:6666".parse().unwrap();
    let initiation = initiation_of(&mut east);
    west.receive(elsewhere, &initiation);
    assert_eq!(
        west.out.sent.pop().unwrap().0,
        elsewhere,
        "the answer goes where the question came from"
    );
    assert_eq!(
        west.cable().connection.remote_address,
        Some(east.address),
        "and that is all"
    );

    west.receive(elsewhere, &initiation);
    assert_eq!(west.dropped(DropReason::Replayed), 1);
    assert!(west.out.sent.is_empty(), "a replayed handshake is not answered");

    east.switch
        .peers
        .at_mut(0)
        .unwrap()
        .cable
        .handle_session(west.address, Instant::now());
    east.switch.choose(Instant::now());
    east.transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    let (_, data) = east.out.sent.pop().unwrap();
    west.receive(elsewhere, &data);
    assert_eq!(west.cable().connection.remote_address, Some(elsewhere));
    west.receive("203.0.113.77:1".parse().unwrap(), &data);
    assert_eq!(
        west.cable().connection.remote_address,
        Some(elsewhere),
        "replayed data moves nothing"
    );
    assert_eq!(west.dropped(DropReason::Replayed), 2);
}

#[test]
fn a_flood_of_handshakes_is_answered_with_cookies() {
    let (mut east, mut west) = strangers();
    east.apply();
    west.apply();
    let initiation = initiation_of(&mut east);
    west.switch.handshakes = Arc::new(Handshakes::with_limit(&west.switch.key, 5));
    west.out.sent.clear();
    for _ in 0..8 {
        west.receive(east.address, &initiation);
    }
    assert_eq!(west.dropped(DropReason::RateLimited), 3);
    let cookies: Vec<_> = west
        .out
        .sent
        .drain(..)
        .filter(|(_, datagram)| datagram[0] == 3)
        .collect();
    assert_eq!(cookies.len(), 3);
    assert!(
        cookies
            .iter()
            .all(|(to, cookie)| *to == east.address && cookie.len() < initiation.len())
    );
    east.receive(west.address, &cookies[0].1);
    assert_eq!(east.cable().connection.state, Connecting, "a cookie is no answer");
}

#[test]
fn a_stranger_is_told_nothing() {
    let (_, mut west) = connected();
    let (mut stranger, _) = strangers();
    stranger.plan.peers = vec![west.as_peer()];
    stranger.apply();
    let initiation = initiation_of(&mut stranger);
    west.receive(stranger.address, &initiation);
    assert_eq!(west.dropped(DropReason::UnknownKey), 1);
    assert!(west.out.sent.is_empty());
}

#[test]
fn what_the_kernel_refuses_to_send_is_in_the_reason() {
    let (mut east, _) = strangers();
    east.plan.peers[0].probe_address = None;
    east.out.unreachable = true;
    east.apply();
    let message = east.cable().connection.message;
    assert!(message.contains("192.0.2.20:4510: Network is unreachable"), "{message}");
    assert_eq!(east.dropped(DropReason::UdpSend), 1);
}

#[test]
fn a_stock_peer_exchanges_packets_whoever_starts() {
    use boringtun::noise::{Tunn, TunnResult};
    for stock_starts in [false, true] {
        let stock_key = PrivateKey::generate();
        let stock_address: SocketAddr = "192.0.2.50:51820".parse().unwrap();
        let mut east = Node::new("east", "gw", "192.0.2.10:4510");
        let west: ClusterId = "west".parse().unwrap();
        east.add_prefix(&west, "10.2.0.0/16");
        east.plan.peers = vec![PeerPlan {
            gateway: GatewayId {
                cluster: west,
                node: "stock".parse().unwrap(),
            },
            public_key: stock_key.public_key(),
            candidates: if stock_starts { vec![] } else { vec![stock_address] },
            probe_address: None,
            mtu: 1420,
            lanes: 1,
        }];
        east.apply();
        let mut stock = Tunn::new(
            stock_key.secret().clone(),
            *east.switch.key.public(),
            None,
            None,
            0xabcd,
            None,
        );
        let mut buffer = vec![0; 2000];
        let mut received = Vec::new();
        let mut to_east = Vec::new();
        let there = packet("10.2.0.9", "10.1.0.5", 100);
        let back = packet("10.1.0.5", "10.2.0.9", 200);
        if stock_starts && let TunnResult::WriteToNetwork(datagram) = stock.encapsulate(&there, &mut buffer) {
            to_east.push(datagram.to_vec());
        }
        let mut answered = false;
        while !to_east.is_empty() || !east.out.sent.is_empty() {
            for datagram in std::mem::take(&mut to_east) {
                // Where data waits, other implementations confirm a session with it and send no keepalive (32 bytes) before.
                if !stock_starts || datagram.len() != 32 {
                    east.receive(stock_address, &datagram);
                }
            }
            if !answered && east.cable().connection.state == Connected {
                answered = true;
                east.transmit(&back);
            }
            for (_, datagram) in std::mem::take(&mut east.out.sent) {
                let mut input = datagram.as_slice();
                loop {
                    match stock.decapsulate(None, input, &mut buffer) {
                        TunnResult::WriteToNetwork(answer) => to_east.push(answer.to_vec()),
                        TunnResult::WriteToTunnelV4(packet, _) => {
                            received.push(packet.to_vec());
                            break;
                        }
                        TunnResult::Done => break,
                        other => panic!("{other:?}"),
                    }
                    input = &[];
                }
            }
            if !stock_starts
                && received.len() == 1
                && east.out.delivered.is_empty()
                && let TunnResult::WriteToNetwork(datagram) = stock.encapsulate(&there, &mut buffer)
            {
                to_east.push(datagram.to_vec());
            }
        }
        assert_eq!(received, [back], "stock starts: {stock_starts}");
        assert_eq!(east.out.delivered, [there], "stock starts: {stock_starts}");
        assert_eq!(east.cable().connection.remote_address, Some(stock_address));
    }
}

//! What crosses, what is dropped, and what is damaged.

use super::*;

#[test]
fn a_source_outside_the_peers_cluster_is_dropped() {
    let (mut east, mut west) = connected();
    for source in ["10.3.0.1", "10.2.0.1", "127.0.0.1"] {
        east.transmit(&packet(source, "10.2.0.9", 60));
    }
    east.transmit(&packet("fd03::1", "fd02::9", 60));
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(west.dropped(DropReason::SpoofedSource), 4);
    assert!(west.out.delivered.is_empty());
    let drops = west.cable().drops;
    assert_eq!(
        drops.iter().collect::<Vec<_>>(),
        [(DropReason::SpoofedSource, 4)],
        "the cable that they came from is known"
    );
}

#[test]
fn any_gateway_of_a_cluster_may_use_its_prefixes_and_no_other() {
    let (mut east, mut west) = strangers();
    let mut other = Node::new("north", "gw", "192.0.2.30:4510");
    other.add_peer(&west, &["10.2.0.0/16"]);
    west.add_peer(&other, &["10.3.0.0/16"]);
    for node in [&mut east, &mut west, &mut other] {
        node.apply();
    }
    exchange(&mut [&mut east, &mut west, &mut other]);
    other.transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    other.transmit(&packet("10.3.0.5", "10.2.0.9", 60));
    exchange(&mut [&mut east, &mut west, &mut other]);
    assert_eq!(
        west.dropped(DropReason::SpoofedSource),
        1,
        "north may not speak for east"
    );
    assert_eq!(west.out.delivered.len(), 1);
}

#[test]
fn reserved_addresses_never_cross_the_tun_device() {
    let (mut east, mut west) = connected();
    let (ours, theirs) = (
        east.switch.probe_address.to_string(),
        west.switch.probe_address.to_string(),
    );
    east.transmit(&packet(&ours, &theirs, 80));
    east.transmit(&packet("fd01::5", &theirs, 80));
    assert_eq!(east.dropped(DropReason::ReservedAddress), 2);
    // The same from a peer that does not keep the rule.
    east.plan.send.push(("::/0".parse().unwrap(), west.id.cluster.clone()));
    for inner in [
        packet(&ours, &theirs, 80),
        packet("fd01::5", &theirs, 80),
        packet(&ours, "fd02::9", 80),
    ] {
        let (now, drops) = (Instant::now(), east.switch.drops.clone());
        let peer = east.switch.peers.at_mut(0).unwrap();
        peer.seal(&inner, &drops, now, &mut east.out);
    }
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(west.dropped(DropReason::ReservedAddress), 3);
    assert!(west.out.delivered.is_empty());
}

#[test]
fn what_is_too_big_is_refused_with_the_mtu_and_what_may_be_split_is_carried() {
    let (mut east, mut west) = connected();
    east.plan.icmp_sources = vec!["10.1.0.254".parse().unwrap(), "fd01::254".parse().unwrap()];
    east.apply();
    for (source, destination, error_source) in [
        ("10.1.0.5", "10.2.0.9", "10.1.0.254"),
        ("fd01::5", "fd02::9", "fd01::254"),
    ] {
        east.transmit(&packet(source, destination, 1421));
        let reply = IpHeader::parse(&east.out.delivered.pop().unwrap()).unwrap();
        assert_eq!(reply.source, error_source.parse::<IpAddr>().unwrap());
        assert_eq!(reply.destination, source.parse::<IpAddr>().unwrap());
    }
    assert_eq!(east.dropped(DropReason::TooBig), 2);
    assert_eq!(east.cable().drops.of(DropReason::TooBig), 2);

    let mut splittable = packet("10.1.0.5", "10.2.0.9", 1500);
    splittable[6] = 0;
    east.transmit(&splittable);
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(west.out.delivered, [splittable]);
}

#[test]
fn a_flood_of_large_packets_is_not_answered_one_for_one() {
    let (mut east, _west) = connected();
    for _ in 0..ICMP_PER_TICK * 2 {
        east.transmit(&packet("10.1.0.5", "10.2.0.9", 1500));
    }
    assert_eq!(east.out.delivered.len(), ICMP_PER_TICK as usize);
}

#[test]
fn without_a_way_packets_are_counted_by_reason() {
    let (mut east, _) = strangers();
    east.apply();
    east.transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    east.transmit(&packet("10.1.0.5", "10.9.0.9", 60));
    east.transmit(b"not ip");
    let reasons = [DropReason::NoLivePeer, DropReason::NoRoute, DropReason::NotIp].map(|reason| east.dropped(reason));
    assert_eq!(reasons, [1, 1, 1]);
}

#[test]
fn a_dead_choice_is_passed_over_for_a_live_gateway_of_the_cluster() {
    let (mut east, mut west) = strangers();
    let mut dead = west.as_peer();
    dead.gateway.node = "gw-dead".parse().unwrap();
    dead.public_key = PrivateKey::generate().public_key();
    east.plan.chosen.insert(west.id.cluster.clone(), dead.gateway.clone());
    east.plan.peers.insert(0, dead);
    east.apply();
    west.apply();
    exchange(&mut [&mut east, &mut west]);
    east.transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(west.out.delivered.len(), 1);
}

#[test]
fn damaged_datagrams_are_counted_and_the_cable_goes_on() {
    let (mut east, mut west) = connected();
    east.transmit(&packet("10.1.0.5", "10.2.0.9", 100));
    let (_, data) = east.out.sent.pop().unwrap();
    for len in 0..data.len() {
        west.receive(east.address, &data[..len]);
    }
    for at in 0..data.len() {
        let mut damaged = data.clone();
        damaged[at] ^= 0x55;
        west.receive(east.address, &damaged);
    }
    west.receive(east.address, &[4u8; 65_507]);
    let reasons = [
        DropReason::Malformed,
        DropReason::UnknownSession,
        DropReason::NotAuthentic,
    ];
    for reason in reasons {
        assert!(west.dropped(reason) > 0, "{reason:?}");
    }
    let total: u64 = DropReason::ALL.iter().map(|reason| west.dropped(*reason)).sum();
    assert_eq!(total as usize, 2 * data.len() + 1, "each is counted once");
    assert!(west.out.delivered.is_empty());
    west.receive(east.address, &data);
    assert_eq!(west.out.delivered.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_input_never_panics(datagrams in proptest::collection::vec((1u8..5, any::<Vec<u8>>()), 1..20), sized: bool) {
        let (mut east, _west) = connected();
        for (kind, mut bytes) in datagrams {
            if sized {
                bytes.resize([148, 92, 64, 80][usize::from(kind - 1)], 7);
                bytes[..4].copy_from_slice(&[kind, 0, 0, 0]);
                bytes[5] = 0;
            }
            east.receive("203.0.113.1:1".parse().unwrap(), &bytes);
            east.transmit(&bytes);
        }
        prop_assert!(east.out.delivered.is_empty());
        prop_assert_eq!(east.cable().connection.state, Connected);
    }
}

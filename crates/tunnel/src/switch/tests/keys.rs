//! A gateway that changes its key. The plan has it twice for a while, with the key before and the key after.

use super::*;

/// Sends a packet from west into the cluster of east; how many came out at each of these.
fn cross(west: &mut Node, easts: &mut [&mut Node]) -> Vec<usize> {
    west.transmit(&packet("10.2.0.9", "10.1.0.5", 60));
    let mut nodes = vec![west];
    nodes.extend(easts.iter_mut().map(|node| &mut **node));
    exchange(&mut nodes);
    easts
        .iter_mut()
        .map(|node| std::mem::take(&mut node.out.delivered).len())
        .collect()
}

#[test]
fn a_new_key_takes_over_without_a_gap() {
    let (mut before, mut west) = connected();
    let mut after = Node::new("east", "gw", "192.0.2.11:4510");
    // By its key it is the one to start, so that it need not wait for west's next try.
    while west.switch.public_key < after.switch.public_key {
        after = Node::new("east", "gw", "192.0.2.11:4510");
    }
    after.add_peer(&west, &["10.2.0.0/16"]);
    assert_eq!(cross(&mut west, &mut [&mut before]), [1]);

    west.plan.peers.push(after.as_peer());
    west.apply();
    assert_eq!(
        cross(&mut west, &mut [&mut before, &mut after]),
        [1, 0],
        "the new one is not there yet"
    );
    after.apply();
    exchange(&mut [&mut west, &mut before, &mut after]);
    assert_eq!(west.switch.status(Instant::now()).len(), 2);
    // Whatever either sends is east's, and is let in.
    for east in [&mut before, &mut after] {
        east.transmit(&packet("10.1.0.5", "10.2.0.9", 60));
        exchange(&mut [&mut *east, &mut west]);
    }
    assert_eq!(std::mem::take(&mut west.out.delivered).len(), 2);

    let old = before.switch.public_key;
    west.plan.peers.retain(|peer| peer.public_key != old);
    west.apply();
    assert_eq!(cross(&mut west, &mut [&mut before, &mut after]), [0, 1]);
    before.transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    exchange(&mut [&mut before, &mut west]);
    assert!(west.out.delivered.is_empty(), "the old key is worth nothing any more");
    assert_eq!(west.dropped(DropReason::UnknownSession), 1);
    before
        .switch
        .peers
        .at_mut(0)
        .unwrap()
        .cable
        .handle_session_lost(Instant::now());
    let initiation = sessions::initiation_of(&mut before);
    west.receive(before.address, &initiation);
    assert_eq!(west.dropped(DropReason::UnknownKey), 1);
}

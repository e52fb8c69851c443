//! Gateways of several lanes, in memory.

use blake2::digest::consts::U16;
use blake2::digest::{KeyInit, Mac};
use blake2::{Blake2s256, Blake2sMac, Digest};

use super::*;
use crate::steering::lane_of;

/// The lanes of one gateway. They share its address, its key, and what lanes know together.
struct Gateway {
    lanes: Vec<Node>,
    /// Whether the kernel gives a datagram to the lane that it names; else all go to the first.
    is_steered: bool,
    /// Its time, if it is not the true one.
    clock: Option<Instant>,
}

impl Gateway {
    fn new(cluster: &str, node: &str, address: &str, lanes: usize) -> Self {
        let key = PrivateKey::generate();
        let together = (Arc::new(Handshakes::new(&key)), Arc::<Ways>::default());
        let lane = |lane| {
            let mut node = Node::new(cluster, node, address);
            node.switch = Switch::new(key.clone(), (lane, lanes), together.clone(), Arc::default());
            node.plan.carries = true;
            node
        };
        Self {
            lanes: (0..lanes).map(lane).collect(),
            is_steered: true,
            clock: None,
        }
    }

    fn now(&self) -> Instant {
        self.clock.unwrap_or_else(Instant::now)
    }

    fn add_peer(&mut self, peer: &Gateway, prefixes: &[&str]) {
        let lanes = self.lanes.len().min(peer.lanes.len()) as u8;
        for node in &mut self.lanes {
            node.add_peer(&peer.lanes[0], prefixes);
            node.plan.peers.last_mut().unwrap().lanes = lanes;
        }
    }

    fn apply(&mut self) {
        let now = self.now();
        for Node { switch, out, plan, .. } in &mut self.lanes {
            switch.apply(plan, now);
            switch.tick(now, out);
        }
    }

    fn address(&self) -> SocketAddr {
        self.lanes[0].address
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        let at = if datagram[0] == 2 { 8 } else { 4 };
        let index = u32::from_le_bytes(*datagram[at..].first_chunk().unwrap());
        let lane = Some(lane_of(index)).filter(|lane| self.is_steered && *lane < self.lanes.len());
        let (now, Node { switch, out, .. }) = (self.now(), &mut self.lanes[lane.unwrap_or(0)]);
        switch.handle_udp(remote(from), Ecn::NotCapable, datagram, now, out);
        self.hand_over();
    }

    /// Gives every lane what another found for it.
    fn hand_over(&mut self) {
        let now = self.now();
        for finder in 0..self.lanes.len() {
            for (lane, found, mut bytes) in std::mem::take(&mut self.lanes[finder].out.handed) {
                let Node { switch, out, .. } = &mut self.lanes[lane];
                match found {
                    Found::Datagram { from, ecn } => switch.handle_stray(remote(from), ecn, &bytes, now, out),
                    Found::Packet(header) => switch.handle_tun(header, &mut bytes, now, out),
                }
            }
        }
    }

    fn take_sent(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.lanes.iter_mut().flat_map(|node| node.out.sent.drain(..)).collect()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.lanes.iter().map(|node| node.dropped(reason)).sum()
    }

    /// The lanes of its first cable that carry packets.
    fn live(&self) -> u16 {
        self.lanes.iter().map(|node| node.cable().lanes).sum()
    }
}

fn exchange(gateways: &mut [&mut Gateway]) {
    loop {
        let mut is_quiet = true;
        for sender in 0..gateways.len() {
            let from = gateways[sender].address();
            for (to, datagram) in gateways[sender].take_sent() {
                is_quiet = false;
                if let Some(receiver) = gateways.iter_mut().find(|gateway| gateway.address() == to) {
                    receiver.receive(from, &datagram);
                }
            }
        }
        if is_quiet {
            return;
        }
    }
}

/// Two that have not spoken yet; by its key, east is the one to start.
fn strangers(lanes: usize) -> (Gateway, Gateway) {
    let mut east = Gateway::new("east", "gw", "192.0.2.10:4510", lanes);
    let mut west = Gateway::new("west", "gw", "192.0.2.20:4510", lanes);
    while west.lanes[0].switch.public_key < east.lanes[0].switch.public_key {
        east = Gateway::new("east", "gw", "192.0.2.10:4510", lanes);
    }
    east.add_peer(&west, &["10.2.0.0/16"]);
    west.add_peer(&east, &["10.1.0.0/16"]);
    (east, west)
}

fn connected(lanes: usize) -> (Gateway, Gateway) {
    let (mut east, mut west) = strangers(lanes);
    east.apply();
    west.apply();
    exchange(&mut [&mut east, &mut west]);
    assert_eq!((east.live(), west.live()), ((1 << lanes) - 1, (1 << lanes) - 1));
    (east, west)
}

#[test]
fn every_lane_has_a_session_of_its_own() {
    let (mut east, mut west) = connected(4);
    for lane in 0..4 {
        east.lanes[lane].transmit(&packet("10.1.0.5", "10.2.0.9", 60 + lane));
        exchange(&mut [&mut east, &mut west]);
        let delivered = std::mem::take(&mut west.lanes[lane].out.delivered);
        assert_eq!(delivered.len(), 1, "lane {lane}");
        assert_eq!(delivered[0].len(), 60 + lane);
    }
}

#[test]
fn without_steering_every_datagram_finds_its_lane_all_the_same() {
    let (mut east, mut west) = strangers(4);
    east.is_steered = false;
    west.is_steered = false;
    east.apply();
    west.apply();
    exchange(&mut [&mut east, &mut west]);
    assert_eq!((east.live(), west.live()), (0b1111, 0b1111));
    for lane in 0..4 {
        east.lanes[lane].transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    }
    exchange(&mut [&mut east, &mut west]);
    assert!(west.lanes.iter().all(|node| node.out.delivered.len() == 1));
}

#[test]
fn a_gateway_that_carries_nothing_opens_no_lanes_and_closes_none() {
    let (mut east, mut west) = strangers(3);
    let set = |gateway: &mut Gateway, carries| {
        gateway.lanes.iter_mut().for_each(|node| node.plan.carries = carries);
        gateway.apply();
    };
    let counts = |gateway: &Gateway| -> Vec<usize> {
        let peers = gateway.lanes.iter().map(|node| node.switch.peers.iter().count());
        peers.collect()
    };
    set(&mut east, false);
    set(&mut west, true);
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(counts(&east), [1, 0, 0]);
    set(&mut east, true);
    set(&mut west, true);
    exchange(&mut [&mut east, &mut west]);
    assert_eq!((east.live(), west.live()), (0b111, 0b111));
    set(&mut east, false);
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(counts(&east), [1, 1, 1], "what is on its way still arrives");
    // The other end closes its own.
    for node in &mut east.lanes[1..] {
        let peer = node.switch.peers.at_mut(0).unwrap();
        peer.cable.handle_session_lost(Instant::now());
    }
    set(&mut east, false);
    assert_eq!(counts(&east), [1, 0, 0]);
}

#[test]
fn a_lane_without_a_session_hands_its_packets_to_the_first() {
    let (mut east, mut west) = strangers(2);
    east.apply();
    west.apply();
    // The second lane's handshakes are lost.
    east.lanes[1].out.sent.clear();
    west.lanes[1].out.sent.clear();
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(east.live(), 0b01);
    east.lanes[1].transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    east.hand_over();
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(west.lanes[0].out.delivered.len(), 1);
    // The first has nobody to hand over to.
    east.lanes[0].transmit(&packet("10.1.0.5", "10.3.0.9", 60));
    assert_eq!(east.dropped(DropReason::NoRoute), 1);
}

#[test]
fn the_first_lane_chooses_the_gateway_and_the_others_follow() {
    let (mut east, mut west) = strangers(2);
    let mut other = Gateway::new("west", "other", "192.0.2.30:4510", 2);
    east.add_peer(&other, &[]);
    other.add_peer(&east, &["10.1.0.0/16"]);
    for gateway in [&mut east, &mut west, &mut other] {
        gateway.apply();
    }
    exchange(&mut [&mut east, &mut west, &mut other]);
    let mut used = Vec::new();
    for _ in 0..2 {
        for lane in 0..2 {
            east.lanes[lane].transmit(&packet("10.1.0.5", "10.2.0.9", 60));
        }
        let [first, second] = [0, 1].map(|lane| east.lanes[lane].out.sent.pop().unwrap().0);
        assert_eq!(first, second, "both lanes send to one gateway");
        used.push(first);
        // What the first lane finds out, the second follows with its next packet, though its own cable is well.
        let dead = if first == west.address() { &west } else { &other };
        let key = *dead.lanes[0].switch.key.public();
        let first_lane = &mut east.lanes[0].switch;
        let slot = first_lane.peers.by_key[&PublicKey::from_bytes(key.to_bytes())];
        let peer = first_lane.peers.at_mut(slot).unwrap();
        peer.cable.handle_session_lost(Instant::now());
        first_lane.changed = true;
        first_lane.refresh(Instant::now());
    }
    assert_ne!(used[0], used[1]);
    // No gateway is alive as far as the first lane knows.
    east.lanes[1].transmit(&packet("10.1.0.5", "10.2.0.9", 60));
    east.hand_over();
    assert_eq!(east.dropped(DropReason::NoLivePeer), 1);
}

/// The initiation as it would be for another lane: anybody can name another index, for only the receiver's public key is needed to
/// make the check sum right.
fn for_lane(initiation: &[u8], lane: usize, receiver: &PublicKey) -> Vec<u8> {
    let mut forged = initiation.to_vec();
    forged[5] = forged[5] & 0xf0 | lane as u8;
    let key = Blake2s256::new()
        .chain_update(b"mac1----")
        .chain_update(receiver.as_bytes())
        .finalize();
    let mut mac = <Blake2sMac<U16> as KeyInit>::new_from_slice(&key).unwrap();
    mac.update(&forged[..116]);
    forged[116..132].copy_from_slice(&mac.finalize().into_bytes());
    forged
}

#[test]
fn a_recorded_initiation_is_refused_in_every_lane() {
    let (mut east, mut west) = strangers(4);
    east.apply();
    west.apply();
    west.take_sent();
    let recorded: Vec<_> = east
        .take_sent()
        .into_iter()
        .map(|(_, datagram)| datagram)
        .filter(|datagram| datagram[0] == 1)
        .collect();
    assert_eq!(recorded.len(), 4);
    for initiation in &recorded {
        west.receive(east.address(), initiation);
    }
    let answers = west.take_sent();
    assert_eq!(answers.iter().filter(|(_, answer)| answer[0] == 2).count(), 4);
    let receiver = west.lanes[0].switch.public_key;
    for is_steered in [true, false] {
        west.is_steered = is_steered;
        for initiation in &recorded {
            for lane in 0..4 {
                west.receive(
                    "203.0.113.66:6666".parse().unwrap(),
                    &for_lane(initiation, lane, &receiver),
                );
            }
        }
    }
    assert_eq!(west.dropped(DropReason::Replayed), 32);
    assert!(west.take_sent().is_empty(), "none is answered");
    assert_eq!(west.dropped(DropReason::BadMac), 0);
}

#[test]
fn four_hundred_peers_that_start_together_all_come_up() {
    const PEERS: usize = 400;
    let mut hub = Gateway::new("hub", "gw", "192.0.2.1:4510", 1);
    let mut peers: Vec<_> = (0..PEERS)
        .map(|number| {
            let address = format!("198.51.{}.{}:4510", number / 200, number % 200 + 1);
            let mut peer = Gateway::new(&format!("peer-{number}"), "gw", &address, 1);
            peer.add_peer(&hub, &["10.1.0.0/16"]);
            hub.add_peer(&peer, &[]);
            peer
        })
        .collect();
    hub.lanes[0].switch.handshakes.set_limit(PEERS);
    let by_address: HashMap<_, _> = (0..PEERS).map(|at| (peers[at].address(), at)).collect();
    // How long the arithmetic takes here must not look like a path that is dead.
    let begin = Instant::now();
    let mut ticks = 0;
    loop {
        let now = begin + TICK * ticks;
        for gateway in std::iter::once(&mut hub).chain(&mut peers) {
            gateway.clock = Some(now);
            if ticks == 0 {
                gateway.apply();
            }
            let Node { switch, out, .. } = &mut gateway.lanes[0];
            switch.tick(now, out);
        }
        loop {
            let to_peers = hub.take_sent();
            for (to, datagram) in &to_peers {
                peers[by_address[to]].receive(hub.address(), datagram);
            }
            let to_hub: Vec<_> = peers
                .iter_mut()
                .flat_map(|peer| {
                    let from = peer.address();
                    peer.take_sent().into_iter().map(move |(_, datagram)| (from, datagram))
                })
                .collect();
            for (from, datagram) in &to_hub {
                hub.receive(*from, datagram);
            }
            if to_peers.is_empty() && to_hub.is_empty() {
                break;
            }
        }
        let cables = hub.lanes[0].switch.status(now);
        let up = cables
            .iter()
            .filter(|(cable, _)| cable.connection.state == Connected)
            .count();
        if up == PEERS && peers.iter().all(|peer| peer.live() == 1) {
            break;
        }
        ticks += 1;
        assert!(ticks < 50, "only {up} of {PEERS} cables came up within 5 s");
    }
    assert_eq!(hub.dropped(DropReason::RateLimited), 0, "nobody was made to wait");
}

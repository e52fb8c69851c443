//! Gateways in memory: what one sends is handed to the other.

mod keys;
mod lanes;
mod packets;
mod sessions;
mod verdicts;

use std::net::SocketAddr;

use model::ConnectionState::{Connected, Connecting};
use model::{ClusterId, GatewayId, PeerPlan};
use packet::{Checksum, IpHeader, VirtioNetHeader};
use proptest::prelude::*;

use super::*;
use crate::counters::DropReason;
use crate::lane::Found;
use crate::udp::Via;

struct Outbox {
    sent: Vec<(SocketAddr, Vec<u8>)>,
    /// How the datagrams of bulk were marked.
    marks: Vec<Ecn>,
    delivered: Vec<Vec<u8>>,
    /// For other lanes.
    handed: Vec<(usize, Found, Vec<u8>)>,
    sealed: Vec<u8>,
    opened: Vec<u8>,
    unreachable: bool,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            sent: Vec::new(),
            marks: Vec::new(),
            delivered: Vec::new(),
            handed: Vec::new(),
            sealed: vec![0; ROOM],
            opened: vec![0; ROOM],
            unreachable: false,
        }
    }
}

impl Wire for Outbox {
    fn send(&mut self, to: Remote, datagram: &[u8]) -> io::Result<()> {
        if self.unreachable {
            return Err(io::Error::from_raw_os_error(libc::ENETUNREACH));
        }
        self.sent.push((to.address, datagram.to_vec()));
        Ok(())
    }

    fn deliver(&mut self, packet: &[u8]) -> io::Result<()> {
        self.delivered.push(packet.to_vec());
        Ok(())
    }

    fn seal_room(&mut self) -> &mut [u8] {
        &mut self.sealed
    }

    fn send_sealed(&mut self, to: Remote, ecn: Ecn, len: usize) -> io::Result<()> {
        self.marks.push(ecn);
        self.sent.push((to.address, self.sealed[..len].to_vec()));
        Ok(())
    }

    fn open_room(&mut self) -> &mut [u8] {
        &mut self.opened
    }

    fn opened(&mut self) -> &mut [u8] {
        &mut self.opened
    }

    fn deliver_opened(&mut self, len: usize) {
        self.delivered.push(self.opened[..len].to_vec());
    }

    fn hand_over_datagram(&mut self, lane: usize, from: SocketAddr, ecn: Ecn, datagram: &[u8]) {
        self.handed
            .push((lane, Found::Datagram { from, ecn }, datagram.to_vec()));
    }

    fn hand_over_packet(&mut self, lane: usize, header: VirtioNetHeader, packet: &[u8]) {
        self.handed.push((lane, Found::Packet(header), packet.to_vec()));
    }
}

/// A gateway in memory.
struct Node {
    id: GatewayId,
    address: SocketAddr,
    switch: Switch,
    out: Outbox,
    plan: CablePlan,
}

impl Node {
    fn new(cluster: &str, node: &str, address: &str) -> Self {
        Self {
            id: GatewayId {
                cluster: cluster.parse().unwrap(),
                node: node.parse().unwrap(),
            },
            address: address.parse().unwrap(),
            switch: new_switch(&PrivateKey::generate(), (0, 1)),
            out: Outbox::default(),
            plan: CablePlan {
                mtu: 1420,
                ..CablePlan::default()
            },
        }
    }

    fn as_peer(&self) -> PeerPlan {
        PeerPlan {
            gateway: self.id.clone(),
            public_key: self.switch.public_key,
            candidates: vec![self.address],
            probe_address: Some(self.switch.probe_address),
            mtu: 1420,
            lanes: 1,
        }
    }

    fn add_peer(&mut self, peer: &Node, prefixes: &[&str]) {
        self.plan.peers.push(peer.as_peer());
        for prefix in prefixes {
            self.add_prefix(&peer.id.cluster, prefix);
        }
    }

    fn add_prefix(&mut self, cluster: &ClusterId, prefix: &str) {
        self.plan.send.push((prefix.parse().unwrap(), cluster.clone()));
        self.plan.accept.push((prefix.parse().unwrap(), cluster.clone()));
    }

    fn apply(&mut self) {
        let now = Instant::now();
        self.switch.apply(&self.plan, now);
        self.switch.tick(now, &mut self.out);
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.receive_marked(from, Ecn::NotCapable, datagram);
    }

    fn receive_marked(&mut self, from: SocketAddr, outer: Ecn, datagram: &[u8]) {
        self.switch
            .handle_udp(remote(from), outer, datagram, Instant::now(), &mut self.out);
    }

    fn transmit(&mut self, packet: &[u8]) {
        self.transmit_with(VirtioNetHeader::default(), packet);
    }

    fn transmit_with(&mut self, header: VirtioNetHeader, packet: &[u8]) {
        let mut packet = packet.to_vec();
        self.switch
            .handle_tun(header, &mut packet, Instant::now(), &mut self.out);
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.switch.drops.of(reason)
    }

    fn cable(&self) -> CableStatus {
        self.switch.status(Instant::now())[0].0.clone()
    }
}

fn new_switch(key: &PrivateKey, lane: (usize, usize)) -> Switch {
    let together = (Arc::new(Handshakes::new(key)), Arc::default());
    Switch::new(key.clone(), lane, together, Arc::default())
}

fn remote(address: SocketAddr) -> Remote {
    Remote {
        via: Via::Port,
        address,
    }
}

/// Carries datagrams until all is quiet; what is for nobody is lost.
fn exchange(nodes: &mut [&mut Node]) {
    while let Some(sender) = nodes.iter().position(|node| !node.out.sent.is_empty()) {
        let from = nodes[sender].address;
        for (to, datagram) in std::mem::take(&mut nodes[sender].out.sent) {
            if let Some(receiver) = nodes.iter_mut().find(|node| node.address == to) {
                receiver.receive(from, &datagram);
            }
        }
    }
}

/// Two gateways of two clusters that know each other, and have not spoken yet.
fn strangers() -> (Node, Node) {
    let mut east = Node::new("east", "gw", "192.0.2.10:4510");
    let mut west = Node::new("west", "gw", "192.0.2.20:4510");
    east.add_peer(&west, &["10.2.0.0/16", "fd02::/64"]);
    west.add_peer(&east, &["10.1.0.0/16", "fd01::/64"]);
    (east, west)
}

fn connected() -> (Node, Node) {
    let (mut east, mut west) = strangers();
    east.apply();
    west.apply();
    exchange(&mut [&mut east, &mut west]);
    assert_eq!(
        (east.cable().connection.state, west.cable().connection.state),
        (Connected, Connected)
    );
    (east, west)
}

fn packet(source: &str, destination: &str, len: usize) -> Vec<u8> {
    let mut packet = vec![0xab; len];
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            packet[..10].copy_from_slice(&[0x45, 0, (len >> 8) as u8, len as u8, 0, 0, 0x40, 0, 64, 17]);
            packet[10..12].fill(0);
            packet[12..16].copy_from_slice(&source.octets());
            packet[16..20].copy_from_slice(&destination.octets());
            let sum = Checksum::new().with(&packet[..20]).finish();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let payload = len - 40;
            packet[..8].copy_from_slice(&[0x60, 0, 0, 0, (payload >> 8) as u8, payload as u8, 17, 64]);
            packet[8..24].copy_from_slice(&source.octets());
            packet[24..40].copy_from_slice(&destination.octets());
        }
        _ => unreachable!("both of one family"),
    }
    packet
}

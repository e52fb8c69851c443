//! What a gateway tracks of the flows that pass through it.
//!
//! ```text
//!   worker's pod 10.1.5.5 ── (VXLAN) ── node 10.1.0.1 ── (TUN) ── 10.2.7.7, the other cluster
//! ```
//! `far`, the VXLAN peer, is the worker here. The other cluster is the test itself, at the TUN.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use hostnet::{Desired, Untracked, Via, tags, vtep};

use crate::node::{DEADLINE, desired, nets, privileged};
use crate::traffic::World;

const WORKER_POD: Ipv4Addr = Ipv4Addr::new(10, 1, 5, 5);
const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 2, 7, 7);
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 101, 0, 1);
const PORT: u16 = 4000;

fn world() -> World {
    let world = World::new();
    world.far_joins();
    world.far.ip(&format!("addr add {WORKER_POD} dev lo"));
    let node = vtep("this-node");
    let (address, mac) = (node.address, node.mac);
    world
        .far
        .ip(&format!("neigh add {address} lladdr {mac} dev vx nud permanent"));
    world.far.exec(
        "bridge",
        &["fdb", "add", &mac.to_string(), "dev", "vx", "dst", "192.0.2.1"],
    );
    world
        .far
        .ip(&format!("route add 10.2.7.0/24 via inet6 {address} dev vx"));
    world.node.ip("route add 10.1.5.0/24 via 192.0.2.2");
    world
}

fn need(is_untracked: bool) -> Desired {
    let untracked = Untracked {
        local: nets(&["10.1.0.0/16"]),
        remote: nets(&["10.2.0.0/16"]),
        here: nets(&["10.1.0.0/24"]),
    };
    Desired {
        untracked: is_untracked.then_some(untracked),
        ..desired(Via::Tun)
    }
}

fn bind(sandbox: &crate::node::Sandbox, address: Ipv4Addr, port: u16) -> UdpSocket {
    let socket = sandbox.within(|| UdpSocket::bind((address, port)).unwrap());
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Whether the packet is an IPv4 one between these.
fn is_between(from: Ipv4Addr, to: Ipv4Addr) -> impl Fn(&[u8]) -> bool {
    move |packet| packet.get(12..16) == Some(&from.octets()) && packet.get(16..20) == Some(&to.octets())
}

/// A UDP datagram; UDP over IPv4 may go without a checksum.
fn datagram(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from.0.octets());
    packet.extend(to.0.octets());
    let sum: u32 = packet
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    for field in [from.1, to.1, 9, 0] {
        packet.extend(field.to_be_bytes());
    }
    packet.push(b'x');
    packet
}

fn tracks(world: &World, address: Ipv4Addr) -> bool {
    let table = world.node.exec("cat", &["/proc/net/nf_conntrack"]);
    table.contains(&format!("src={address} "))
}

#[test]
fn what_only_passes_through_is_not_tracked_and_what_ends_here_is() {
    if !privileged() {
        return;
    }
    let world = world();
    let tun = world.node.tun();
    let remote = SocketAddr::from((REMOTE, PORT));
    for is_untracked in [true, false] {
        world.node.settle(&need(is_untracked));
        let worker = bind(&world.far, WORKER_POD, 0);
        worker.send_to(b"x", remote).unwrap();
        tun.wait_for("the worker's packet", is_between(WORKER_POD, REMOTE));
        assert_eq!(tracks(&world, WORKER_POD), !is_untracked);

        let own: Ipv4Addr = "10.1.0.2".parse().unwrap();
        bind(&world.pod, own, 0).send_to(b"x", remote).unwrap();
        tun.wait_for("the own pod's packet", is_between(own, REMOTE));
        assert!(tracks(&world, own), "its NetworkPolicy needs it");
    }
}

#[test]
fn what_comes_in_for_a_pod_elsewhere_is_not_tracked() {
    if !privileged() {
        return;
    }
    let world = world();
    let tun = world.node.tun();
    world.node.settle(&need(true));
    let worker = bind(&world.far, WORKER_POD, PORT);
    tun.send(&datagram((REMOTE, PORT), (WORKER_POD, PORT)));
    let (_, from) = worker.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(from, SocketAddr::from((REMOTE, PORT)));
    assert!(!tracks(&world, REMOTE));
}

/// So a firewall that drops what is not tracked lets this port pass, both ways, and no other.
#[test]
fn one_port_is_tracked_in_transit() {
    if !privileged() {
        return;
    }
    let world = world();
    let firewall = "add table inet firewall
        add chain inet firewall forward { type filter hook forward priority 0; policy drop; }
        add rule inet firewall forward ct state new,established accept
        add rule inet firewall forward ct state untracked counter";
    world.node.exec("nft", &[firewall]);
    let tun = world.node.tun();
    world.node.settle(&need(true));
    let dropped = || {
        let rules = world.node.exec("nft", &["list chain inet firewall forward"]);
        let count = rules.split("packets ").nth(1).unwrap().split(' ').next().unwrap();
        count.parse::<u32>().unwrap()
    };
    let tracked = bind(&world.far, WORKER_POD, tags::TRACKED_PROBE_PORT);
    let before = dropped();
    tun.send(&datagram((REMOTE, PORT), (WORKER_POD, PORT)));
    tun.send(&datagram((REMOTE, PORT), (WORKER_POD, tags::TRACKED_PROBE_PORT)));
    let (_, asker) = tracked.recv_from(&mut [0; 8]).unwrap();
    assert_eq!(dropped(), before + 1, "the other port's did not pass");
    tracked.send_to(b"answer", asker).unwrap();
    tun.wait_for("the answer", is_between(WORKER_POD, REMOTE));
    assert!(tracks(&world, REMOTE));
}

/// The proxy translates a service address on the gateway, so the gateway has to translate the answer back.
#[test]
fn an_answer_from_behind_a_service_address_is_translated_back() {
    if !privileged() {
        return;
    }
    let world = world();
    let proxy = format!(
        "add table inet proxy
        add chain inet proxy pre {{ type nat hook prerouting priority dstnat; }}
        add rule inet proxy pre ip daddr {SERVICE} udp dport {PORT} dnat ip to {WORKER_POD}"
    );
    world.node.exec("nft", &[&proxy]);
    let tun = world.node.tun();
    world.node.settle(&need(true));
    let worker = bind(&world.far, WORKER_POD, PORT);
    tun.send(&datagram((REMOTE, PORT), (SERVICE, PORT)));
    let (_, client) = worker.recv_from(&mut [0; 8]).unwrap();
    worker.send_to(b"answer", client).unwrap();
    tun.wait_for("the answer from the service address", is_between(SERVICE, REMOTE));
    assert!(tracks(&world, REMOTE));
}

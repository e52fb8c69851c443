//! UDP clients of clusterset IPs, who may keep their socket for ever.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::{BACKEND_PORT, SIDES, VIP_PORT, need, world};
use crate::node::{DEADLINE, privileged};

#[test]
fn udp_is_translated_both_ways() {
    if !privileged() {
        return;
    }
    let world = world();
    world.node.settle(&need(|side| vec![side.backends[0]]));
    for side in &SIDES {
        let server = SocketAddr::new(side.backends[0].parse().unwrap(), BACKEND_PORT);
        let server = world.far.within(|| UdpSocket::bind(server).unwrap());
        server.set_read_timeout(Some(DEADLINE)).unwrap();
        let any = SocketAddr::new(side.pod.parse().unwrap(), 0);
        let client = world.pod.within(|| UdpSocket::bind(any).unwrap());
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        let vip = SocketAddr::new(side.vip.parse().unwrap(), VIP_PORT);
        client.send_to(b"question", vip).unwrap();
        let (_, source) = server.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(source.ip().to_string(), side.pod);
        server.send_to(b"answer", source).unwrap();
        let (_, from) = client.recv_from(&mut [0; 16]).unwrap();
        assert_eq!(from, vip, "the answer must come from the clusterset IP");
    }
}

/// A UDP client may keep its socket for ever: it is led on when its backend goes, and only then.
#[test]
fn a_udp_client_is_led_on_when_its_backend_is_gone() {
    if !privileged() {
        return;
    }
    let world = world();
    for side in &SIDES {
        let [first, second] = side.backends.map(|backend| {
            let server = SocketAddr::new(backend.parse().unwrap(), BACKEND_PORT);
            let server = world.far.within(|| UdpSocket::bind(server).unwrap());
            server.set_read_timeout(Some(DEADLINE)).unwrap();
            server
        });
        let any = SocketAddr::new(side.pod.parse().unwrap(), 0);
        let client = world.pod.within(|| UdpSocket::bind(any).unwrap());
        let vip = SocketAddr::new(side.vip.parse().unwrap(), VIP_PORT);
        let reaches = |server: &UdpSocket| {
            client.send_to(b"question", vip).unwrap();
            let (_, source) = server.recv_from(&mut [0; 16]).unwrap();
            assert_eq!(source, client.local_addr().unwrap());
        };
        world.node.settle(&need(|side| vec![side.backends[0]]));
        reaches(&first);
        world.node.settle(&need(|side| side.backends.to_vec()));
        reaches(&first);
        world.node.settle(&need(|side| vec![side.backends[1]]));
        reaches(&second);
        world.node.settle(&need(|_| vec![]));
        client.send_to(b"question", vip).unwrap();
        second.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(second.recv_from(&mut [0; 16]).is_err(), "it is not used any more");
    }
}

#[test]
fn a_udp_client_that_came_before_the_table_is_translated() {
    if !privileged() {
        return;
    }
    let world = world();
    let side = &SIDES[0];
    // Somewhere, as a default route would, and masqueraded.
    world.node.ip("route add 244.174.0.0/16 dev eth0");
    let neighbour = "table ip neighbour {
        chain in { type nat hook prerouting priority dstnat; }
        chain out { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }
    }";
    world.node.exec("nft", &[neighbour]);
    let server = SocketAddr::new(side.backends[0].parse().unwrap(), BACKEND_PORT);
    let server = world.far.within(|| UdpSocket::bind(server).unwrap());
    server.set_read_timeout(Some(DEADLINE)).unwrap();
    let any = SocketAddr::new(side.pod.parse().unwrap(), 0);
    let client = world.pod.within(|| UdpSocket::bind(any).unwrap());
    let vip = SocketAddr::new(side.vip.parse().unwrap(), VIP_PORT);
    client.send_to(b"lost", vip).unwrap();
    let tracked = world.node.exec("cat", &["/proc/net/nf_conntrack"]);
    assert!(tracked.contains(side.vip), "{tracked}");
    world.node.settle(&need(|side| side.backends[..1].to_vec()));
    client.send_to(b"question", vip).unwrap();
    let mut buffer = [0; 16];
    let (len, _) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"question");
}

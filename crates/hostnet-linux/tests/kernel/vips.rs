//! Connections to clusterset IPs, in the world of [`crate::traffic`]: the client is the pod or the node, the backends are addresses of
//! `far`, which is the other cluster, or the pod itself.

mod udp;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use hostnet::{Desired, Op, Protocol, SLOTS, Via, VipElements, VipPort, Vips, plan};
use hostnet_linux::HostNet;

use crate::node::{DEADLINE, Sandbox, desired, nets, peer_vtep, privileged, settle};
use crate::traffic::World;

/// The same in both families.
struct Side {
    vip: &'static str,
    pod: &'static str,
    node: &'static str,
    backends: [&'static str; 2],
}

const SIDES: [Side; 2] = [
    Side {
        vip: "244.174.0.9",
        pod: "10.1.0.2",
        node: "10.1.0.1",
        backends: ["10.2.0.9", "10.2.0.10"],
    },
    Side {
        vip: "fd74:6f6d:626f:6c6f::9",
        pod: "fd01::2",
        node: "fd01::1",
        backends: ["fd02::9", "fd02::a"],
    },
];
const VIP_PORT: u16 = 80;
const BACKEND_PORT: u16 = 8080;

fn vip_port(address: &str, protocol: Protocol, port: u16) -> VipPort {
    VipPort {
        address: address.parse().unwrap(),
        protocol,
        port,
    }
}

/// The node's need, with these backends taking turns in the slots of every clusterset IP, or one alone.
fn need(backends: impl Fn(&Side) -> Vec<&'static str>) -> Desired {
    let mut elements = VipElements::default();
    for side in &SIDES {
        let backends = backends(side);
        elements.known.insert(side.vip.parse().unwrap());
        let backends: Vec<_> = backends
            .iter()
            .map(|backend| SocketAddr::new(backend.parse().unwrap(), BACKEND_PORT))
            .collect();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let port = vip_port(side.vip, protocol, VIP_PORT);
            if let [sole] = backends.as_slice() {
                elements.sole.insert(port, *sole);
                continue;
            }
            for (slot, backend) in (0..SLOTS).zip(backends.iter().cycle()) {
                elements.put(port, slot, *backend);
            }
        }
    }
    Desired {
        vips: Vips {
            range: nets(&["244.174.0.0/16", "fd74:6f6d:626f:6c6f::/112"]),
            elements,
        },
        ..desired(Via::Vtep(peer_vtep().address))
    }
}

fn world() -> World {
    let world = World::new();
    for side in &SIDES {
        world.far.ip(&format!("addr add {} dev lo", side.backends[1]));
    }
    world.far_joins();
    world
}

/// A TCP server that tells each client its own address and the client's. It ends with the test's process.
fn serve(at: &Sandbox, address: &str) {
    let address = SocketAddr::new(address.parse().unwrap(), BACKEND_PORT);
    let listener = at.within(|| TcpListener::bind(address).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap().ip();
            // A client that has gone needs no answer.
            let _ = write!(stream, "{} {peer}", address.ip());
        }
    });
}

/// The backend that answered, and whom it saw.
fn ask(from: &Sandbox, vip: &str) -> io::Result<(IpAddr, IpAddr)> {
    let address = SocketAddr::new(vip.parse().unwrap(), VIP_PORT);
    from.within(|| {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (backend, peer) = answer.split_once(' ').expect("two addresses");
        Ok((backend.parse().unwrap(), peer.parse().unwrap()))
    })
}

fn answers(from: &Sandbox, vip: &str, times: usize) -> (BTreeSet<IpAddr>, BTreeSet<IpAddr>) {
    (0..times).map(|_| ask(from, vip).unwrap()).unzip()
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn connections_spread_over_the_backends_and_keep_their_source() {
    if !privileged() {
        return;
    }
    let world = world();
    world.node.settle(&need(|side| side.backends.to_vec()));
    for side in &SIDES {
        for backend in side.backends {
            serve(&world.far, backend);
        }
        for (client, own) in [(&world.pod, side.pod), (&world.node, side.node)] {
            let (backends, sources) = answers(client, side.vip, 40);
            assert_eq!(backends, addresses(&side.backends), "{} asked {}", own, side.vip);
            assert_eq!(sources, addresses(&[own]), "{}", side.vip);
        }
    }
}

#[test]
fn a_client_with_affinity_stays_with_its_backend() {
    if !privileged() {
        return;
    }
    let world = world();
    let mut wanted = need(|side| side.backends.to_vec());
    let elements = &mut wanted.vips.elements;
    elements.affine = elements.slots.keys().copied().collect();
    world.node.settle(&wanted);
    for side in &SIDES {
        for backend in side.backends {
            serve(&world.far, backend);
        }
        let (first, _) = answers(&world.pod, side.vip, 20);
        assert_eq!(first.len(), 1, "{first:?}");
        // Writing the whole table anew does not draw another hash.
        world.node.exec("nft", &["delete", "table", "inet", "tombolo"]);
        world.node.settle(&wanted);
        assert_eq!(answers(&world.pod, side.vip, 5).0, first);
    }
}

#[test]
fn without_a_backend_a_connect_is_refused_at_once() {
    if !privileged() {
        return;
    }
    let world = world();
    world.node.settle(&need(|_| Vec::new()));
    for side in &SIDES {
        for client in [&world.pod, &world.node] {
            let before = Instant::now();
            let refused = ask(client, side.vip).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused, "{}", side.vip);
            assert!(before.elapsed() < DEADLINE, "it was refused, not given up");
        }
        // What the node itself sends is refused as it is sent, so only a pod hears of it by ICMP.
        let any = SocketAddr::new(side.pod.parse().unwrap(), 0);
        let client = world.pod.within(|| UdpSocket::bind(any).unwrap());
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.connect((side.vip, VIP_PORT)).unwrap();
        client.send(b"x").unwrap();
        let refused = client.recv(&mut [0; 8]).unwrap_err();
        assert_eq!(
            refused.kind(),
            io::ErrorKind::ConnectionRefused,
            "{} over UDP",
            side.vip
        );
    }
}

/// A client that is quicker than this node's view tries again, and gets through.
#[test]
fn a_connect_to_an_address_that_is_not_known_yet_waits_for_it() {
    if !privileged() {
        return;
    }
    let world = world();
    let side = &SIDES[0];
    serve(&world.far, side.backends[0]);
    let known = need(|side| vec![side.backends[0]]);
    let unknown = Desired {
        vips: Vips {
            range: known.vips.range.clone(),
            elements: VipElements::default(),
        },
        ..known.clone()
    };
    world.node.settle(&unknown);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| ask(&world.pod, side.vip));
        crate::node::wait_until("the client's first try", || {
            let counters = world
                .node
                .host(async |host| host.observe("eth0").await.unwrap().counters);
            counters["unknown-v4"] > 0
        });
        world.node.settle(&known);
        assert_eq!(client.join().unwrap().unwrap().0.to_string(), side.backends[0]);
    });
}

#[test]
fn a_pod_reaches_itself() {
    if !privileged() {
        return;
    }
    let world = world();
    let mut wanted = need(|side| vec![side.pod]);
    for side in &SIDES {
        serve(&world.pod, side.pod);
        world.node.settle(&wanted);
    }
    wanted.vips.elements.hairpin = SIDES.iter().map(|side| side.pod.parse().unwrap()).collect();
    world.node.settle(&wanted);
    for side in &SIDES {
        let (backend, source) = ask(&world.pod, side.vip).unwrap();
        assert_eq!(backend.to_string(), side.pod);
        assert_ne!(
            source, backend,
            "answered directly, the client would not know the server"
        );
    }
}

/// kube-proxy in nftables mode: it translates at dstnat, marks for masquerade, and drops what conntrack calls invalid.
#[test]
fn a_neighbour_that_translates_services_changes_nothing() {
    if !privileged() {
        return;
    }
    let world = world();
    let neighbour = "add table inet kube-proxy
        add chain inet kube-proxy pre { type nat hook prerouting priority dstnat; }
        add chain inet kube-proxy out { type nat hook output priority -100; }
        add chain inet kube-proxy post { type nat hook postrouting priority srcnat; }
        add chain inet kube-proxy forwarded { type filter hook forward priority filter; }
        add rule inet kube-proxy pre tcp dport 80 meta mark set 0x4000 dnat ip to 192.0.2.77
        add rule inet kube-proxy out tcp dport 80 meta mark set 0x4000 dnat ip to 192.0.2.77
        add rule inet kube-proxy post meta mark 0x4000 masquerade
        add rule inet kube-proxy forwarded ct state invalid drop";
    world.node.exec("nft", &[neighbour]);
    world.node.settle(&need(|side| side.backends.to_vec()));
    let side = &SIDES[0];
    for backend in side.backends {
        serve(&world.far, backend);
    }
    for (client, own) in [(&world.pod, side.pod), (&world.node, side.node)] {
        let (backends, sources) = answers(client, side.vip, 40);
        assert_eq!(backends, addresses(&side.backends));
        assert_eq!(sources, addresses(&[own]));
    }
}

#[test]
fn a_backend_that_comes_or_goes_moves_connections_from_one_map_to_the_slots_and_back() {
    if !privileged() {
        return;
    }
    let world = world();
    for side in &SIDES {
        serve(&world.far, side.backends[0]);
        serve(&world.far, side.backends[1]);
    }
    for count in [1, 2, 1] {
        world.node.settle(&need(|side| side.backends[..count].to_vec()));
        for side in &SIDES {
            let (backends, _) = answers(&world.pod, side.vip, 40);
            assert_eq!(backends, addresses(&side.backends[..count]));
        }
    }
}

#[test]
fn an_endpoint_that_changes_is_one_small_step() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let before = need(|side| side.backends.to_vec());
    let mut after = before.clone();
    for slots in after.vips.elements.slots.values_mut() {
        slots[7] = None;
        slots[9] = slots[10];
    }
    node.host(async |host| {
        settle(host, &before).await;
        let observed = host.observe("eth0").await.unwrap();
        let ops = plan(&after, &observed).ops;
        let [Op::UpdateVips(update)] = ops.as_slice() else {
            panic!("{ops:?}");
        };
        assert_eq!((update.remove.len(), update.add.len()), (8, 4));
        settle(host, &after).await;
    });
    // A reader that remembers nothing finds the same.
    node.host(async |host| assert_eq!(elements(host).await, after.vips.elements));
}

#[test]
fn elements_of_both_families_come_and_go_by_the_hundred_and_by_the_thousand() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let wanted = |count: u16| {
        let mut wanted = need(|side| side.backends.to_vec());
        for side in &SIDES {
            for number in 1000..1000 + count {
                let port = vip_port(side.vip, Protocol::Sctp, number);
                wanted.vips.elements.affine.insert(port);
                let backend = side.backends[0].parse().unwrap();
                wanted.vips.elements.sole.insert(port, SocketAddr::new(backend, number));
            }
            wanted.vips.elements.hairpin.insert(side.pod.parse().unwrap());
        }
        wanted
    };
    // Two sets in two families: four times as many elements.
    for count in [0, 250, 0, 600, 0] {
        node.host(async |host| {
            settle(host, &wanted(count)).await;
        });
        node.host(async |host| assert_eq!(elements(host).await, wanted(count).vips.elements));
    }
}

#[test]
fn a_change_that_the_kernel_refuses_is_told_and_changes_nothing() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let (before, after) = (need(|side| side.backends.to_vec()), need(|side| vec![side.backends[0]]));
    let maps = (0..SLOTS).flat_map(|slot| ["v4", "v6"].map(|family| format!("slot{slot}_{family}")));
    let maps: Vec<String> = maps.collect();
    for flushed in [&maps[60..61], &maps] {
        let flush = flushed.iter().map(|map| format!("flush map inet tombolo {map};"));
        let flush: String = flush.collect();
        node.host(async |host| {
            settle(host, &before).await;
            let plan = plan(&after, &host.observe("eth0").await.unwrap());
            node.exec("nft", &[&flush]);
            let applied = host.apply(&plan).await;
            let [failure] = applied.failures.as_slice() else {
                panic!("{applied:?}");
            };
            assert!(failure.to_string().contains("No such file"), "{failure}");
            let listed = node.exec("nft", &["list", "map", "inet", "tombolo", "sole_v4"]);
            assert!(!listed.contains("244.174.0.9"), "{listed}");
            settle(host, &after).await;
        });
    }
}

async fn elements(host: &HostNet) -> VipElements {
    host.observe("eth0").await.unwrap().state.vips
}

#[test]
fn elements_that_others_change_are_mended() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    let wanted = need(|side| side.backends.to_vec());
    node.host(async |host| {
        settle(host, &wanted).await;
        for command in [
            "delete element inet tombolo slot3_v4 { 244.174.0.9 . tcp . 80 }",
            "add element inet tombolo slot4_v6 { fd74:6f6d:626f:6c6f::1 . tcp . 1 : fd02::9 . 1 }",
            "flush map inet tombolo slot5_v4",
            "add element inet tombolo sole_v4 { 244.174.0.9 . tcp . 80 : 10.2.0.9 . 1 }",
            "add element inet tombolo affine_v4 { 244.174.0.9 . tcp . 80 }",
            "delete element inet tombolo known_v4 { 244.174.0.9 }",
            "add element inet tombolo hairpin_v4 { 10.1.0.7 . 10.1.0.7 }",
        ] {
            node.exec("nft", &[command]);
            let observed = host.observe("eth0").await.unwrap();
            let ops = plan(&wanted, &observed).ops;
            assert!(matches!(ops.as_slice(), [Op::UpdateVips(_)]), "{command}: {ops:?}");
            settle(host, &wanted).await;
        }
        assert_eq!(elements(host).await, wanted.vips.elements);
    });
    let read_anew = node.host(async |host| elements(host).await);
    assert_eq!(read_anew, wanted.vips.elements);
}

#[test]
fn the_whole_ruleset_can_be_listed_as_text() {
    if !privileged() {
        return;
    }
    let node = Sandbox::node();
    node.settle(&need(|side| side.backends.to_vec()));
    let text = node.exec("nft", &["list", "ruleset"]);
    assert!(text.contains("244.174.0.9 . tcp . 80 : 10.2.0.9 . 8080"), "{text}");
}

//! Faults of links and nodes, seen by sockets of hosts: each is there when it was added, and gone when it was cleared.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use crate::machine::{Machine, is_root, json};

#[test]
fn each_fault_of_a_link_is_felt_and_cleared() {
    if !is_root() {
        return;
    }
    let lab = network("fltl");
    for place in ["west", "west/gw1"] {
        the_link_is_clean(&lab);

        fault(&lab, place, &["--delay", "40ms"]);
        let trip = round_trip(&lab);
        assert!(
            (Duration::from_millis(80)..Duration::from_secs(2)).contains(&trip),
            "{place}: {trip:?}"
        );
        // One way only, and what is there already stays.
        fault(&lab, place, &["--only", "in", "--delay", "0ms", "--duplicate", "100"]);
        let trip = round_trip(&lab);
        assert!(trip >= Duration::from_millis(40), "{place}: {trip:?}");
        assert_eq!(to_west(&lab, 20, 64).len(), 40, "{place}: each arrives twice");

        let listed = json(&lab.output(&["fault", "list", "-o", "json"]));
        assert_eq!(listed[0]["target"], place);
        assert_eq!(listed[0]["link"]["in"]["duplicate"], 100.0);
        clear(&lab);

        fault(&lab, place, &["--loss", "30"]);
        let arrived = to_west(&lab, 400, 64).len();
        assert!((200..360).contains(&arrived), "{place}: {arrived} of 400 arrived");
        clear(&lab);

        fault(&lab, place, &["--reorder", "30"]);
        let numbers = to_west(&lab, 200, 64);
        assert_eq!(
            numbers.iter().collect::<BTreeSet<_>>().len(),
            200,
            "{place}: none is lost"
        );
        assert!(!numbers.is_sorted(), "{place}: some were overtaken");
        clear(&lab);

        // 50 datagrams of 1,042 bytes on the wire, at 8 Mbit/s, take 52 ms.
        fault(&lab, place, &["--rate", "8mbit"]);
        let started = Instant::now();
        assert_eq!(to_west(&lab, 50, 1000).len(), 50);
        assert!(
            started.elapsed() >= Duration::from_millis(50),
            "{:?}",
            started.elapsed()
        );
        clear(&lab);

        assert_eq!(to_west(&lab, 1, 1472), [0], "the links' MTU");
        fault(&lab, place, &["--mtu", "1300", "--no-icmp"]);
        assert_eq!(to_west(&lab, 1, 1272), [0], "{place}: just as large");
        assert_eq!(to_west(&lab, 1, 1273), Vec::<u32>::new(), "{place}: too large vanishes");
        fault(&lab, place, &["--mtu", "1310"]);
        assert!(learns(&lab, "1310"), "{place}: the sender is told of the MTU");
        clear(&lab);
    }
    the_link_is_clean(&lab);
    lab.down();
}

#[test]
fn hosts_behind_one_address_are_reached_as_the_kind_allows() {
    if !is_root() {
        return;
    }
    let lab = network("fltn");
    let router = router(&lab);
    let other = bind(&lab, "broker", "0.0.0.0:0");
    for (kind, admits_other) in [
        ("full-cone", true),
        ("address-restricted", false),
        ("port-restricted", false),
        ("symmetric", false),
    ] {
        fault(&lab, "west", &["--nat", kind]);
        let (server, inside) = (bind(&lab, "east/gw1", EAST), bind(&lab, "west/gw1", WEST));
        let address = server.local_addr().unwrap();
        lab.eventually("the host is heard", || {
            inside.send_to(b"out", address).is_ok() && server.recv(&mut [0; 9]).is_ok()
        });
        inside.send_to(b"out", address).unwrap();
        let (_, seen) = server.recv_from(&mut [0; 9]).unwrap();
        assert_eq!(seen.ip(), router, "{kind}: the host is seen at its router's address");
        server.send_to(b"in", seen).unwrap();
        inside.recv(&mut [0; 9]).unwrap();
        other.send_to(b"in", seen).unwrap();
        assert_eq!(inside.recv(&mut [0; 9]).is_ok(), admits_other, "{kind}: another host");
        server.send_to(b"in", WEST).unwrap();
        assert!(inside.recv(&mut [0; 9]).is_err(), "{kind}: nobody uses its own address");
        // TCP, too: a client inside reaches a server outside.
        assert!(lab.connects("west/gw1", "east/gw1", EAST_HOST), "{kind}");
        clear(&lab);
    }
    let refused = lab.fails(&["fault", "add", "west/gw1", "--nat", "symmetric"]);
    assert!(refused.contains("is no cluster"), "{refused}");
    lab.down();
}

#[test]
fn a_relay_that_is_killed_is_cleared_or_replaced() {
    if !is_root() {
        return;
    }
    let lab = network("fltk");
    for place in ["west", "west/gw1"] {
        fault(&lab, place, &["--delay", "1ms"]);
        the_link_is_clean(&lab);
        lab.ok(&["kill", &format!("{place}/relay")]);
        assert_eq!(to_west(&lab, 1, 64), Vec::<u32>::new(), "a dead relay is a cut link");
        fault(&lab, place, &["--delay", "2ms"]);
        lab.eventually("a new relay", || !to_west(&lab, 1, 64).is_empty());
        lab.ok(&["kill", &format!("{place}/relay")]);
        clear(&lab);
        lab.eventually("the link", || !to_west(&lab, 1, 64).is_empty());
        the_link_is_clean(&lab);
    }
    // Left as they are: what takes the lab down takes them along.
    fault(&lab, "west", &["--loss", "1"]);
    fault(&lab, "east/gw1", &["--delay", "1ms"]);
    lab.down();
}

#[test]
fn a_node_drops_all_or_some_packets_until_that_is_cleared() {
    if !is_root() {
        return;
    }
    let lab = network("fltf");
    let forwarding = || lab.output(&["exec", "east/gw1", "--", "cat", "/proc/sys/net/ipv4/ip_forward"]);
    let rules = || lab.output(&["exec", "east/gw1", "--", "nft", "list", "ruleset"]);
    fault(&lab, "east/gw1", &["--no-forwarding"]);
    fault(&lab, "east/gw1", &["--drop-larger", "1000"]);
    assert_eq!(forwarding(), "0");
    assert!(rules().contains("meta length > 1000 drop"), "{}", rules());
    let listed = lab.output(&["fault", "list"]);
    assert!(
        listed.contains("does not forward; forwards nothing above 1000 bytes"),
        "{listed}"
    );
    lab.ok(&["fault", "clear", "east/gw1"]);
    assert_eq!((forwarding().as_str(), rules().as_str()), ("1", ""));
    let refused = lab.fails(&["fault", "add", "east", "--no-forwarding"]);
    assert!(refused.contains("name one as CLUSTER/NODE"), "{refused}");

    let port = WEST.rsplit_once(':').unwrap().1;
    fault(&lab, "west/gw1", &["--drop-port", port]);
    assert_eq!(to_west(&lab, 3, 64), Vec::<u32>::new(), "nothing to that port arrives");
    clear(&lab);
    the_link_is_clean(&lab);
    lab.down();
}

#[test]
fn a_process_is_stopped_and_goes_on() {
    if !is_root() {
        return;
    }
    let lab = network("fltp");
    lab.ok(&["start", "broker", "--", "sleep", "1000"]);
    let pid = json(&lab.output(&["status", "-o", "json"]))["broker"]["processes"][0]["pid"].clone();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(") ").unwrap().1[..1].to_owned()
    };
    lab.ok(&["fault", "add", "broker", "--freeze"]);
    lab.eventually("it is stopped", || state() == "T");
    assert!(lab.output(&["fault", "list"]).contains("frozen"));
    lab.ok(&["fault", "clear", "broker"]);
    lab.eventually("it goes on", || state() == "S");
    assert_eq!(lab.output(&["fault", "list"]), "");
    let refused = lab.fails(&["fault", "add", "broker"]);
    assert!(refused.contains("--freeze"), "{refused}");
    // A stopped process must not outlive its lab either.
    lab.ok(&["fault", "add", "broker", "--freeze"]);
    lab.down();
}

fn network(name: &str) -> Machine {
    Machine::up(name, &["--network-only", "--seed", "3", "--workers", "0"])
}

fn fault(lab: &Machine, place: &str, what: &[&str]) {
    lab.ok(&[&["fault", "add", place], what].concat());
}

fn clear(lab: &Machine) {
    lab.ok(&["fault", "clear"]);
}

/// No relay is in the way, and every datagram arrives once, in order, at once.
fn the_link_is_clean(lab: &Machine) {
    lab.eventually("the link is healed", || !to_west(lab, 1, 64).is_empty());
    assert_eq!(to_west(lab, 50, 64), (0..50).collect::<Vec<_>>());
}

/// Sends numbered datagrams from east to west, and says which arrived, in order of arrival.
fn to_west(lab: &Machine, count: u32, bytes: usize) -> Vec<u32> {
    let (sender, receiver) = (bind(lab, "east/gw1", EAST), bind(lab, "west/gw1", WEST));
    std::thread::scope(|scope| {
        // Read while they are sent: a socket's buffer holds fewer than 200.
        let arrived = scope.spawn(|| {
            let mut arrived = Vec::new();
            let mut buffer = vec![0; 2000];
            while let Ok(length) = receiver.recv(&mut buffer) {
                assert_eq!(length, bytes);
                arrived.push(u32::from_be_bytes(buffer[..4].try_into().unwrap()));
            }
            arrived
        });
        for number in 0..count {
            let mut datagram = number.to_be_bytes().to_vec();
            datagram.resize(bytes, 0);
            sender.send_to(&datagram, WEST).unwrap();
            if number % 20 == 19 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        arrived.join().unwrap()
    })
}

/// Sends large datagrams until the sender's kernel has learnt the path's MTU.
fn learns(lab: &Machine, mtu: &str) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        to_west(lab, 1, 1400);
        let route = lab.output(&["exec", "east/gw1", "--", "ip", "route", "get", WEST_HOST]);
        if route.contains(&format!("mtu {mtu}")) || Instant::now() > deadline {
            lab.ok(&["exec", "east/gw1", "--", "ip", "route", "flush", "cache"]);
            return route.contains(&format!("mtu {mtu}"));
        }
    }
}

/// The shortest of a few.
fn round_trip(lab: &Machine) -> Duration {
    let (near, far) = (bind(lab, "east/gw1", EAST), bind(lab, "west/gw1", WEST));
    let trips = (0..3).map(|_| {
        let started = Instant::now();
        near.send_to(b"ping", WEST).unwrap();
        far.recv(&mut [0; 9]).unwrap();
        far.send_to(b"pong", EAST).unwrap();
        near.recv(&mut [0; 9]).unwrap();
        started.elapsed()
    });
    trips.min().unwrap()
}

fn bind(lab: &Machine, host: &str, address: &str) -> UdpSocket {
    let socket = lab.inside(host, || UdpSocket::bind(address).unwrap());
    // Longer than anything here takes, unless it is lost.
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

fn router(lab: &Machine) -> Ipv4Addr {
    let state = std::fs::read_to_string(lab.directory().join("state.json")).unwrap();
    let router = json(&state)["clusters"][1]["network"]["router"][0].clone();
    router.as_str().unwrap().split('/').next().unwrap().parse().unwrap()
}

const EAST_HOST: &str = "192.0.2.19";
const EAST: &str = "192.0.2.19:4510";
const WEST_HOST: &str = "192.0.2.35";
const WEST: &str = "192.0.2.35:4510";

//! Floods from a third party, which reaches the gateway and knows its public key.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use tunnel::{DropReason, Engine};

use crate::attacker::{BURST, Flood, answers};
use crate::bed::{Bed, DEADLINE, Namespace, PORT, must_skip, plan, wait_until};
use crate::traffic::{noise, transfer};

/// A namespace with a link to west, at which west is `TARGET`.
struct Stranger {
    socket: UdpSocket,
    _namespace: Namespace,
}

impl Stranger {
    fn beside(bed: &Bed) -> Self {
        let namespace = Namespace::new("stranger");
        let west = &bed.west.namespace;
        namespace.ip(&format!("link add out type veth peer name wild netns {}", west.name()));
        namespace.ip("address add 198.51.100.2/24 dev out");
        namespace.ip("link set out up");
        west.ip("address add 198.51.100.1/24 dev wild");
        west.ip("link set wild up");
        let socket = namespace.run(|| UdpSocket::bind("198.51.100.2:0").unwrap());
        Self {
            socket,
            _namespace: namespace,
        }
    }

    /// Floods west while `work` runs; how many cookies came back.
    fn attack(&self, datagrams: &[Vec<u8>], work: impl FnOnce()) -> u64 {
        let (stop, cookies) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut next = datagrams.iter().cycle();
                while !stop.load(Relaxed) {
                    for datagram in next.by_ref().take(BURST) {
                        // A flood that does not go out is none, which the drops will tell.
                        let _ = self.socket.send_to(datagram, target());
                    }
                    let is_cookie = |answer: &&Vec<u8>| answer.len() == 64 && answer[..4] == [3, 0, 0, 0];
                    cookies.fetch_add(answers(&self.socket).iter().filter(is_cookie).count() as u64, Relaxed);
                }
            });
            // Also when the work panics, or the flood would never end.
            let _stop = Stop(&stop);
            work();
        });
        cookies.into_inner()
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn target() -> SocketAddr {
    SocketAddr::new([198, 51, 100, 1].into(), PORT)
}

#[test]
fn an_established_flow_goes_on_under_every_flood() {
    if must_skip(None) {
        return;
    }
    let bytes = noise(4 << 20);
    for lanes in [1, 2] {
        let bed = Bed::with_lanes(0, lanes);
        let stranger = Stranger::beside(&bed);
        let west = bed.west.engine();
        let handshake = bed.west.cable().unwrap().last_handshake;
        for flood in Flood::ALL {
            let datagrams = flood
                .datagrams(&stranger.socket, target(), &west.public_key(), DEADLINE)
                .expect("a cookie came");
            let before: Vec<_> = DropReason::ALL.iter().map(|reason| west.dropped(*reason)).collect();
            let dropped = |reason: DropReason| west.dropped(reason) - before[reason as usize];
            let cookies = stranger.attack(&datagrams, || {
                let (received, _) = transfer(&bed.east, &bed.west, 0, &bytes);
                assert!(received == bytes, "unharmed under {}", flood.name());
                for reason in reasons(flood) {
                    wait_until("the flood is counted by its reason", || dropped(*reason) > ENOUGH);
                }
            });
            // The first cookies that the third kind asked for may come late.
            if flood != Flood::Cookied {
                let is_answered = flood == Flood::Initiations;
                assert_eq!(cookies > 0, is_answered, "{cookies} cookies for {}", flood.name());
            }
            for reason in [DropReason::NotAuthentic, DropReason::SpoofedSource] {
                assert_eq!(dropped(reason), 0, "{} of {}", reason.label(), flood.name());
            }
        }
        assert_eq!(
            bed.west.cable().unwrap().last_handshake,
            handshake,
            "the session is the same one"
        );
    }
}

fn reasons(flood: Flood) -> &'static [DropReason] {
    match flood {
        Flood::Garbage => &[DropReason::Malformed],
        // Up to the limit they are looked at.
        Flood::Initiations | Flood::Cookied => &[DropReason::RateLimited, DropReason::UnknownKey],
        Flood::Data => &[DropReason::UnknownSession],
    }
}

#[test]
fn a_cable_comes_up_under_a_flood_of_handshakes() {
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_cable(0);
    let stranger = Stranger::beside(&bed);
    let west = bed.west.engine();
    for flood in [Flood::Initiations, Flood::Cookied] {
        let datagrams = flood
            .datagrams(&stranger.socket, target(), &west.public_key(), DEADLINE)
            .expect("a cookie came");
        let before = west.dropped(DropReason::RateLimited);
        stranger.attack(&datagrams, || {
            wait_until("there are more handshakes than may be", || {
                west.dropped(DropReason::RateLimited) > before + ENOUGH
            });
            let wanted = plan(&[(&bed.east, 0)]);
            west.apply(&model::CablePlan {
                peers: vec![],
                ..wanted.clone()
            });
            wait_until("west has no cable", || west.status().is_empty());
            west.apply(&wanted);
            bed.wait_connected();
        });
    }
}

/// More than may be left over from before a flood.
const ENOUGH: u64 = 500;

//! Ten minutes of packets, across several rekeys (every two minutes), between two engines and with stock peers.
//!
//! Opt-in: `TOMBOLO_SOAK=1 cargo test -p tunnel --test kernel soak -- --nocapture`.

use std::io;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use tunnel::{DropReason, Engine};

use crate::bed::{Bed, must_skip};
use crate::stock::{self, BORINGTUN_CLI, Program, WIREGUARD_GO};
use crate::traffic::udp;

const LENGTH: Duration = Duration::from_secs(600);
/// How long a flow may be deaf. A rekey costs nothing, because the session before is good until the new one is.
const PATIENCE: Duration = Duration::from_secs(1);

#[test]
fn no_flow_falls_silent_across_rekeys() {
    if !is_wanted() || must_skip(None) {
        return;
    }
    soak(&Bed::with_lanes(0, 2));
}

#[test]
fn no_flow_to_wireguard_go_falls_silent_across_rekeys() {
    soak_beside(&WIREGUARD_GO);
}

#[test]
fn no_flow_to_boringtun_cli_falls_silent_across_rekeys() {
    soak_beside(&BORINGTUN_CLI);
}

fn soak_beside(program: &Program) {
    if !is_wanted() || program.must_skip() {
        return;
    }
    // Of two lanes the peer gets the first.
    let (bed, _stock, _) = stock::beside(program, true, 0, 2);
    stock::connected(&bed);
    soak(&bed);
}

fn is_wanted() -> bool {
    let is_wanted = std::env::var_os("TOMBOLO_SOAK").is_some_and(|value| value == "1");
    if !is_wanted {
        eprintln!("skipped: opt-in, it takes ten minutes; set TOMBOLO_SOAK=1");
    }
    is_wanted
}

/// Exchanges datagrams in both directions, and says how long any was under way at most.
fn soak(bed: &Bed) {
    let begin = Instant::now();
    let longest = thread::scope(|scope| {
        let flows: Vec<_> = (0..8u32)
            .map(|flow| {
                let (east, west) = (udp(&bed.east, 0), udp(&bed.west, 0));
                scope.spawn(move || exchange(&east, &west, flow, begin))
            })
            .collect();
        let longest = flows.into_iter().map(|flow| flow.join().unwrap()).max();
        longest.unwrap_or_default()
    });
    eprintln!("no datagram was under way for longer than {longest:?}");
    for engine in [&bed.east, &bed.west].iter().filter_map(|side| side.engine.as_ref()) {
        for reason in [
            DropReason::NotAuthentic,
            DropReason::NoLivePeer,
            DropReason::RateLimited,
        ] {
            assert_eq!(engine.dropped(reason), 0, "{}", reason.label());
        }
    }
}

/// One flow; some are busy, others speak seldom, so that sessions grow old in silence too.
fn exchange(east: &UdpSocket, west: &UdpSocket, flow: u32, begin: Instant) -> Duration {
    let (there, back) = (west.local_addr().unwrap(), east.local_addr().unwrap());
    for (socket, other) in [(east, there), (west, back)] {
        socket.connect(other).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    let (mut buffer, mut longest) = ([0; 64], Duration::ZERO);
    let mut numbers = 0u64..;
    while begin.elapsed() < LENGTH
        && let Some(number) = numbers.next()
    {
        thread::sleep(Duration::from_millis(2 << (2 * (flow % 7))));
        for (from, to) in [(east, west), (west, east)] {
            let sent = Instant::now();
            from.send(&number.to_le_bytes()).unwrap();
            let received = loop {
                match to.recv(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    received => break received,
                }
            };
            longest = longest.max(sent.elapsed());
            let after = begin.elapsed();
            let len = received.unwrap_or_else(|error| panic!("{back} and {there} after {after:?}: {error}"));
            assert_eq!(
                buffer[..len],
                number.to_le_bytes(),
                "{back} and {there} after {after:?}"
            );
        }
    }
    longest
}

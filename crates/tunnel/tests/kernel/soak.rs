//! Ten minutes of packets, across several rekeys (every two minutes).
//!
//! Opt-in: `TOMBOLO_SOAK=1 cargo test -p tunnel --test kernel soak -- --nocapture`.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use tunnel::{DropReason, Engine};

use crate::bed::{Bed, must_skip};
use crate::traffic::udp;

const LENGTH: Duration = Duration::from_secs(600);
/// How long a flow may be deaf. A rekey costs nothing, because the session before is good until the new one is.
const PATIENCE: Duration = Duration::from_secs(1);

#[test]
fn no_flow_falls_silent_across_rekeys() {
    if std::env::var_os("TOMBOLO_SOAK").is_none_or(|value| value != "1") {
        eprintln!("skipped: opt-in, it takes ten minutes; set TOMBOLO_SOAK=1");
        return;
    }
    if must_skip(None) {
        return;
    }
    let bed = Bed::with_lanes(0, 2);
    let begin = Instant::now();
    thread::scope(|scope| {
        for flow in 0..8u64 {
            let (east, west) = (udp(&bed.east, 0), udp(&bed.west, 0));
            let (there, back) = (west.local_addr().unwrap(), east.local_addr().unwrap());
            scope.spawn(move || {
                let mut buffer = [0; 64];
                for (socket, other) in [(&east, &west), (&west, &east)] {
                    socket.connect(other.local_addr().unwrap()).unwrap();
                    socket.set_read_timeout(Some(PATIENCE)).unwrap();
                }
                for number in 0u64.. {
                    if begin.elapsed() > LENGTH {
                        break;
                    }
                    // Some flows are busy, others speak seldom, so that sessions grow old in silence too.
                    thread::sleep(Duration::from_millis(2 << (2 * (flow % 7))));
                    for (from, to) in [(&east, &west), (&west, &east)] {
                        from.send(&number.to_le_bytes()).unwrap();
                        let received = loop {
                            match to.recv(&mut buffer) {
                                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                                received => break received,
                            }
                        };
                        let after = begin.elapsed();
                        let len =
                            received.unwrap_or_else(|error| panic!("{back} and {there} after {after:?}: {error}"));
                        assert_eq!(
                            buffer[..len],
                            number.to_le_bytes(),
                            "{back} and {there} after {after:?}"
                        );
                    }
                }
            });
        }
    });
    for side in [&bed.east, &bed.west] {
        for reason in [
            DropReason::NotAuthentic,
            DropReason::NoLivePeer,
            DropReason::RateLimited,
        ] {
            assert_eq!(side.engine().dropped(reason), 0, "{}", reason.label());
        }
    }
}

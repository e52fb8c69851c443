//! Does the other end answer, and how large may a packet to it be? State machines without sockets and without a clock.
//!
//! Each is told what happened (`handle_*`), asked what to send (`poll_*`), and tells when it wants to be asked again
//! (`poll_timeout`). Time is a parameter; chance is a seed.
//!
//! * [`Cable`]: a WireGuard session between two gateways of different clusters. It also decides when to start a handshake.
//! * [`Hop`]: the VXLAN way from a node to a gateway of its own cluster. The gateway only answers.
//! * [`DeepPath`]: from a gateway through a cable to a node behind its other end, and [`Judge`]: what several of them say about that end.
//! * [`choose`]: which of several gateways to use, from what their probes say.
//!
//! ```text
//!            answered probe                 two probes missed
//!    down ───────────────────▶ up ──────────────────────────────▶ suspect
//!     ▲                        ▲ └── heard, unanswered for 3 s ─┐    │  │
//!     │                        └─────── anything heard ─────────│────┘  │ six confirmations, 20 ms apart, all missed
//!     └─────────────────────────────────────────────────────────┴───────┘
//! ```
//!
//! **Never good because we sent something.** A path is up only after a round trip: an answer to a probe of ours within three
//! seconds (on a cable, inside its session). A stock WireGuard peer answers no probes; there a confirmed handshake is the round
//! trip, and it holds for as long as the session may live.
//!
//! **Silence.** A probe is missed when it has no answer after RTT + 4 · variance (at least 40 ms more than the RTT, for machines
//! are busy), and nothing else of the other end has arrived since it left: any authenticated packet is a sign of life. Two misses
//! only raise suspicion. Six confirmations follow, and a single one that is answered ends it. At 2 % random loss each way three
//! misses alone would take a path down about every half hour; all eight are missed once in some 500 years. At the active pace
//! a dead path is known after at most 300 ms and two such waits, from the last thing heard: 2.5 RTT + 380 ms where the RTT is steady.
//!
//! **One way only.** Who hears nothing says so in its probes ("deaf"), and the other end, which still hears it, takes the path down
//! too. Where that word does not come either, hearing without being answered is enough for three seconds.
//!
//! **A closed port** (the gateway's process is gone, its kernel is not) is suspected at the first ICMP error and believed at the second.
//!
//! **Pace.** 100 ms where traffic flows, 1 s where a path is kept ready; all are stretched so that one end sends at most 2,000 probes
//! a second. A path that begins to carry traffic is probed at the new pace at once.
//!
//! **Path MTU.** It starts from what the links at both ends allow. A probe of exactly that size, unfragmentable, is sent when the path comes up
//! and then twice a second (every ten seconds on standbys). If five in a row are lost while small ones are answered, the size is searched for
//! in rounds: eight sizes at once, each up to five times, between the largest that passed and the smallest that did
//! not, so that three rounds find it to the byte. If nothing at all passes, this is about the path and not about its size. A narrowed
//! path is tried for more after a minute, every ten minutes, and when the other end's address changes.
//!
//! **Gray failure.** A gateway may answer every probe and still lose what it should forward. Deep probes go on to nodes behind it, at their
//! addresses in the pod network and by the way that traffic takes: small ones tell whether anything passes, and twice a second some
//! as large as the whole way takes, once with a small answer and once with one of the same size, tell in which direction large ones
//! are lost. A [`Judge`] weighs what the nodes behind one gateway say. It needs two witnesses, for one may be at fault itself; it
//! needs the cable to be sound meanwhile, and a packet of that size to have passed it *after* the first loss behind it, else it is the
//! cable's path that has become narrow; and it convicts only who was seen to work, for where nothing ever passed another gateway
//! would do no better. Both faults are known after at most 1.2 s.
//!
//! A standby is probed deeply too, at its slow pace. Answers to that come by the gateway in use, so only the way there is tested, and only
//! while the gateway in use is sound itself.
//!
//! Gateways do not track what only passes through, and a firewall there may drop what is not tracked. Then every probe of a cable
//! is answered, and no packet of a pod. So while a node does not answer it is also asked at [`DeepPort::Tracked`], which gateways
//! track; an answer from there names the fault.
//!
//! **Who starts.** If both ends of a pair start handshakes at once they get in each other's way, so one is the standing
//! initiator and the other waits three seconds for it. A lost handshake is repeated after 500 to 1,000 ms, spread by chance so
//! that many cables that failed together do not return together. Handshakes go to every candidate address at once until one
//! answers; what answered is tried too from then on.
//!
//! **What is measured.** The last 256 probes since the path came up give the round-trip times and the loss. A probe is lost if it
//! has no answer after three seconds. Probes of size do not count.
//!
//! **Why it is down.** Every state but `Connected` has a [`Reason`] of a closed list, each with one sentence and one mend. Counts in
//! it are coarse (1, 2, 5, 10, 20 …), so that the text changes seldom: whoever publishes it writes on change.
//!
//! The datagram of the probe is a [`Message`]. Its first byte is a version, and bytes after what it knows are padding. In it an end
//! [`Says`] which role it plays, in which epoch, and which clusters it [reaches](Reach).

#![forbid(unsafe_code)]

mod cable;
mod chance;
mod choice;
mod deep;
mod heartbeat;
mod hop;
mod message;
mod pace;
mod path_mtu;
mod reach;
mod reason;
mod rtt;
#[cfg(test)]
mod simulation;
mod window;

pub use cable::{Cable, CableSettings, Liveness};
pub use choice::{Candidate, SETTLED, choose, reconsider_at};
pub use deep::{DeepPath, DeepPort, Direction, Fault, Judge, LargeLoss, Witness};
pub use heartbeat::Request;
pub use hop::Hop;
pub use message::{DecodeError, MAX_ADDRESSES, Message, MessageKind, Says};
pub use pace::{MAX_DEEP_PROBES_PER_SECOND, MAX_PROBES_PER_SECOND, Pace};
pub use reach::Reach;
pub use reason::Reason;
pub use window::RttSummary;

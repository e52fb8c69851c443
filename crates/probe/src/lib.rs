//! Is this cable alive? The answer of one end, as a state machine without sockets and without a clock.
//!
//! A cable is one WireGuard session between two gateways. [`Cable`] decides when to start a handshake, when to send a probe,
//! and what may be said about the other end. It is told what happened (`handle_*`), asked what to send (`poll_*`), and tells
//! when it wants to be asked again ([`Cable::poll_timeout`]). Time is a parameter; chance is a seed.
//!
//! ```text
//!                  session confirmed,              no reply for 3 s,
//!                  probe answered                  or session lost
//!   Connecting ───────────────────────▶ Connected ─────────────────▶ Error
//!       │                                   ▲                          │
//!       └── 10 s without ──▶ Error ─────────┴── session, answer ───────┘
//! ```
//!
//! **Never good because we sent something.** `Connected` needs an authenticated round trip: an answer to a probe of ours that
//! came back inside the session within the time that a cable may be silent. A stock WireGuard peer answers no probes; there a
//! confirmed handshake is the round trip, and it holds for as long as the session may live.
//!
//! **Who starts.** If both ends of a pair start handshakes at once they get in each other's way, so one is the standing
//! initiator and the other waits three seconds for it. A lost handshake is repeated after 500 to 1,000 ms, spread by chance so
//! that many cables that failed together do not return together. Handshakes go to every candidate address at once until one
//! answers; what answered is tried too from then on.
//!
//! **What is measured.** The last 64 probes since the cable came up give the round-trip times and the loss. A probe is lost if it
//! has no answer after a second.
//!
//! **Why it is down.** Every state but `Connected` has a reason in words, which names the addresses that were tried. Counts in
//! it are coarse (1, 2, 5, 10, 20 …), so that the text changes seldom: whoever publishes it writes on change.
//!
//! The datagram of the probe is a [`Message`]. Its first byte is a version, and bytes after what it knows are padding.

#![forbid(unsafe_code)]

mod cable;
mod message;
mod reason;
mod window;

pub use cable::{Cable, CableSettings, Liveness, Request};
pub use message::{DecodeError, Message, MessageKind};
pub use window::RttSummary;

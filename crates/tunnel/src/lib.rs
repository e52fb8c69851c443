//! The data plane of a gateway: packets between a TUN device and cables.
//!
//! A cable is a WireGuard session (boringtun's `Tunn`) with one gateway of another cluster. The engine is told a whole
//! [`CablePlan`](model::CablePlan) at a time through the narrow [`Engine`] trait, and compares it with what it has: a peer that
//! stays keeps its session, its endpoint and its counters.
//!
//! ```text
//!            TUN                                                              UDP
//!   read ──▶ header ──▶ prefix → cluster → live peer ──▶ too big? ──▶ seal ──▶ send
//!  write ◀── source is of the peer's cluster? ◀── probe? ◀── open ◀── peer by index or key ◀── receive
//! ```
//!
//! **Two tables.** *Send* maps the longest prefix to a cluster, and the cluster to one live peer: the chosen one, or if that is dead
//! any other live gateway of the cluster. *Accept* maps the inner source of a decrypted packet to a cluster, which must be the
//! cluster of the peer whose key decrypted it; whichever of that cluster's gateways it was does not matter. WireGuard's
//! AllowedIPs is the case of one gateway a cluster.
//!
//! **Who is it?** Our receiver index names the peer, the lane and the session, so messages of types 2, 3 and 4 name their peer. Type 1 names it by the
//! static key inside. A peer's address is believed only from an answer to a handshake of ours or an authentic data message
//! (a replayed type 1 would move a cable anywhere); a type 1 is answered where it came from, and that is all.
//!
//! **Alive?** [`probe::Cable`] decides when to shake hands, with all addresses of a peer at once, and when to probe. Probes are
//! IPv6/UDP packets between reserved addresses inside the cable; they are taken out before the TUN device, and nothing from
//! or to a reserved address is ever forwarded.
//!
//! **Split.** `switch` decides about packets and touches no device: it writes to a `Wire`, and its tests run in memory.
//! A `lane` is the loop around it: one thread that polls a queue of the TUN device, its sockets, and a wake-up descriptor for new
//! plans. No allocation per packet, no lock per packet, no async runtime. What another thread may see are atomics, and a status
//! that is published on change.
//!
//! **Lanes.** [`Lanes`] runs several of these loops, and they share nothing that a packet needs: each has a queue of the device, sockets,
//! and a session of its own with every peer, so that a cable of two lanes is two WireGuard sessions of one key. A flow stays in
//! one lane, in both directions and at both ends, because both kernels are told the same rule (`steering`): the queue by a hash of
//! the flow that does not depend on the direction, and the socket by the lane in the receiver index, which is
//! `peer << 4 | lane` before the session's eight bits. What comes to a wrong lane all the same is handed over.
//!
//! The first lane decides which gateway of a cluster is in use, and the others follow. A lane whose own session with that gateway does
//! not work hands its packets to the first: that costs speed and nothing else. What the lanes know together is little, and asked
//! once a handshake or once a change: a limit of handshakes, the times of initiations (else one that was recorded in one lane could be
//! replayed in another), and the ways. A lane that panics ends the process, because half of the flows in the dark look like health.
//!
//! The engine owns the TUN link: it sets it up, with the MTU of the plan. Routes into it and addresses are not its business.
//!
//! The source of a packet-too-big error is the packet's own destination unless the plan names another. The plan must not name an address
//! of this node: the kernel drops what comes in from a link with a local source.
//!
//! **Large pieces.** The device leaves streams unsplit and takes them merged; `packet` splits and merges. Datagrams to one address, of
//! one size and with one congestion mark leave in one system call, and arrive so (`udp`). What the kernel cannot do is done packet by
//! packet: it is asked at the start, and a network card that turns out not to be able is noticed at the first error. Which offloads
//! are in use is a metric. A turn of the loop is bounded, so that a small packet waits for no more than a few large ones.
//!
//! **Floods.** What is no message, or for no session, costs a look at its first bytes. What is a handshake costs curve arithmetic, so
//! there is a limit a second for all lanes together; above it a sender must prove its address with a cookie, and has then a share
//! (`switch::crowd`). Every datagram that goes no further is counted by its reason.
//!
//! **Congestion marks** are copied outwards and combined inwards as RFC 6040 says ([`packet::ecn`]).

mod counters;
mod engine;
mod key;
mod lane;
mod lanes;
mod metrics;
mod shared;
mod steering;
mod switch;
mod tun;
mod udp;

pub use counters::{DropReason, DropTotals};
pub use engine::{CableStatus, Engine, Failovers, LaneTotals, Telemetry};
pub use key::{KeyError, PrivateKey, load_or_create_key};
pub use lanes::{EngineConfig, Lanes, StartEngineError, offered_lanes};
pub use tun::{OpenTunError, TunDevice, link_mtu};
pub use udp::BindError;

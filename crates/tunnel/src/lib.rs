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
//! **Who is it?** Our receiver index is `peer << 8 | session`, so messages of types 2, 3 and 4 name their peer. Type 1 names it by the
//! static key inside. A peer's address is believed only from an answer to a handshake of ours or an authentic data message
//! (a replayed type 1 would move a cable anywhere); a type 1 is answered where it came from, and that is all.
//!
//! **Alive?** [`probe::Cable`] decides when to shake hands, with all addresses of a peer at once, and when to probe. Probes are
//! IPv6/UDP packets between reserved addresses inside the cable; they are taken out before the TUN device, and nothing from
//! or to a reserved address is ever forwarded.
//!
//! **Split.** `switch` decides about packets and touches no device: it writes to a `Wire`, and its tests run in memory.
//! [`SingleLane`] is the loop around it: one thread that polls the TUN device, an IPv4 and an IPv6 socket on one port, and a
//! wake-up descriptor for new plans. No allocation per packet, no lock per packet, no async runtime. What another thread may
//! see are atomics, and a status that is published on change.
//!
//! The engine owns the TUN link: it sets it up, with the MTU of the plan. Routes into it and addresses are not its business.
//!
//! The source of a packet-too-big error is the packet's own destination unless the plan names another. The plan must not name an address
//! of this node: the kernel drops what comes in from a link with a local source.
//!
//! **Large pieces.** The device leaves streams unsplit and takes them merged ([`Offloads`]); `packet` splits and merges. Datagrams to one
//! address and of one size leave in one system call, and arrive so (`bulk`). What the kernel cannot do is done packet by packet: at the
//! start for the device, and for the sockets at the first error. A turn of the loop is bounded by packets, not by reads.

mod bulk;
mod counters;
mod devices;
mod engine;
mod key;
mod metrics;
mod single_lane;
mod switch;
mod tun;
mod udp;

pub use counters::DropReason;
pub use engine::{CableStatus, Engine, Failovers};
pub use key::{KeyError, PrivateKey, load_or_create_key};
pub use single_lane::{EngineConfig, SingleLane, StartEngineError};
pub use tun::{Offloads, OpenTunError, TunDevice, link_mtu};
pub use udp::BindError;

//! IP packets as the data plane sees them: read, look up, answer.
//!
//! A gateway touches every packet twice: once on its way into a cable and once on its way out. Both times it must learn
//! who sent it and who it is for ([`IpHeader`]), and find the most specific prefix that holds an address ([`PrefixMap`]).
//! Two kinds of packets it makes itself: the error that tells a sender that its packet does not fit a cable
//! ([`too_big_reply`]), and the small UDP datagrams of the liveness probe ([`write_udp6`], [`Udp6::parse`]), which are IPv6
//! because WireGuard carries nothing but IP.
//!
//! What makes a gateway fast is to meet the kernel in large pieces, with a [`VirtioNetHeader`] in front of each:
//!
//! ```text
//! kernel ── up to 64 KiB ──▶ segment ── packets ──▶ seal ─ ─ ─ ▶ open ── packets ──▶ Coalescer ── up to 64 KiB ──▶ kernel
//! ```
//!
//! [`segment`](segment()) splits in place and [`Coalescer`] merges in place: in bulk traffic neither moves a byte of payload, and neither
//! allocates. What one merges, the other splits into the very same packets. Flows are spread over lanes by [`flow_hash()`], and
//! [`ecn`] carries congestion marks through.
//!
//! Everything here works on bytes that a stranger may have sent. No input makes it panic, allocate without bound or read
//! beyond the slice; what is malformed is an error with a name, so that it can be counted.

#![forbid(unsafe_code)]

mod checksum;
mod coalesce;
pub mod ecn;
mod flow_hash;
mod ip;
mod layers;
mod prefix_map;
#[cfg(test)]
mod sample;
mod segment;
mod too_big;
mod udp6;
mod virtio;

pub use checksum::Checksum;
pub use coalesce::{Coalescer, Merge};
pub use flow_hash::{FLOW_HASH_MULTIPLIER, flow_hash};
pub use ip::{IpHeader, ParseIpError, protocol};
pub use prefix_map::PrefixMap;
pub use segment::{SegmentError, Segments, segment};
pub use too_big::{IPV6_MIN_MTU, too_big_reply};
pub use udp6::{ParseUdpError, UDP6_OVERHEAD, Udp6, write_udp6};
pub use virtio::VirtioNetHeader;

//! IP packets as the data plane sees them: read, look up, answer.
//!
//! A gateway touches every packet twice: once on its way into a cable and once on its way out. Both times it must learn
//! who sent it and who it is for ([`IpHeader`]), and find the most specific prefix that holds an address ([`PrefixMap`]).
//! Two kinds of packets it makes itself: the error that tells a sender that its packet does not fit a cable
//! ([`too_big_reply`]), and the small UDP datagrams of the liveness probe ([`write_udp6`], [`Udp6::parse`]), which are IPv6
//! because WireGuard carries nothing but IP.
//!
//! Everything here works on bytes that a stranger may have sent. No input makes it panic, allocate without bound or read
//! beyond the slice; what is malformed is an error with a name, so that it can be counted.

#![forbid(unsafe_code)]

mod checksum;
mod ip;
mod prefix_map;
mod too_big;
mod udp6;

pub use checksum::Checksum;
pub use ip::{IpHeader, ParseIpError, protocol};
pub use prefix_map::PrefixMap;
pub use too_big::{IPV6_MIN_MTU, too_big_reply};
pub use udp6::{ParseUdpError, UDP6_OVERHEAD, Udp6, write_udp6};

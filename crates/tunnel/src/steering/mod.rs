//! Which lane takes what: decided in the kernel, by two small programs of ours.
//!
//! * [`datagrams`]: of the sockets that share the cable port, that of the lane which a datagram names.
//! * [`flows`]: of the queues of the TUN device, the same for both directions of a connection and on both ends of a cable.

pub(crate) mod datagrams;
pub(crate) mod flows;

/// The most lanes there are: a receiver index has four bits for them.
pub(crate) const MAX_LANES: usize = 16;

/// What is before the session number in the receiver index of a peer's lane: `peer << 4 | lane`.
pub(crate) fn tunnel_index(slot: usize, lane: usize) -> u32 {
    // The number of peers is far below the 2^20 that there is room for.
    (slot << LANE_BITS | lane) as u32
}

/// The peer's slot in a receiver index of ours.
pub(crate) fn slot_of(receiver_index: u32) -> usize {
    (receiver_index >> (SESSION_BITS + LANE_BITS)) as usize
}

/// The lane in a receiver index of ours, or of another gateway of our kind.
pub(crate) fn lane_of(receiver_index: u32) -> usize {
    (receiver_index >> SESSION_BITS) as usize & (MAX_LANES - 1)
}

const SESSION_BITS: u32 = 8;
const LANE_BITS: u32 = 4;

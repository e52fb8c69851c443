//! Clusterset IPs: which address a service has, and where connections to it go.
//!
//! ```text
//!  sync leader   imports + what they have ──▶ allocate ──▶ ServiceImport.spec.ips
//!  every node    imports ─┐
//!                exports ─┼─▶ backends ──▶ slots ──▶ hostnet::Vips ──▶ nftables
//!                live    ─┘
//! ```
//!
//! **An address** is the hash of `<namespace>/<name>` into the range, or the next free one. What an import has it keeps for as long
//! as it lives, so the object itself is the memory, and a new leader comes to the same result.
//!
//! **Backends** of a port are the ready endpoints of the live clusters that expose it, the own cluster's alone while it has one
//! (`tombolo.dev/prefer` changes that). Each of a cluster's endpoints weighs as much as there are ready endpoints behind it: a cluster
//! tells at most a hundred, and the true count. What a cluster cannot tell (host-network pods) is reached through its service's own IP.
//!
//! **Slots.** A (address, protocol, port) with several backends has [`hostnet::SLOTS`] slots, and a connection's hash picks one.
//! Weighted rendezvous hashing fills them: every slot ranks all backends and takes the first. So a backend that goes gives up its
//! own slots and moves no other, and one that comes takes its share and nothing else moves. Nodes rank differently, so that a
//! service with more backends than slots still uses all of them.
//!
//! **Transit** is not tracked on gateways once there are clusterset IPs ([`untracked`]): packets between clusters are then pod to pod, and
//! any gateway can carry any of them.

mod allocate;
mod backends;
mod slots;
mod transit;

pub use allocate::allocate;
pub use backends::{Backend, rtt_class, vips};
pub use slots::fill;
pub use transit::untracked;

/// FNV-1a with a final mix (SplitMix64): the same on every machine and in every release, unlike the standard hasher.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // A boundary, so that ("a", "bc") is not ("ab", "c").
        hash = (hash ^ 0xff).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash)
}

fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

//! A bounded subset that hardly changes when its source does (rendezvous hashing): every endpoint has a rank of its own, and the
//! highest ranks are taken. An endpoint that comes or goes displaces one other at the most.

use std::net::IpAddr;

use model::ReadyEndpoint;

/// At most `limit` endpoints, ordered by address.
pub(super) fn stable(mut endpoints: Vec<ReadyEndpoint>, limit: usize) -> Vec<ReadyEndpoint> {
    if endpoints.len() > limit {
        endpoints.sort_by_key(|endpoint| (rank(endpoint.address), endpoint.address));
        endpoints.truncate(limit);
    }
    endpoints.sort();
    endpoints
}

/// FNV-1a with a final mix (SplitMix64): the same on every machine and in every release, unlike the standard hasher.
fn rank(address: IpAddr) -> u64 {
    let octets = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    let hash = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

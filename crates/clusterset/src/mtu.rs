//! How large a packet may be.
//!
//! A cable seals a packet of the tunnel's MTU into one datagram that must pass both underlays whole, so the MTU of a path is the
//! smaller underlay of the two gateways in use, less what WireGuard adds over the family in use. The VXLAN hop before it has an
//! MTU of its own ([`hostnet::vxlan_mtu`]), by which the routes over it are capped.
//!
//! That is where a cable starts. What it takes in truth is measured by probes and told in the gateway's connections; from then on the
//! measured size counts.

use std::net::SocketAddr;

use model::names::{WIREGUARD_OVERHEAD_V4, WIREGUARD_OVERHEAD_V6};
use model::{ClusterId, Gateway, Snapshot};

/// MTU of packets inside a cable between two gateways as far as their own links are concerned, bytes.
pub fn computed(mine: &Gateway, theirs: &Gateway) -> u16 {
    let underlay = mine.underlay_mtu.min(theirs.underlay_mtu);
    underlay.saturating_sub(overhead(mine, theirs)).max(MIN_MTU)
}

/// MTU of packets inside a cable between two gateways, bytes: measured, or computed while the cable has not been up.
pub fn cable(mine: &Gateway, theirs: &Gateway) -> u16 {
    let computed = computed(mine, theirs);
    let connection = mine
        .connections
        .iter()
        .find(|connection| connection.remote == theirs.id);
    let measured = connection.filter(|connection| connection.state.is_usable());
    measured
        .and_then(|connection| connection.mtu)
        .unwrap_or(computed)
        .min(computed)
}

/// MTU of the path to a cluster: the smallest of all cables that a failover may put it on, so that a failover never makes a
/// packet too large.
pub fn path(snapshot: &Snapshot, remote: &ClusterId) -> u16 {
    let pairs = snapshot
        .gateways_of(&snapshot.cluster)
        .flat_map(|mine| snapshot.gateways_of(remote).map(move |theirs| cable(mine, theirs)));
    pairs.min().unwrap_or(DEFAULT)
}

/// MTU of the TUN device of a gateway: what its widest cable takes. Routes hold each path to its own.
pub fn tun(snapshot: &Snapshot, mine: &Gateway) -> u16 {
    let remote = snapshot
        .gateways
        .values()
        .filter(|gateway| gateway.id.cluster != snapshot.cluster);
    remote.map(|theirs| computed(mine, theirs)).max().unwrap_or(DEFAULT)
}

/// The overhead of the address in use, or, before there is one, of the largest that may come into use.
fn overhead(mine: &Gateway, theirs: &Gateway) -> u16 {
    let connection = mine
        .connections
        .iter()
        .find(|connection| connection.remote == theirs.id);
    let in_use = connection.and_then(|connection| connection.remote_address);
    let of = |address: &SocketAddr| {
        if address.is_ipv4() {
            WIREGUARD_OVERHEAD_V4
        } else {
            WIREGUARD_OVERHEAD_V6
        }
    };
    match in_use {
        Some(address) => of(&address),
        None => theirs
            .candidates()
            .iter()
            .map(of)
            .max()
            .unwrap_or(WIREGUARD_OVERHEAD_V6),
    }
}

/// IPv6 does not go below (RFC 8200 §5). A measured size may be less, which only IPv4 can follow.
const MIN_MTU: u16 = 1280;
/// Ethernet less WireGuard over IPv6: what holds before anything is known, bytes.
pub const DEFAULT: u16 = 1420;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_smaller_underlay_less_the_overhead_of_its_family() {
        let mine = Gateway {
            underlay_mtu: 1500,
            ..fixture::gateway("east", "a")
        };
        let theirs = |mtu, ip: &str| Gateway {
            underlay_mtu: mtu,
            ..fixture::gateway_at("west", "b", ip)
        };
        assert_eq!(cable(&mine, &theirs(1500, "192.0.2.1")), 1440);
        assert_eq!(cable(&mine, &theirs(1400, "192.0.2.1")), 1340);
        assert_eq!(cable(&mine, &theirs(1500, "2001:db8::1")), 1420);
        assert_eq!(cable(&mine, &theirs(600, "192.0.2.1")), 1280);
    }

    #[test]
    fn what_was_measured_counts() {
        let theirs = fixture::gateway_at("west", "b", "192.0.2.1");
        let connection = |state, mtu| model::Connection {
            mtu: Some(mtu),
            ..model::Connection::new(theirs.id.clone(), state)
        };
        let mine = |state, mtu| Gateway {
            connections: vec![connection(state, mtu)],
            ..fixture::gateway("east", "a")
        };
        use model::ConnectionState::{Connected, Error};
        assert_eq!(cable(&mine(Connected, 1240), &theirs), 1240);
        assert_eq!(
            cable(&mine(Connected, 9000), &theirs),
            1440,
            "no more than the links take"
        );
        assert_eq!(cable(&mine(Error, 1240), &theirs), 1440, "a dead cable has none");
    }

    #[test]
    fn a_path_is_as_wide_as_its_narrowest_cable() {
        let mut snapshot = Snapshot::empty("east".parse().unwrap());
        let narrow = Gateway {
            underlay_mtu: 1400,
            ..fixture::gateway_at("west", "c", "192.0.2.2")
        };
        for gateway in [
            fixture::gateway("east", "a"),
            fixture::gateway_at("west", "b", "192.0.2.1"),
            narrow,
        ] {
            snapshot.gateways.insert(gateway.id.clone(), gateway);
        }
        assert_eq!(path(&snapshot, &"west".parse().unwrap()), 1340);
        assert_eq!(path(&snapshot, &"nowhere".parse().unwrap()), 1420);
        assert_eq!(
            tun(&snapshot, &snapshot.gateways[&fixture::gateway("east", "a").id]),
            1440
        );
    }
}

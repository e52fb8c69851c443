//! What the node's kernel says: addresses of its links, and their MTU.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use model::names;
use nix::ifaddrs::getifaddrs;

/// Addresses of the node's links, and the MTU of each of those links.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeAddresses {
    addresses: Vec<(IpAddr, u16)>,
}

impl NodeAddresses {
    /// Asks the kernel. Our own links do not count.
    pub(crate) fn read() -> io::Result<Self> {
        let mut addresses = Vec::new();
        for entry in getifaddrs()? {
            if [names::TUN_LINK, names::VXLAN_LINK].contains(&entry.interface_name.as_str()) {
                continue;
            }
            let address = entry.address.as_ref().and_then(|address| {
                let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
                v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
            });
            if let Some(address) = address {
                // A link may go between the two questions.
                addresses.extend(link_mtu(&entry.interface_name).map(|mtu| (address, mtu)));
            }
        }
        Ok(Self { addresses })
    }

    /// Whether this is an address of the node.
    pub(crate) fn has(&self, address: &IpAddr) -> bool {
        self.addresses.iter().any(|(own, _)| own == address)
    }

    /// The smallest MTU of the links that hold these addresses: whichever a cable uses, its packets fit.
    pub(crate) fn underlay_mtu(&self, addresses: &[IpAddr]) -> Option<u16> {
        let of_links = self.addresses.iter().filter(|(address, _)| addresses.contains(address));
        of_links.map(|(_, mtu)| *mtu).min()
    }
}

fn link_mtu(link: &str) -> Option<u16> {
    // Not /sys: it shows the links of the namespace in which it was mounted.
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let socket = UdpSocket::bind(any)
        .or_else(|_| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)))
        .ok()?;
    let mtu = tunnel::link_mtu(&socket, link).ok()?;
    // Loopback's is 65,536.
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_found_with_its_mtu() {
        let node = NodeAddresses::read().unwrap();
        assert_eq!(node.underlay_mtu(&["127.0.0.1".parse().unwrap()]), Some(u16::MAX));
        assert_eq!(node.underlay_mtu(&["192.0.2.77".parse().unwrap()]), None);
    }

    #[test]
    fn the_smallest_underlay_counts() {
        let at = |text: &str, mtu| (text.parse::<IpAddr>().unwrap(), mtu);
        let node = NodeAddresses {
            addresses: vec![
                at("192.0.2.1", 1500),
                at("2001:db8::1", 1400),
                at("10.1.0.1", 1450),
                at("10.1.1.1", 1450),
            ],
        };
        let underlay: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(node.underlay_mtu(&underlay), Some(1400));
    }
}

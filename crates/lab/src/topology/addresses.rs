//! Where a lab's addresses come from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{IpFamily, Network};

/// Hands out networks in order and prefixes at random.
#[derive(Debug)]
pub(super) struct Pool {
    family: IpFamily,
    rng: fastrand::Rng,
    /// Second octets of 10.0.0.0/8 that nobody has yet, in random order.
    octets: Vec<u8>,
}

impl Pool {
    /// Clusters for which there are networks: three documentation /24s of /28s, less the broker's and the internet's own.
    pub(super) const CLUSTERS: usize = 46;
    /// Nodes that fit into a /28 beside the router, the API server and the two addresses that no host may have.
    pub(super) const NODES: usize = 12;

    /// Prefixes in `taken` are somebody else's.
    pub(super) fn new(seed: u64, family: IpFamily, taken: &[IpNet]) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut octets: Vec<u8> = (1..=254).collect();
        rng.shuffle(&mut octets);
        octets.retain(|octet| {
            let own = v4(*octet);
            !taken.iter().any(|taken| taken.contains(&own) || own.contains(taken))
        });
        Self { family, rng, octets }
    }

    pub(super) fn network(&self, switch: String, number: usize) -> Network {
        let number = u8::try_from(number).expect("the number of clusters is bounded");
        let [first, second, third] = DOCUMENTATION[usize::from(number / 16)];
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(first, second, third, (number % 16) * 16), 28);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, u16::from(number), 0, 0, 0, 0, 0), 64);
        let prefixes = self.pick(IpNet::V4(v4), IpNet::V6(v6));
        Network {
            number,
            switch,
            router: prefixes.into_iter().map(|prefix| nth_in(prefix, 1)).collect(),
        }
    }

    /// The addresses of a network's host: the API server is the first, nodes follow.
    pub(super) fn host(network: &Network, index: usize) -> Vec<IpNet> {
        let number = u32::try_from(index).expect("the number of nodes is bounded") + 2;
        network
            .router
            .iter()
            .map(|router| nth_in(router.trunc(), number))
            .collect()
    }

    /// Pod prefixes and service prefixes that no other cluster has.
    pub(super) fn prefixes(&mut self) -> (Vec<IpNet>, Vec<IpNet>) {
        let mut octet = || {
            self.octets
                .pop()
                .expect("two per cluster, and the number of clusters is bounded")
        };
        let (pods, services) = (octet(), octet());
        // RFC 4193 wants 40 random bits. The first eight are made unique by an octet that is.
        let unique = 0xfd00 | u16::from(pods);
        let (global, site): (u16, u16) = (self.rng.u16(..), self.rng.u16(..));
        let subnet = u16::from(self.rng.u8(..0xff)) << 8;
        let v6 = |subnet, length| {
            IpNet::V6(Ipv6Net::new_assert(
                Ipv6Addr::new(unique, global, site, subnet, 0, 0, 0, 0),
                length,
            ))
        };
        (
            self.pick(v4(pods), v6(subnet, 56)),
            self.pick(v4(services), v6(0xff00, 112)),
        )
    }

    /// A node's part of the cluster's pod prefix: a /24 or a /64.
    pub(super) fn node_prefix(cluster: IpNet, index: usize) -> IpNet {
        let length = if cluster.addr().is_ipv4() { 24 } else { 64 };
        let mut subnets = cluster.subnets(length).expect("the cluster's prefix is wider");
        subnets.nth(index).expect("the number of nodes is bounded")
    }

    fn pick(&self, v4: IpNet, v6: IpNet) -> Vec<IpNet> {
        match self.family {
            IpFamily::V4 => vec![v4],
            IpFamily::V6 => vec![v6],
            IpFamily::Dual => vec![v4, v6],
        }
    }
}

fn v4(octet: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, octet, 0, 0), 16))
}

/// The address at an offset in a prefix.
pub(crate) fn nth(prefix: IpNet, offset: u32) -> IpAddr {
    match prefix.network() {
        IpAddr::V4(first) => Ipv4Addr::from(u32::from(first) + offset).into(),
        IpAddr::V6(first) => Ipv6Addr::from(u128::from(first) + u128::from(offset)).into(),
    }
}

/// The address at an offset, with the length of the prefix.
pub(crate) fn nth_in(prefix: IpNet, offset: u32) -> IpNet {
    IpNet::new_assert(nth(prefix, offset), prefix.prefix_len())
}

/// RFC 5737.
const DOCUMENTATION: [[u8; 3]; 3] = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];

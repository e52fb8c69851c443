use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn options(seed: u64, clusters: usize, ip_family: IpFamily) -> Options {
    Options {
        lab: "t".parse().unwrap(),
        seed,
        clusters: (0..clusters).map(|number| format!("c{number}")).collect(),
        gateways: 2,
        workers: 1,
        ip_family,
        underlay_mtu: 1500,
        is_overlapping: false,
        servers: Vec::new(),
    }
}

fn families() -> impl Strategy<Value = IpFamily> {
    prop_oneof![Just(IpFamily::V4), Just(IpFamily::V6), Just(IpFamily::Dual)]
}

/// Every prefix that somebody owns: the clusters' pods and services, and the hosts' networks.
fn prefixes(topology: &Topology) -> Vec<IpNet> {
    let networks = topology
        .networks()
        .flat_map(|(network, _)| network.router.iter().map(IpNet::trunc));
    let claimed = topology
        .clusters
        .iter()
        .flat_map(|cluster| cluster.pod_prefixes.iter().chain(&cluster.service_prefixes));
    networks.chain(claimed.copied()).collect()
}

proptest! {
    #[test]
    fn no_two_prefixes_overlap(seed: u64, clusters in 1..=Pool::CLUSTERS, family in families()) {
        let prefixes = prefixes(&Topology::generate(&options(seed, clusters, family)).unwrap());
        for (index, one) in prefixes.iter().enumerate() {
            for other in &prefixes[..index] {
                prop_assert!(!one.contains(other) && !other.contains(one), "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_seed_repeats_the_lab(seed: u64, family in families()) {
        let options = options(seed, 3, family);
        let once = Topology::generate(&options).unwrap();
        prop_assert_eq!(&once, &Topology::generate(&options).unwrap());
        let read: Topology = serde_json::from_str(&serde_json::to_string(&once).unwrap()).unwrap();
        prop_assert_eq!(once, read, "the state file keeps everything");
    }

    #[test]
    fn every_address_lies_in_its_network_and_is_alone(seed: u64, clusters in 1..=Pool::CLUSTERS, family in families()) {
        let topology = Topology::generate(&options(seed, clusters, family)).unwrap();
        let mut seen = BTreeSet::new();
        for (network, hosts) in topology.networks() {
            for (index, router) in network.router.iter().enumerate() {
                prop_assert!(seen.insert(router.addr()));
                for host in &hosts {
                    prop_assert!(router.contains(&host.addresses[index].addr()));
                    prop_assert!(seen.insert(host.addresses[index].addr()));
                }
            }
        }
        for cluster in &topology.clusters {
            for node in &cluster.nodes {
                for (own, all) in node.pod_prefixes.iter().zip(&cluster.pod_prefixes) {
                    prop_assert!(all.contains(own));
                    prop_assert!(seen.insert(own.addr()), "{own} is given to one node only");
                }
            }
        }
    }
}

#[test]
fn seeds_differ() {
    let of = |seed| Topology::generate(&options(seed, 2, IpFamily::Dual)).unwrap().clusters;
    assert_ne!(of(1)[0].pod_prefixes, of(2)[0].pod_prefixes);
}

#[test]
fn overlap_is_had_for_the_asking() {
    let topology = Topology::generate(&Options {
        is_overlapping: true,
        ..options(1, 2, IpFamily::V4)
    })
    .unwrap();
    assert_eq!(topology.clusters[0].pod_prefixes, topology.clusters[1].pod_prefixes);
}

#[test]
fn the_largest_cluster_fits_its_network() {
    let topology = Topology::generate(&Options {
        gateways: 4,
        workers: 8,
        ..options(1, Pool::CLUSTERS, IpFamily::V4)
    })
    .unwrap();
    let last = topology.clusters.last().unwrap();
    let network = last.network.router[0].trunc();
    let highest = last.nodes.last().unwrap().host.address();
    assert!(network.contains(&highest) && highest != network.broadcast());
}

#[test]
fn dns_is_at_the_tenth_address() {
    let mut cluster = Topology::generate(&options(1, 1, IpFamily::V4))
        .unwrap()
        .clusters
        .remove(0);
    cluster.service_prefixes = vec!["10.96.0.0/16".parse().unwrap(), "fd00::/112".parse().unwrap()];
    assert_eq!(
        cluster.dns_addresses(),
        ["10.96.0.10".parse::<IpAddr>().unwrap(), "fd00::a".parse().unwrap()]
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = options(1, 2, IpFamily::Dual);
        change(&mut options);
        Topology::generate(&options).unwrap_err()
    };
    assert_eq!(refused(&|o| o.clusters = vec![]), TopologyError::ClusterCount(0));
    assert_eq!(
        refused(&|o| o.clusters[1] = "c0".into()),
        TopologyError::DuplicateCluster("c0".into())
    );
    assert_eq!(
        refused(&|o| o.clusters[1] = "broker".into()),
        TopologyError::ReservedName("broker".into())
    );
    for bad in ["", "East", "-a", "a-", "a/b", "a123456789012345678901"] {
        assert_eq!(
            refused(&|o| o.clusters[1] = bad.into()),
            TopologyError::ClusterName(bad.into())
        );
    }
    assert_eq!(
        refused(&|o| (o.gateways, o.workers) = (0, 0)),
        TopologyError::NodeCount(0)
    );
    assert_eq!(refused(&|o| o.workers = 11), TopologyError::NodeCount(13));
    assert_eq!(
        refused(&|o| o.underlay_mtu = 1279),
        TopologyError::UnderlayMtu { mtu: 1279, least: 1280 }
    );
    for bad in ["", "a-b", "A", "abcdefghijklm"] {
        assert!(bad.parse::<LabName>().is_err(), "{bad}");
    }
}

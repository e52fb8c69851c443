use std::collections::BTreeSet;

use hostnet::Untracked;
use ipnet::IpNet;
use model::{Cluster, Node, PrefixSet, Snapshot};

use crate::claims;

/// What a gateway leaves untracked: see [`Untracked`].
///
/// None on a node that carries no cables, and on one that cannot tell its own pods from those behind it. None as well while the cluster
/// has no clusterset IPs: then every flow goes to a service address, and answers must be translated back where it was.
pub fn untracked(snapshot: &Snapshot, me: &Node) -> Option<Untracked> {
    if !me.is_gateway || me.pod_prefixes.is_empty() || snapshot.clusterset_range.is_empty() {
        return None;
    }
    let accepted = claims::accepted(snapshot);
    let pods = |cluster: &Cluster| -> Vec<IpNet> {
        let Some(accepted) = accepted.get(&cluster.id) else {
            return Vec::new();
        };
        let claimed = cluster.pod_prefixes.iter();
        claimed
            .filter(|prefix| accepted.contains(prefix.network()))
            .copied()
            .collect()
    };
    let others = snapshot
        .clusters
        .values()
        .filter(|cluster| cluster.id != snapshot.cluster);
    Some(Untracked {
        local: pods(snapshot.own()?).into_iter().collect(),
        remote: others.flat_map(pods).collect(),
        here: set(&me.pod_prefixes),
    })
}

fn set(prefixes: &PrefixSet) -> BTreeSet<IpNet> {
    prefixes.iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn only_a_gateway_that_knows_its_pods_leaves_transit_untracked() {
        let mut snapshot = Snapshot::empty("east".parse().unwrap());
        for (name, pods) in [
            ("east", "10.1.0.0/16"),
            ("west", "10.2.0.0/16"),
            ("thief", "10.2.0.0/16"),
        ] {
            let cluster = Cluster {
                created: (i64::from(name == "thief"), name.into()),
                ..fixture::cluster(name, pods)
            };
            snapshot.clusters.insert(cluster.id.clone(), cluster);
        }
        let gateway = Node {
            name: "gw1".parse().unwrap(),
            uid: "uid".into(),
            addresses: vec![],
            pod_prefixes: PrefixSet::parse(["10.1.7.0/24"]).unwrap(),
            is_gateway: true,
            is_ready: true,
        };
        assert_eq!(untracked(&snapshot, &gateway), None, "no clusterset IPs");
        snapshot.clusterset_range = PrefixSet::parse(["244.174.0.0/16"]).unwrap();
        let nets = |text: &str| BTreeSet::from([text.parse().unwrap()]);
        let expected = Untracked {
            local: nets("10.1.0.0/16"),
            remote: nets("10.2.0.0/16"),
            here: nets("10.1.7.0/24"),
        };
        assert_eq!(untracked(&snapshot, &gateway), Some(expected));
        for (is_gateway, pod_prefixes) in [(false, gateway.pod_prefixes.clone()), (true, PrefixSet::default())] {
            let other = Node {
                is_gateway,
                pod_prefixes,
                ..gateway.clone()
            };
            assert_eq!(untracked(&snapshot, &other), None);
        }
    }
}

//! Which member may use which prefix.
//!
//! Two members may claim the same addresses, at the same moment even, because nobody checks before writing. So everybody decides
//! afterwards, and alike: the older claim wins (creation on the broker, then uid), and the loser's prefix is routed by nobody.
//! Age cannot be gained later, so a claim that was accepted stays accepted for as long as its member stays.

use std::collections::BTreeMap;

use ipnet::IpNet;
use model::{Cluster, ClusterId, ClusterState, PrefixSet, Snapshot};

/// A prefix that its member may not use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlap {
    /// The loser.
    pub cluster: ClusterId,
    /// The loser's prefix.
    pub prefix: IpNet,
    /// The winner.
    pub with: ClusterId,
    /// The winner's prefix.
    pub with_prefix: IpNet,
}

/// The outcome for all members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What each member may use.
    pub accepted: BTreeMap<ClusterId, PrefixSet>,
    /// What was refused, and for whom.
    pub overlaps: Vec<Overlap>,
}

/// Decides all claims. Members that were evicted claim nothing; one that is leaving keeps its claim until it is gone.
pub fn arbitrate<'a>(clusters: impl IntoIterator<Item = &'a Cluster>) -> Verdict {
    let mut claimants: Vec<&Cluster> = clusters
        .into_iter()
        .filter(|cluster| cluster.state != ClusterState::Evicted)
        .collect();
    claimants.sort_by_key(|cluster| (&cluster.created, &cluster.id));
    let mut verdict = Verdict::default();
    let mut taken: Vec<(IpNet, ClusterId)> = Vec::new();
    for cluster in claimants {
        let mut accepted = Vec::new();
        for prefix in cluster.prefixes().iter() {
            let winner = taken
                .iter()
                .find(|(other, _)| other.contains(prefix) || prefix.contains(other));
            match winner {
                Some((with_prefix, with)) => verdict.overlaps.push(Overlap {
                    cluster: cluster.id.clone(),
                    prefix: *prefix,
                    with: with.clone(),
                    with_prefix: *with_prefix,
                }),
                None => accepted.push(*prefix),
            }
        }
        taken.extend(accepted.iter().map(|prefix| (*prefix, cluster.id.clone())));
        verdict
            .accepted
            .insert(cluster.id.clone(), accepted.into_iter().collect());
    }
    verdict
}

/// What each member may use.
pub fn accepted(snapshot: &Snapshot) -> BTreeMap<ClusterId, PrefixSet> {
    arbitrate(snapshot.clusters.values()).accepted
}

/// What a member that was evicted had and nobody has since.
pub fn abandoned(evicted: &Cluster, accepted: &BTreeMap<ClusterId, PrefixSet>) -> PrefixSet {
    let of_others: Vec<&IpNet> = accepted.values().flat_map(PrefixSet::iter).collect();
    let prefixes = evicted.prefixes();
    let is_free = |prefix: &&IpNet| {
        let overlaps = |other: &&&IpNet| other.contains(*prefix) || prefix.contains(**other);
        !of_others.iter().any(|other| overlaps(&other))
    };
    prefixes.iter().filter(is_free).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ProtocolRange;
    use proptest::prelude::*;

    fn cluster(id: &str, created: i64, prefixes: &[&str]) -> Cluster {
        Cluster {
            id: id.parse().unwrap(),
            pod_prefixes: PrefixSet::parse(prefixes).unwrap(),
            service_prefixes: PrefixSet::default(),
            protocol: ProtocolRange { min: 1, max: 1 },
            state: ClusterState::Active,
            created: (created, id.to_owned()),
        }
    }

    #[test]
    fn the_older_claim_wins_and_the_rest_of_the_loser_is_kept() {
        let clusters = [
            cluster("new", 2, &["10.1.0.0/16", "10.9.0.0/16"]),
            cluster("old", 1, &["10.0.0.0/12"]),
        ];
        let verdict = arbitrate(&clusters);
        assert_eq!(verdict.accepted[&"old".parse().unwrap()].to_string(), "10.0.0.0/12");
        assert!(verdict.accepted[&"new".parse().unwrap()].is_empty());
        assert_eq!(verdict.overlaps.len(), 2);
        assert_eq!(verdict.overlaps[0].with.as_str(), "old");
    }

    #[test]
    fn equal_age_is_settled_by_uid_and_an_evicted_member_claims_nothing() {
        let mut clusters = vec![cluster("b", 1, &["10.1.0.0/16"]), cluster("a", 1, &["10.1.0.0/16"])];
        assert_eq!(arbitrate(&clusters).overlaps[0].cluster.as_str(), "b");
        clusters[1].state = ClusterState::Evicted;
        assert_eq!(arbitrate(&clusters).overlaps, []);
    }

    #[test]
    fn what_an_evicted_member_had_is_abandoned_until_somebody_claims_it() {
        let mut clusters = vec![
            cluster("gone", 1, &["10.1.0.0/16", "10.2.0.0/16"]),
            cluster("new", 2, &["10.2.7.0/24"]),
        ];
        clusters[0].state = ClusterState::Evicted;
        let accepted = arbitrate(&clusters).accepted;
        assert_eq!(abandoned(&clusters[0], &accepted).to_string(), "10.1.0.0/16");
    }

    fn claimants() -> impl Strategy<Value = Vec<Cluster>> {
        let prefix = (0u8..8, 8u8..20).prop_map(|(bits, len)| format!("10.{}.0.0/{}", u32::from(bits) * 16, len));
        let prefix = prefix.prop_map(|text| text.parse::<IpNet>().unwrap().trunc());
        let claimant = (0i64..3, proptest::collection::vec(prefix, 1..4));
        proptest::collection::vec(claimant, 1..6).prop_map(|claims| {
            let named = claims.into_iter().enumerate();
            let cluster = |(index, (created, prefixes)): (usize, (i64, Vec<IpNet>))| Cluster {
                pod_prefixes: prefixes.into_iter().collect(),
                ..cluster(&format!("c{index}"), created, &[])
            };
            named.map(cluster).collect()
        })
    }

    proptest! {
        #[test]
        fn the_order_of_hearing_does_not_matter(clusters in claimants(), seed: prop::sample::Index) {
            let mut shuffled = clusters.clone();
            shuffled.rotate_left(seed.index(clusters.len()));
            shuffled.reverse();
            prop_assert_eq!(arbitrate(&clusters), arbitrate(&shuffled));
        }

        #[test]
        fn no_two_members_are_accepted_for_the_same_address(clusters in claimants()) {
            let accepted: Vec<_> = arbitrate(&clusters).accepted.into_values().collect();
            for (index, mine) in accepted.iter().enumerate() {
                for theirs in &accepted[index + 1..] {
                    prop_assert_eq!(mine.overlap(theirs), None);
                }
            }
        }

        #[test]
        fn a_newcomer_takes_nothing_from_the_accepted(clusters in claimants()) {
            let before = arbitrate(&clusters);
            let newcomer = cluster("zz", 9, &["10.0.0.0/8"]);
            let after = arbitrate(clusters.iter().chain([&newcomer]));
            for (id, prefixes) in before.accepted {
                prop_assert_eq!(&after.accepted[&id], &prefixes);
            }
        }
    }
}

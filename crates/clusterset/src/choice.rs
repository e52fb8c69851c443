//! Which gateway is the active one of a cluster.
//!
//! Each cluster chooses its own: the gateway agent that holds the role says so in its `Gateway`, with the epoch in which it got
//! the role. Two may say so for a moment while the role moves; the higher epoch is the newer truth. Where nobody says so yet, the
//! order of priority and name decides, so that all nodes and all clusters still choose alike.
//!
//! What the API tells may be old, and says nothing of who is alive. So nodes probe the gateways of their cluster themselves
//! ([`LocalGateway`]), and [`ways`] chooses for each other cluster among those that answer and reach it, by the same order.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Instant;

use model::{ClusterId, Gateway, NodeName, ProbeRole, Snapshot};
use probe::Candidate;

/// The active gateway of a cluster, or the one that comes first while none claims to be.
pub fn active<'a>(snapshot: &'a Snapshot, cluster: &'a ClusterId) -> Option<&'a Gateway> {
    snapshot.gateways_of(cluster).min_by_key(|gateway| {
        (
            !gateway.active,
            Reverse(if gateway.active { gateway.epoch } else { 0 }),
            Reverse(gateway.priority),
            &gateway.id,
        )
    })
}

/// The own cluster's active gateway.
pub fn own_active(snapshot: &Snapshot) -> Option<&Gateway> {
    active(snapshot, &snapshot.cluster)
}

/// What this node's probes say of one gateway of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalGateway {
    /// Whether it answers; none while it has not had the time for its first answer.
    pub is_up: Option<bool>,
    /// Since when it answers.
    pub up_since: Option<Instant>,
    /// What it says of itself.
    pub role: ProbeRole,
    /// The clusters that it reaches, each with the MTU of its cable; none while it means another list of clusters than we do.
    pub reach: Option<BTreeMap<ClusterId, Option<u16>>>,
    /// The largest packet that the way to it takes, bytes.
    pub mtu: u16,
}

/// The way from this node to one other cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The gateway of the own cluster that packets go to first.
    pub gateway: NodeName,
    /// What the whole way takes as far as was measured, bytes.
    pub mtu: Option<u16>,
}

/// Ways by cluster. A cluster with `None` cannot be reached now; one that is missing has not been looked at.
pub type Ways = BTreeMap<ClusterId, Option<Way>>;

/// The other clusters, as gateway and nodes count them when they tell each other which ones are reached.
pub fn others(snapshot: &Snapshot) -> impl Iterator<Item = &ClusterId> {
    snapshot.clusters.keys().filter(|id| **id != snapshot.cluster)
}

/// The way to each other cluster. `before` are the ways in use; a gateway that came back does not take over at once.
pub fn ways(snapshot: &Snapshot, gateways: &BTreeMap<NodeName, LocalGateway>, before: &Ways, now: Instant) -> Ways {
    others(snapshot)
        .filter_map(|cluster| {
            let places: Vec<_> = gateways.iter().collect();
            let candidates: Vec<_> = places
                .iter()
                .map(|(node, gateway)| candidate(snapshot, cluster, node, gateway))
                .collect();
            let current = before.get(cluster).and_then(Option::as_ref);
            let current = places
                .iter()
                .position(|(node, _)| current.is_some_and(|way| way.gateway == **node));
            match probe::choose(&candidates, current, now) {
                Some(place) => {
                    let (node, gateway) = places[place];
                    let cable = gateway
                        .reach
                        .as_ref()
                        .and_then(|reach| reach.get(cluster).copied().flatten());
                    let way = Way {
                        gateway: node.clone(),
                        mtu: Some(cable.map_or(gateway.mtu, |cable| cable.min(gateway.mtu))),
                    };
                    Some((cluster.clone(), Some(way)))
                }
                // While somebody may still answer, what was holds.
                None if gateways.values().any(|gateway| gateway.is_up.is_none()) => {
                    before.get(cluster).map(|way| (cluster.clone(), way.clone()))
                }
                None => Some((cluster.clone(), None)),
            }
        })
        .collect()
}

fn candidate(snapshot: &Snapshot, cluster: &ClusterId, node: &NodeName, gateway: &LocalGateway) -> Candidate {
    let reaches = gateway
        .reach
        .as_ref()
        .is_none_or(|reach| reach.get(cluster).is_some_and(Option::is_some));
    Candidate {
        live_since: gateway.up_since.filter(|_| reaches && gateway.is_up == Some(true)),
        role: gateway.role,
        is_broken: false,
        is_preferred: own_active(snapshot).is_some_and(|active| active.id.node == *node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use std::time::Duration;

    fn joined() -> Snapshot {
        let mut snapshot = Snapshot::empty("east".parse().unwrap());
        for (name, prefix) in [
            ("east", "10.1.0.0/16"),
            ("north", "10.3.0.0/16"),
            ("west", "10.2.0.0/16"),
        ] {
            let cluster = fixture::cluster(name, prefix);
            snapshot.clusters.insert(cluster.id.clone(), cluster);
        }
        snapshot
    }

    /// A gateway that has answered for a minute and reaches these clusters.
    fn answering(active: bool, reached: &[&str], now: Instant) -> LocalGateway {
        let reach = ["north", "west"].map(|name| (name.parse().unwrap(), reached.contains(&name).then_some(1440)));
        LocalGateway {
            is_up: Some(true),
            up_since: Some(now - Duration::from_secs(60)),
            role: ProbeRole {
                active,
                draining: false,
                epoch: 1,
            },
            reach: Some(reach.into_iter().collect()),
            mtu: 1450,
        }
    }

    fn gateways(both: [LocalGateway; 2]) -> BTreeMap<NodeName, LocalGateway> {
        ["gw1", "gw2"]
            .map(|node| node.parse().unwrap())
            .into_iter()
            .zip(both)
            .collect()
    }

    fn via<'a>(ways: &'a Ways, cluster: &str) -> Option<&'a str> {
        let way = ways[&cluster.parse::<ClusterId>().unwrap()].as_ref();
        way.map(|way| way.gateway.as_str())
    }

    #[test]
    fn each_cluster_has_the_gateway_that_reaches_it() {
        let now = Instant::now() + Duration::from_secs(100);
        let both = gateways([
            answering(true, &["north"], now),
            answering(false, &["north", "west"], now),
        ]);
        let chosen = ways(&joined(), &both, &Ways::new(), now);
        assert_eq!(
            (via(&chosen, "north"), via(&chosen, "west")),
            (Some("gw1"), Some("gw2"))
        );
        let way = chosen[&"west".parse::<ClusterId>().unwrap()].as_ref();
        assert_eq!(way.and_then(|way| way.mtu), Some(1440));
    }

    #[test]
    fn a_cluster_that_nobody_reaches_has_no_way() {
        let now = Instant::now() + Duration::from_secs(100);
        let both = gateways([answering(true, &["north"], now), answering(false, &["north"], now)]);
        let chosen = ways(&joined(), &both, &Ways::new(), now);
        assert_eq!((via(&chosen, "north"), via(&chosen, "west")), (Some("gw1"), None));
    }

    #[test]
    fn a_dead_gateway_is_left_and_comes_back_when_it_has_settled() {
        let now = Instant::now() + Duration::from_secs(100);
        let all = ["north", "west"];
        let mut both = [answering(true, &all, now), answering(false, &all, now)];
        let before = ways(&joined(), &gateways(both.clone()), &Ways::new(), now);
        assert_eq!(via(&before, "west"), Some("gw1"));
        both[0].is_up = Some(false);
        let moved = ways(&joined(), &gateways(both.clone()), &before, now);
        assert_eq!(via(&moved, "west"), Some("gw2"));
        both[0] = answering(true, &all, now);
        both[0].up_since = Some(now);
        let early = ways(&joined(), &gateways(both.clone()), &moved, now);
        assert_eq!(via(&early, "west"), Some("gw2"));
        let settled = ways(&joined(), &gateways(both), &early, now + probe::SETTLED);
        assert_eq!(via(&settled, "west"), Some("gw1"));
    }

    #[test]
    fn before_the_first_answers_what_was_holds() {
        let now = Instant::now() + Duration::from_secs(100);
        let mut silent = answering(false, &[], now);
        (silent.is_up, silent.up_since) = (None, None);
        let both = gateways([silent.clone(), silent]);
        assert_eq!(ways(&joined(), &both, &Ways::new(), now), Ways::new());
    }

    fn chosen(gateways: Vec<Gateway>) -> String {
        let mut snapshot = Snapshot::empty("east".parse().unwrap());
        for gateway in gateways {
            snapshot.gateways.insert(gateway.id.clone(), gateway);
        }
        active(&snapshot, &"west".parse().unwrap()).unwrap().id.node.to_string()
    }

    #[test]
    fn the_newest_claim_wins() {
        let gateway = |node, active, epoch| Gateway {
            active,
            epoch,
            ..fixture::gateway("west", node)
        };
        assert_eq!(
            chosen(vec![
                gateway("a", true, 3),
                gateway("b", true, 4),
                gateway("c", false, 9)
            ]),
            "b"
        );
    }

    #[test]
    fn without_a_claim_priority_and_name_decide() {
        let gateway = |node, priority| Gateway {
            priority,
            ..fixture::gateway("west", node)
        };
        assert_eq!(chosen(vec![gateway("b", 0), gateway("a", 0)]), "a");
        assert_eq!(chosen(vec![gateway("b", 5), gateway("a", 0)]), "b");
    }
}

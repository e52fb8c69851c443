//! Which gateway is the active one of a cluster.
//!
//! Each cluster chooses its own: the gateway agent that holds the role says so in its `Gateway`, with the epoch in which it got
//! the role. Two may say so for a moment while the role moves; the higher epoch is the newer truth. Where nobody says so yet, the
//! order of priority and name decides, so that all nodes and all clusters still choose alike.

use std::cmp::Reverse;

use model::{ClusterId, Gateway, Snapshot};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

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

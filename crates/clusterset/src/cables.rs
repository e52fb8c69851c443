//! What the data plane of one gateway is to do.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    CablePlan, ClusterId, ClusterState, ConnectionState, Gateway, GatewayId, PeerPlan, ProbeMode, ProbeRole, Snapshot,
    probe_address,
};

use crate::{choice, claims, mtu};

/// The plan of gateway `me`: a cable to every gateway of every other member with which it shares a protocol version, hot also
/// while neither is active. A cluster that takes part no longer has none.
pub fn plan(snapshot: &Snapshot, me: &GatewayId, role: ProbeRole) -> CablePlan {
    let accepted = claims::accepted(snapshot);
    let mut plan = CablePlan {
        role,
        carries: role.active,
        mtu: own_mtu(snapshot, me),
        doubts: lost_by_others(snapshot, me),
        ..CablePlan::default()
    };
    if snapshot.own().is_some_and(|own| own.state != ClusterState::Active) {
        return plan;
    }
    let own_protocol = snapshot.own().map(|own| own.protocol);
    for cluster in snapshot.clusters.values() {
        let speaks_ours = own_protocol.is_none_or(|own| own.newest_common(cluster.protocol).is_some());
        if cluster.id == snapshot.cluster || cluster.state != ClusterState::Active || !speaks_ours {
            continue;
        }
        let prefixes = accepted.get(&cluster.id);
        for prefix in prefixes.into_iter().flat_map(|prefixes| prefixes.iter()) {
            plan.send.push((*prefix, cluster.id.clone()));
            plan.accept.push((*prefix, cluster.id.clone()));
        }
        let mine = snapshot.gateways.get(me);
        plan.peers
            .extend(snapshot.gateways_of(&cluster.id).map(|theirs| peer(mine, theirs)));
        if let Some(active) = choice::active(snapshot, &cluster.id) {
            plan.chosen.insert(cluster.id.clone(), active.id.clone());
        }
    }
    without_shared_keys(&mut plan, snapshot);
    plan
}

fn peer(mine: Option<&Gateway>, gateway: &Gateway) -> PeerPlan {
    PeerPlan {
        gateway: gateway.id.clone(),
        public_key: gateway.public_key,
        candidates: gateway.candidates(),
        probe_address: match gateway.probe {
            ProbeMode::Tombolo => Some(probe_address(&gateway.public_key)),
            ProbeMode::None => None,
        },
        mtu: mine.map_or(mtu::DEFAULT, |mine| mtu::computed(mine, gateway)),
        lanes: match gateway.probe {
            ProbeMode::Tombolo => mine.map_or(1, |mine| mine.lanes).min(gateway.lanes).max(1),
            ProbeMode::None => 1,
        },
    }
}

fn own_mtu(snapshot: &Snapshot, me: &GatewayId) -> u16 {
    match snapshot.gateways.get(me) {
        Some(mine) => mtu::tun(snapshot, mine),
        None => mtu::path(snapshot, &me.cluster),
    }
}

/// The other gateways of our cluster, each with the clusters to all of whose gateways it has lost its cables.
fn lost_by_others(snapshot: &Snapshot, me: &GatewayId) -> BTreeSet<(GatewayId, ClusterId)> {
    let others = snapshot.gateways_of(&me.cluster).filter(|gateway| gateway.id != *me);
    let lost_by = |gateway: &Gateway| {
        let mut all_lost: BTreeMap<ClusterId, bool> = BTreeMap::new();
        for connection in &gateway.connections {
            let is_lost = connection.state == ConnectionState::Error;
            *all_lost.entry(connection.remote.cluster.clone()).or_insert(true) &= is_lost;
        }
        let id = gateway.id.clone();
        let lost = all_lost.into_iter().filter(|(_, is_lost)| *is_lost);
        lost.map(move |(cluster, _)| (id.clone(), cluster))
    };
    others.flat_map(lost_by).collect()
}

/// A key stands for one gateway. Where two claim the same key, that of the older member keeps it: a cable cannot tell them
/// apart, and a member must not be able to take another's place by publishing its key.
fn without_shared_keys(plan: &mut CablePlan, snapshot: &Snapshot) {
    let mut owner = BTreeMap::new();
    let mut peers: Vec<_> = plan.peers.iter().collect();
    peers.sort_by_key(|peer| {
        (
            snapshot
                .clusters
                .get(&peer.gateway.cluster)
                .map(|cluster| &cluster.created),
            &peer.gateway,
        )
    });
    for peer in peers {
        owner.entry(peer.public_key).or_insert_with(|| peer.gateway.clone());
    }
    plan.peers
        .retain(|peer| owner.get(&peer.public_key) == Some(&peer.gateway));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use model::{Cluster, Connection, ProtocolRange};

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::empty("east".parse().unwrap());
        for (name, prefix) in [
            ("east", "10.1.0.0/16"),
            ("west", "10.2.0.0/16"),
            ("north", "10.3.0.0/16"),
        ] {
            let cluster = fixture::cluster(name, prefix);
            snapshot.clusters.insert(cluster.id.clone(), cluster);
            for node in ["a", "b"] {
                let gateway = fixture::gateway(name, node);
                snapshot.gateways.insert(gateway.id.clone(), gateway);
            }
        }
        snapshot
    }

    fn plan_of(snapshot: &Snapshot) -> CablePlan {
        plan(snapshot, &fixture::gateway("east", "a").id, ProbeRole::default())
    }

    #[test]
    fn a_cluster_that_another_gateway_has_lost_wholly_is_doubted() {
        use ConnectionState::{Connected, Error};
        let doubts = |of: &str, states: [ConnectionState; 2]| {
            let mut snapshot = snapshot();
            let own = fixture::gateway("east", of).id;
            let connections = ["a", "b"].into_iter().zip(states).map(|(node, state)| {
                let remote = fixture::gateway("west", node).id;
                Connection::new(remote, state)
            });
            snapshot.gateways.get_mut(&own).unwrap().connections = connections.collect();
            let doubts = plan_of(&snapshot).doubts.into_iter();
            let texts = doubts.map(|(gateway, cluster)| format!("{gateway} {cluster}"));
            texts.collect::<Vec<_>>()
        };
        assert_eq!(doubts("b", [Error, Error]), ["east.b west"]);
        assert!(doubts("b", [Error, Connected]).is_empty(), "it has a way");
        assert!(doubts("a", [Error, Error]).is_empty(), "its own losses it knows better");
    }

    #[test]
    fn every_gateway_of_every_other_member_has_a_cable() {
        let plan = plan_of(&snapshot());
        assert_eq!(plan.peers.len(), 4);
        assert_eq!(plan.send.len(), 2);
        assert_eq!(plan.chosen.len(), 2);
        assert!(plan.peers.iter().all(|peer| peer.gateway.cluster.as_str() != "east"));
    }

    #[test]
    fn members_that_left_or_speak_another_protocol_have_none() {
        let mut snapshot = snapshot();
        let member = |snapshot: &mut Snapshot, name: &str, change: fn(&mut Cluster)| {
            change(snapshot.clusters.get_mut(&name.parse().unwrap()).unwrap());
        };
        member(&mut snapshot, "west", |cluster| cluster.state = ClusterState::Leaving);
        member(&mut snapshot, "north", |cluster| {
            cluster.protocol = ProtocolRange { min: 7, max: 9 }
        });
        let plan = plan_of(&snapshot);
        assert_eq!((plan.peers.len(), plan.send.len()), (0, 0));
    }

    #[test]
    fn a_cluster_that_leaves_has_no_cables() {
        let mut snapshot = snapshot();
        snapshot.clusters.get_mut(&"east".parse().unwrap()).unwrap().state = ClusterState::Leaving;
        let plan = plan_of(&snapshot);
        assert!(plan.peers.is_empty() && plan.send.is_empty() && plan.accept.is_empty());
    }

    #[test]
    fn a_lost_claim_is_neither_sent_nor_accepted() {
        let mut snapshot = snapshot();
        let north = snapshot.clusters.get_mut(&"north".parse().unwrap()).unwrap();
        north.pod_prefixes = model::PrefixSet::parse(["10.2.3.0/24"]).unwrap();
        north.created = (99, "north".into());
        let plan = plan_of(&snapshot);
        assert_eq!(plan.send.len(), 1);
        assert_eq!(plan.accept, plan.send);
        assert_eq!(plan.peers.len(), 4, "its cables stay, so that it can be told why");
    }

    #[test]
    fn a_borrowed_key_gets_no_cable() {
        let mut snapshot = snapshot();
        snapshot.clusters.get_mut(&"west".parse().unwrap()).unwrap().created = (7, String::new());
        let victim = snapshot.gateways[&fixture::gateway("north", "a").id].public_key;
        snapshot
            .gateways
            .get_mut(&fixture::gateway("west", "b").id)
            .unwrap()
            .public_key = victim;
        let holders: Vec<_> = plan_of(&snapshot)
            .peers
            .into_iter()
            .filter(|peer| peer.public_key == victim)
            .collect();
        assert_eq!(holders.len(), 1);
        assert_eq!(holders[0].gateway.cluster.as_str(), "north");
    }

    #[test]
    fn both_ends_settle_on_the_fewer_lanes_and_a_stock_peer_has_one() {
        let mut snapshot = snapshot();
        let offer = |snapshot: &mut Snapshot, cluster, node, lanes| {
            let id = fixture::gateway(cluster, node).id;
            snapshot.gateways.get_mut(&id).unwrap().lanes = lanes;
        };
        offer(&mut snapshot, "east", "a", 4);
        offer(&mut snapshot, "west", "a", 8);
        offer(&mut snapshot, "west", "b", 2);
        offer(&mut snapshot, "north", "a", 8);
        let north = fixture::gateway("north", "a").id;
        snapshot.gateways.get_mut(&north).unwrap().probe = ProbeMode::None;
        let lanes: BTreeMap<_, _> = plan_of(&snapshot)
            .peers
            .into_iter()
            .map(|peer| (peer.gateway.to_string(), peer.lanes))
            .collect();
        let wanted = [("north.a", 1), ("north.b", 1), ("west.a", 4), ("west.b", 2)];
        assert_eq!(lanes, wanted.map(|(name, lanes)| (name.to_owned(), lanes)).into());
    }

    #[test]
    fn a_stock_peer_is_not_probed() {
        let mut snapshot = snapshot();
        snapshot
            .gateways
            .get_mut(&fixture::gateway("west", "a").id)
            .unwrap()
            .probe = ProbeMode::None;
        let plan = plan_of(&snapshot);
        assert_eq!(plan.peers.iter().filter(|peer| peer.probe_address.is_none()).count(), 1);
    }
}

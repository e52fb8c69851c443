use std::net::IpAddr;

use model::{CablePlan, ClusterId};
use packet::PrefixMap;

use super::{Peer, Peers};

/// Prefix → cluster, for destinations and for sources, and cluster → the peer that traffic for it takes.
#[derive(Default)]
pub(super) struct Tables {
    send: PrefixMap<usize>,
    accept: PrefixMap<usize>,
    clusters: Vec<ClusterRoute>,
    /// By slot of the peer: its cluster in `clusters`.
    cluster_of: Vec<Option<usize>>,
}

struct ClusterRoute {
    id: ClusterId,
    members: Vec<usize>,
    chosen: Option<usize>,
    /// The chosen peer, or while that is dead another live one.
    current: Option<usize>,
}

impl Tables {
    /// `before` are the tables that these replace.
    pub(super) fn new(plan: &CablePlan, peers: &Peers, before: &Self) -> Self {
        let mut tables = Self::default();
        let send: Vec<_> = plan
            .send
            .iter()
            .map(|(prefix, id)| (*prefix, tables.index_of(id)))
            .collect();
        let accept: Vec<_> = plan
            .accept
            .iter()
            .map(|(prefix, id)| (*prefix, tables.index_of(id)))
            .collect();
        tables.send = send.into_iter().collect();
        tables.accept = accept.into_iter().collect();
        for (slot, peer) in peers.slots.iter().enumerate() {
            let cluster = peer.as_ref().map(|peer| tables.index_of(&peer.gateway().cluster));
            tables.cluster_of.push(cluster);
            if let (Some(peer), Some(cluster)) = (peer, cluster) {
                let is_chosen = plan.chosen.get(&peer.gateway().cluster) == Some(peer.gateway());
                let cluster = &mut tables.clusters[cluster];
                cluster.members.push(slot);
                cluster.chosen = cluster.chosen.or(is_chosen.then_some(slot));
            }
        }
        for cluster in &mut tables.clusters {
            let same = before.clusters.iter().find(|other| other.id == cluster.id);
            cluster.current = same.and_then(|same| same.current);
        }
        tables.choose(peers);
        tables
    }

    /// Points every cluster at its chosen peer if that is alive, else at the live one with the best claim to be active.
    pub(super) fn choose(&mut self, peers: &Peers) {
        for cluster in &mut self.clusters {
            let is_live = |slot: &usize| peers.at(*slot).is_some_and(Peer::is_usable);
            let before = cluster.current;
            cluster.current = cluster.chosen.filter(is_live).or_else(|| {
                let live = cluster.members.iter().copied().filter(is_live);
                live.max_by_key(|slot| peers.at(*slot).map(Peer::claim))
            });
            if before != cluster.current {
                let via = cluster
                    .current
                    .and_then(|slot| peers.at(slot))
                    .map(|peer| peer.gateway().to_string());
                tracing::info!(cluster = %cluster.id, via, "traffic to the cluster has a new way");
            }
        }
    }

    /// The cluster that packets to this address go to.
    pub(super) fn cluster_towards(&self, destination: IpAddr) -> Option<usize> {
        self.send.lookup(destination).copied()
    }

    /// The live peer of a cluster.
    pub(super) fn way_to(&self, cluster: usize) -> Option<usize> {
        self.clusters.get(cluster)?.current
    }

    /// Whether the peer in this slot may use this inner source.
    pub(super) fn accepts(&self, slot: usize, source: IpAddr) -> bool {
        let cluster = self.cluster_of.get(slot).copied().flatten();
        cluster.is_some() && self.accept.lookup(source).copied() == cluster
    }

    /// Whether traffic prefers the peer in this slot.
    pub(super) fn is_chosen(&self, slot: usize) -> bool {
        let cluster = self.cluster_of.get(slot).copied().flatten();
        cluster.is_some_and(|cluster| self.clusters[cluster].chosen == Some(slot))
    }

    fn index_of(&mut self, id: &ClusterId) -> usize {
        self.clusters
            .iter()
            .position(|cluster| cluster.id == *id)
            .unwrap_or_else(|| {
                self.clusters.push(ClusterRoute {
                    id: id.clone(),
                    members: Vec::new(),
                    chosen: None,
                    current: None,
                });
                self.clusters.len() - 1
            })
    }
}

use std::net::IpAddr;
use std::time::Instant;

use model::{CablePlan, ClusterId};
use packet::PrefixMap;

use super::Peers;
use super::ways::Chosen;
use crate::engine::Failovers;

/// Prefix → cluster, for destinations and for sources, and cluster → the peer that traffic for it takes.
#[derive(Default)]
pub(super) struct Tables {
    send: PrefixMap<usize>,
    accept: PrefixMap<usize>,
    clusters: Vec<ClusterRoute>,
    /// By slot of the peer: its cluster in `clusters`.
    cluster_of: Vec<Option<usize>>,
    failovers: Failovers,
    /// Of the ways that were followed last.
    version: u64,
}

struct ClusterRoute {
    id: ClusterId,
    members: Vec<usize>,
    chosen: Option<usize>,
    /// The live peer in use.
    current: Option<usize>,
}

impl Tables {
    /// `before` are the tables that these replace. Until ways are chosen or followed they are those of before.
    pub(super) fn new(plan: &CablePlan, peers: &Peers, before: &Self) -> Self {
        let mut tables = Self {
            failovers: before.failovers,
            ..Self::default()
        };
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
        tables
    }

    /// Points every cluster at the live peer with the best claim to be active. True if that moved any traffic.
    pub(super) fn choose(&mut self, peers: &Peers, now: Instant) -> bool {
        let mut moved = false;
        for cluster in &mut self.clusters {
            let before = cluster.current;
            let candidates: Vec<_> = cluster
                .members
                .iter()
                .filter_map(|slot| Some(peers.at(*slot)?.candidate(cluster.chosen == Some(*slot))))
                .collect();
            let place = before.and_then(|slot| cluster.members.iter().position(|member| *member == slot));
            cluster.current = probe::choose(&candidates, place, now).map(|place| cluster.members[place]);
            if before != cluster.current {
                moved = true;
                let died = before
                    .and_then(|slot| peers.at(slot))
                    .filter(|peer| cluster.current.is_some() && !peer.is_usable());
                if let Some(peer) = died {
                    self.failovers.count += 1;
                    self.failovers.last = peer.cable.heard().map(|at| now.saturating_duration_since(at));
                }
                let via = cluster
                    .current
                    .and_then(|slot| peers.at(slot))
                    .map(|peer| peer.gateway().to_string());
                tracing::info!(cluster = %cluster.id, via, "traffic to the cluster has a new way");
            }
        }
        moved
    }

    /// Points every cluster at the gateway that the first lane found, as far as this lane reaches it. True if that moved any traffic.
    pub(super) fn follow(&mut self, ways: &Chosen, version: u64, peers: &Peers) -> bool {
        self.version = version;
        let mut moved = false;
        for cluster in &mut self.clusters {
            let wanted = ways.get(&cluster.id);
            let is_wanted = |slot: &usize| {
                peers
                    .at(*slot)
                    .is_some_and(|peer| Some(peer.gateway()) == wanted && peer.is_usable())
            };
            let current = cluster.members.iter().copied().find(is_wanted);
            moved |= cluster.current != current;
            cluster.current = current;
        }
        moved
    }

    /// The gateways that clusters point at.
    pub(super) fn ways(&self, peers: &Peers) -> Chosen {
        let way = |cluster: &ClusterRoute| Some((cluster.id.clone(), peers.at(cluster.current?)?.gateway().clone()));
        self.clusters.iter().filter_map(way).collect()
    }

    /// Of the ways that were followed last.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// How often a cluster had to leave a dead peer.
    pub(super) fn failovers(&self) -> Failovers {
        self.failovers
    }

    /// Peers that clusters point at.
    pub(super) fn in_use(&self) -> impl Iterator<Item = usize> {
        self.clusters.iter().filter_map(|cluster| cluster.current)
    }

    /// The cluster that packets to this address go to.
    pub(super) fn cluster_towards(&self, destination: IpAddr) -> Option<usize> {
        self.send.lookup(destination).copied()
    }

    /// The live peer of a cluster.
    pub(super) fn way_to(&self, cluster: usize) -> Option<usize> {
        self.clusters.get(cluster)?.current
    }

    /// Whether the peer in this slot is a gateway of the cluster.
    pub(super) fn leads_to(&self, slot: usize, cluster: usize) -> bool {
        self.cluster_of.get(slot).copied().flatten() == Some(cluster)
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

//! What the kernel of one node is to look like, so that its packets find the other clusters.
//!
//! Every node sends to a gateway of its own cluster, by VXLAN, and the gateway sends into its cables. Both directions of a flow
//! must use the same gateway while connections go to another cluster's service addresses, because the translation lives
//! there; so it is the active gateway, and another only for the clusters that the active one does not reach
//! ([`choice::ways`]).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use hostnet::{Desired, Peer, RemoteCluster, Source, Underlay, Via, vtep};
use model::{ClusterState, Family, Node, NodeName, PrefixSet, Snapshot};

use crate::choice::Ways;
use crate::{choice, claims, mtu, vip};

/// What only the node itself knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFacts {
    /// Links of the node with their addresses.
    pub links: Vec<LinkFacts>,
}

/// A link of the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// Why a node cannot be given routes yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// The snapshot does not have this node.
    #[error("node {0} is not in the cluster's list of nodes; is NODE_NAME the name that `kubectl get nodes` shows?")]
    UnknownNode(NodeName),
    /// No link holds an address that Kubernetes knows the node by.
    #[error("no link of node {node} has one of its internal addresses ({addresses}); the VXLAN needs one")]
    NoUnderlay {
        /// The node.
        node: NodeName,
        /// Its `InternalIP` addresses.
        addresses: String,
    },
    /// The own cluster is not a member.
    #[error("cluster {0} has no Cluster object in tombolo-system; has it joined?")]
    NotJoined(model::ClusterId),
}

/// The need of node `me`, whose probes found these `ways`; what they do not say, the snapshot does. `keep_source` is false only in tests that show what source keeping is for.
///
/// # Errors
/// When the node cannot be given routes yet; what it has stays.
pub fn desired(
    snapshot: &Snapshot,
    me: &NodeName,
    facts: &NodeFacts,
    ways: &Ways,
    keep_source: bool,
) -> Result<Desired, NotYet> {
    let node = snapshot.nodes.get(me).ok_or_else(|| NotYet::UnknownNode(me.clone()))?;
    let own = snapshot
        .own()
        .ok_or_else(|| NotYet::NotJoined(snapshot.cluster.clone()))?;
    let underlay = underlay(node, facts)?;
    let accepted = claims::accepted(snapshot);
    let local = own.prefixes();
    Ok(Desired {
        vtep: vtep(&node.uid),
        peers: peers(snapshot, node, underlay.local),
        sources: sources(&own.pod_prefixes, node, facts),
        clusters: remote_clusters(snapshot, node, &accepted, ways),
        local: local.iter().copied().collect(),
        gateway: node.is_gateway,
        vips: vip::vips(snapshot, node, ways),
        untracked: vip::untracked(snapshot, node),
        keep_source,
        underlay,
    })
}

/// The link that holds the first of the node's own addresses.
fn underlay(node: &Node, facts: &NodeFacts) -> Result<Underlay, NotYet> {
    let found = node.addresses.iter().find_map(|address| {
        let link = facts.links.iter().find(|link| link.addresses.contains(address))?;
        Some(Underlay {
            device: link.name.clone(),
            local: *address,
        })
    });
    found.ok_or_else(|| NotYet::NoUnderlay {
        node: node.name.clone(),
        addresses: node
            .addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// Every gateway candidate; on gateways, every node.
fn peers(snapshot: &Snapshot, me: &Node, underlay: IpAddr) -> Vec<Peer> {
    let others = snapshot
        .nodes
        .values()
        .filter(|node| node.name != me.name && (me.is_gateway || node.is_gateway));
    others
        .filter_map(|node| {
            let same_family = |address: &&IpAddr| address.is_ipv4() == underlay.is_ipv4();
            let underlay = *node.addresses.iter().find(same_family)?;
            Some(Peer {
                vtep: vtep(&node.uid),
                underlay,
            })
        })
        .collect()
}

/// The node's address in the pod network, one a family: in its own pod prefixes if it has such, else anywhere in the cluster's.
fn sources(pods: &PrefixSet, node: &Node, facts: &NodeFacts) -> Vec<Source> {
    let all = || facts.links.iter().flat_map(|link| &link.addresses);
    [Family::V4, Family::V6]
        .into_iter()
        .filter_map(|family| {
            let of_family = |address: &&IpAddr| Family::of(**address) == family;
            let own = all()
                .filter(of_family)
                .find(|address| node.pod_prefixes.contains(**address));
            let any = || all().filter(of_family).find(|address| pods.contains(**address));
            own.or_else(any).map(|address| Source {
                address: *address,
                assign: false,
            })
        })
        .collect()
}

/// Where packets of node `me` for a cluster go.
fn way_out(snapshot: &Snapshot, me: &Node, cluster: &model::ClusterId, ways: &Ways) -> Via {
    let probed = ways.get(cluster);
    let told = || choice::own_active(snapshot).map(|active| &active.id.node);
    let Some(gateway) = probed.map_or_else(told, |way| way.as_ref().map(|way| &way.gateway)) else {
        return Via::Unreachable;
    };
    if *gateway == me.name && me.is_gateway {
        return Via::Tun;
    }
    match snapshot.nodes.get(gateway) {
        Some(gateway) => Via::Vtep(vtep(&gateway.uid).address),
        None => Via::Unreachable,
    }
}

fn remote_clusters(
    snapshot: &Snapshot,
    me: &Node,
    accepted: &BTreeMap<model::ClusterId, PrefixSet>,
    ways: &Ways,
) -> BTreeMap<String, RemoteCluster> {
    let remote = snapshot
        .clusters
        .values()
        .filter(|cluster| cluster.id != snapshot.cluster);
    remote
        .filter_map(|cluster| {
            let prefixes: BTreeSet<_> = match accepted.get(&cluster.id) {
                Some(prefixes) => prefixes.iter().copied().collect(),
                None => claims::abandoned(cluster, accepted).iter().copied().collect(),
            };
            if prefixes.is_empty() {
                return None;
            }
            let is_member = cluster.state == ClusterState::Active;
            let measured = ways.get(&cluster.id).and_then(Option::as_ref).and_then(|way| way.mtu);
            let path = mtu::path(snapshot, &cluster.id);
            let remote = RemoteCluster {
                mtu: measured.map_or(path, |measured| measured.min(path)).into(),
                // One that leaves has cleaned its nodes, one that was evicted may do what it likes. For as long as there is a word of
                // them here, nothing that clients still send them may leave in the clear.
                via: if is_member {
                    way_out(snapshot, me, &cluster.id, ways)
                } else {
                    Via::Unreachable
                },
                transit: is_member && me.is_gateway,
                prefixes,
            };
            Some((cluster.id.to_string(), remote))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use model::Gateway;

    /// East with two gateways and a worker, and west; `active` is the node that claims the role.
    fn snapshot(active: Option<&str>) -> Snapshot {
        let mut snapshot = Snapshot::empty("east".parse().unwrap());
        for (name, prefix) in [("east", "10.1.0.0/16"), ("west", "10.2.0.0/16")] {
            let cluster = fixture::cluster(name, prefix);
            snapshot.clusters.insert(cluster.id.clone(), cluster);
        }
        for (index, (name, is_gateway)) in [("gw1", true), ("gw2", true), ("w1", false)].into_iter().enumerate() {
            let node = Node {
                name: name.parse().unwrap(),
                uid: format!("uid-{name}"),
                addresses: vec![format!("192.0.2.{}", index + 1).parse().unwrap()],
                pod_prefixes: PrefixSet::parse([format!("10.1.{index}.0/24")]).unwrap(),
                is_gateway,
                is_ready: true,
            };
            snapshot.nodes.insert(node.name.clone(), node);
            if is_gateway {
                let is_active = active == Some(name);
                let gateway = Gateway {
                    active: is_active,
                    epoch: 1,
                    ..fixture::gateway("east", name)
                };
                snapshot.gateways.insert(gateway.id.clone(), gateway);
            }
        }
        let remote = fixture::gateway_at("west", "gw1", "198.51.100.1");
        snapshot.gateways.insert(remote.id.clone(), remote);
        snapshot
    }

    fn facts(index: u8) -> NodeFacts {
        let link = |name: &str, address: String| LinkFacts {
            name: name.into(),
            addresses: vec![address.parse().unwrap()],
        };
        NodeFacts {
            links: vec![
                link("eth0", format!("192.0.2.{}", index + 1)),
                link("cni0", format!("10.1.{index}.1")),
            ],
        }
    }

    fn need(snapshot: &Snapshot, node: &str, index: u8) -> Desired {
        desired(snapshot, &node.parse().unwrap(), &facts(index), &Ways::new(), true).unwrap()
    }

    #[test]
    fn a_worker_sends_to_the_active_gateway_by_vxlan() {
        let need = need(&snapshot(Some("gw2")), "w1", 2);
        assert_eq!(need.clusters["west"].via, Via::Vtep(vtep("uid-gw2").address));
        assert!(!need.clusters["west"].transit && !need.gateway);
        assert_eq!(need.peers.len(), 2, "gateways only");
        assert_eq!(
            need.sources,
            [Source {
                address: "10.1.2.1".parse().unwrap(),
                assign: false
            }]
        );
        assert_eq!(
            (need.underlay.device.as_str(), need.clusters["west"].mtu),
            ("eth0", 1440)
        );
    }

    #[test]
    fn the_active_gateway_sends_into_its_cables_and_a_standby_does_not() {
        let snapshot = snapshot(Some("gw1"));
        let active = need(&snapshot, "gw1", 0);
        assert_eq!(active.clusters["west"].via, Via::Tun);
        assert_eq!(active.peers.len(), 2, "every node");
        let standby = need(&snapshot, "gw2", 1);
        assert_eq!(standby.clusters["west"].via, Via::Vtep(vtep("uid-gw1").address));
        assert!(standby.clusters["west"].transit, "what reaches it still goes on");
    }

    #[test]
    fn members_that_leave_or_were_evicted_are_unreachable_until_they_are_forgotten() {
        let mut snapshot = snapshot(Some("gw1"));
        let west = |snapshot: &mut Snapshot, state| {
            snapshot.clusters.get_mut(&"west".parse().unwrap()).unwrap().state = state;
        };
        for state in [ClusterState::Leaving, ClusterState::Evicted] {
            west(&mut snapshot, state);
            let west = &need(&snapshot, "gw1", 0).clusters["west"];
            assert_eq!((west.via, west.transit), (Via::Unreachable, false));
        }
        snapshot.clusters.remove(&"west".parse().unwrap());
        assert!(need(&snapshot, "gw1", 0).clusters.is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut snapshot = snapshot(None);
        let error = |snapshot: &Snapshot, node: &str, facts: &NodeFacts| {
            desired(snapshot, &node.parse().unwrap(), facts, &Ways::new(), true)
                .unwrap_err()
                .to_string()
        };
        assert!(error(&snapshot, "stranger", &facts(0)).contains("node stranger"));
        assert!(error(&snapshot, "w1", &NodeFacts::default()).contains("192.0.2.3"));
        snapshot.clusters.clear();
        assert!(error(&snapshot, "w1", &facts(2)).contains("has it joined?"));
    }

    #[test]
    fn what_was_probed_counts_more_than_what_was_told() {
        let snapshot = snapshot(Some("gw1"));
        let need = |node: &str, index, way: Option<choice::Way>| {
            let ways = Ways::from([("west".parse().unwrap(), way)]);
            let need = desired(&snapshot, &node.parse().unwrap(), &facts(index), &ways, true).unwrap();
            (need.clusters["west"].via, need.clusters["west"].mtu)
        };
        let by_gw2 = Some(choice::Way {
            gateway: "gw2".parse().unwrap(),
            mtu: Some(1240),
        });
        assert_eq!(
            need("w1", 2, by_gw2.clone()),
            (Via::Vtep(vtep("uid-gw2").address), 1240)
        );
        assert_eq!(need("gw2", 1, by_gw2), (Via::Tun, 1240));
        assert_eq!(need("w1", 2, None), (Via::Unreachable, 1440));
    }

    #[test]
    fn without_gateways_nothing_has_a_way() {
        let mut snapshot = snapshot(None);
        snapshot.gateways.retain(|id, _| id.cluster.as_str() != "east");
        assert_eq!(need(&snapshot, "w1", 2).clusters["west"].via, Via::Unreachable);
    }
}

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Cluster, ClusterId, ExportedService, Gateway, GatewayId, ImportedService, NodeName, PrefixSet, ServiceKey,
};

/// Everything a node knows of the clusterset at one moment: its own cluster's nodes, and what the mirrors say of all members.
///
/// It is saved on the node as JSON, so that a restart without an API server goes on from it. It holds no secret. What there may be
/// thousands of is shared with the snapshots before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// The cluster that this node is in.
    pub cluster: ClusterId,
    /// Nodes of the own cluster.
    pub nodes: BTreeMap<NodeName, Node>,
    /// All members, the own included.
    pub clusters: BTreeMap<ClusterId, Cluster>,
    /// All gateways, the own cluster's included.
    #[serde(with = "as_list")]
    pub gateways: BTreeMap<GatewayId, Gateway>,
    /// All exports, the own cluster's included.
    #[serde(with = "as_list")]
    pub exports: BTreeMap<(ServiceKey, ClusterId), Arc<ExportedService>>,
    /// All imports of the own cluster.
    #[serde(default, with = "as_list")]
    pub imports: BTreeMap<ServiceKey, Arc<ImportedService>>,
    /// Where the own cluster's clusterset IPs are.
    #[serde(default)]
    pub clusterset_range: PrefixSet,
}

impl Snapshot {
    /// A cluster that has just joined and has heard of nobody.
    pub fn empty(cluster: ClusterId) -> Self {
        Self {
            cluster,
            nodes: BTreeMap::new(),
            clusters: BTreeMap::new(),
            gateways: BTreeMap::new(),
            exports: BTreeMap::new(),
            imports: BTreeMap::new(),
            clusterset_range: PrefixSet::default(),
        }
    }

    /// The own cluster's entry.
    pub fn own(&self) -> Option<&Cluster> {
        self.clusters.get(&self.cluster)
    }

    /// Gateways of one cluster.
    pub fn gateways_of<'a>(&'a self, cluster: &'a ClusterId) -> impl Iterator<Item = &'a Gateway> {
        self.gateways
            .values()
            .filter(move |gateway| gateway.id.cluster == *cluster)
    }
}

/// A node of the own cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: NodeName,
    /// Its uid, from which its VXLAN addresses are derived.
    pub uid: String,
    /// Its underlay addresses (`InternalIP`).
    pub addresses: Vec<IpAddr>,
    /// Prefixes of its pods; empty where the CNI keeps them elsewhere.
    pub pod_prefixes: PrefixSet,
    /// Whether it is labelled as a gateway candidate.
    pub is_gateway: bool,
    /// Whether Kubernetes calls it ready.
    pub is_ready: bool,
}

/// JSON keys must be strings; these maps are keyed by what their values say anyway.
mod as_list {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) trait Keyed {
        type Key: Ord;
        fn key(&self) -> Self::Key;
    }

    impl Keyed for super::Gateway {
        type Key = super::GatewayId;
        fn key(&self) -> Self::Key {
            self.id.clone()
        }
    }

    impl Keyed for super::ExportedService {
        type Key = (super::ServiceKey, super::ClusterId);
        fn key(&self) -> Self::Key {
            (self.key.clone(), self.cluster.clone())
        }
    }

    impl Keyed for super::ImportedService {
        type Key = super::ServiceKey;
        fn key(&self) -> Self::Key {
            self.key.clone()
        }
    }

    impl<T: Keyed> Keyed for Arc<T> {
        type Key = T::Key;
        fn key(&self) -> Self::Key {
            self.as_ref().key()
        }
    }

    pub(super) fn serialize<K, V: Serialize, S: Serializer>(map: &BTreeMap<K, V>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.values())
    }

    pub(super) fn deserialize<'de, V, D>(from: D) -> Result<BTreeMap<V::Key, V>, D::Error>
    where
        V: Keyed + Deserialize<'de>,
        D: Deserializer<'de>,
    {
        Ok(Vec::<V>::deserialize(from)?
            .into_iter()
            .map(|value| (value.key(), value))
            .collect())
    }
}

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ByKey, Cluster, ClusterId, ExportedService, Gateway, GatewayId, ImportedService, NodeName, PrefixSet, ServiceKey,
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
    pub exports: ByKey<ExportedService>,
    /// All imports of the own cluster.
    #[serde(default)]
    pub imports: ByKey<ImportedService>,
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
            exports: ByKey::default(),
            imports: ByKey::default(),
            clusterset_range: PrefixSet::default(),
        }
    }

    /// The own cluster's entry.
    pub fn own(&self) -> Option<&Cluster> {
        self.clusters.get(&self.cluster)
    }

    /// Exports of one service.
    pub fn exports_of<'a>(&'a self, key: &'a ServiceKey) -> impl Iterator<Item = &'a ExportedService> {
        self.exports_from(key).take_while(move |export| export.key == *key)
    }

    /// Exports of one namespace.
    pub fn exports_in<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a ExportedService> {
        self.exports_from(&ServiceKey::new(namespace, ""))
            .take_while(move |export| export.key.namespace == namespace)
    }

    fn exports_from<'a>(&'a self, key: &ServiceKey) -> impl Iterator<Item = &'a ExportedService> + use<'a> {
        self.exports.from((key, &ClusterId::first())).iter().map(Arc::as_ref)
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

/// JSON keys must be strings; the map is keyed by what its values say anyway.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::{Gateway, GatewayId};

    pub(super) fn serialize<S: Serializer>(map: &BTreeMap<GatewayId, Gateway>, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(map.values())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<GatewayId, Gateway>, D::Error> {
        let gateways = Vec::<Gateway>::deserialize(from)?.into_iter();
        Ok(gateways.map(|gateway| (gateway.id.clone(), gateway)).collect())
    }
}

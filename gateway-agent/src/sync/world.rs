//! What the sync leader sees: the latest whole state of both sides. Every plan is a function of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_api::mcs::{ServiceExport, ServiceImport};
use k8s_api::{Broker, Cluster, ExportedService, Gateway};
use k8s_openapi::api::core::v1::{Namespace, Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use model::{ClusterId, ClusterState, names};

/// Both sides.
#[derive(Debug, Clone)]
pub(super) struct World {
    /// The own cluster.
    pub(super) cluster: ClusterId,
    /// The namespace of our own objects in it.
    pub(super) namespace: String,
    /// The own cluster's API server.
    pub(super) local: Local,
    /// The broker; none until it has told everything once.
    pub(super) broker: Option<Remote>,
}

/// Objects by kind. Watched kinds are whole: nothing is planned before each of them was listed once.
#[derive(Debug, Clone, Default)]
pub(super) struct Local {
    pub(super) brokers: Vec<Arc<Broker>>,
    pub(super) clusters: Vec<Arc<Cluster>>,
    pub(super) gateways: Vec<Arc<Gateway>>,
    pub(super) exported: Vec<Arc<ExportedService>>,
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) namespaces: Vec<Arc<Namespace>>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) slices: Vec<Arc<EndpointSlice>>,
    pub(super) exports: Vec<Arc<ServiceExport>>,
    pub(super) imports: Vec<Arc<ServiceImport>>,
    /// Whether the MCS API is installed. Without it nothing is known of exports and imports, and what there is of them is left alone.
    pub(super) has_mcs: bool,
}

/// What the broker holds, of all members.
#[derive(Debug, Clone, Default)]
pub(super) struct Remote {
    pub(super) brokers: Vec<Arc<Broker>>,
    pub(super) clusters: Vec<Arc<Cluster>>,
    pub(super) gateways: Vec<Arc<Gateway>>,
    pub(super) exported: Vec<Arc<ExportedService>>,
    /// Objects that do not parse. They are there, so what came of them earlier is kept.
    pub(super) unreadable: Vec<Unreadable>,
}

/// An object of the broker that does not parse.
#[derive(Debug, Clone)]
pub(super) struct Unreadable {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// What the parser says.
    pub(super) why: String,
}

impl World {
    /// The own cluster's namespace on the broker.
    pub(super) fn own_namespace(&self) -> String {
        self.cluster.broker_namespace()
    }

    /// The own cluster as join described it.
    pub(super) fn own_cluster(&self) -> Option<&Cluster> {
        let name = self.cluster.as_str();
        let mut clusters = self.local.clusters.iter();
        clusters.find(|cluster| cluster.name_any() == name).map(Arc::as_ref)
    }

    /// The own cluster as the broker knows it.
    pub(super) fn own_on_broker(&self) -> Option<&Cluster> {
        let (namespace, name) = (self.own_namespace(), self.cluster.as_str());
        let mut clusters = self.broker.as_ref()?.clusters.iter();
        clusters
            .find(|cluster| cluster.namespace().as_deref() == Some(&namespace) && cluster.name_any() == name)
            .map(Arc::as_ref)
    }

    /// Membership of the own cluster. An administrator's eviction overrides what the cluster says of itself.
    pub(super) fn own_state(&self) -> Option<ClusterState> {
        if self
            .own_on_broker()
            .is_some_and(|cluster| cluster.spec.state == "Evicted")
        {
            return Some(ClusterState::Evicted);
        }
        match self.own_cluster()?.spec.state.as_str() {
            "Leaving" => Some(ClusterState::Leaving),
            "Evicted" => Some(ClusterState::Evicted),
            _ => Some(ClusterState::Active),
        }
    }

    /// All members as the local mirrors describe them; malformed ones are left out.
    pub(super) fn members(&self) -> BTreeMap<ClusterId, model::Cluster> {
        let clusters = self.local.clusters.iter();
        clusters
            .filter_map(|cluster| model::Cluster::try_from(cluster.as_ref()).ok())
            .map(|cluster| (cluster.id.clone(), cluster))
            .collect()
    }

    /// Namespaces of users' objects that exist and stay.
    pub(super) fn namespaces(&self) -> BTreeSet<String> {
        let namespaces = self.local.namespaces.iter();
        namespaces
            .filter(|namespace| namespace.metadata.deletion_timestamp.is_none())
            .map(|namespace| namespace.name_any())
            .collect()
    }
}

/// Labels of every object that the sync leader writes, `owner` being the cluster that it comes from.
pub(super) fn labels(owner: &ClusterId) -> BTreeMap<String, String> {
    BTreeMap::from([
        (names::CLUSTER_LABEL.to_owned(), owner.to_string()),
        (MANAGED_BY.to_owned(), names::FIELD_MANAGER.to_owned()),
    ])
}

/// Whether the sync leader wrote an object. Only such objects are pruned.
pub(super) fn is_ours(object: &impl ResourceExt) -> bool {
    object
        .labels()
        .get(MANAGED_BY)
        .is_some_and(|value| value == names::FIELD_MANAGER)
}

/// Whether an object has at least these labels.
pub(super) fn has_labels(object: &impl ResourceExt, labels: &BTreeMap<String, String>) -> bool {
    labels
        .iter()
        .all(|(key, value)| object.labels().get(key) == Some(value))
}

/// Objects of one namespace by name, for whoever looks for many of them.
pub(super) fn by_name<'a, K: ResourceExt>(objects: impl Iterator<Item = &'a K>) -> BTreeMap<String, &'a K> {
    objects.map(|object| (object.name_any(), object)).collect()
}

/// The common label that names the tool which manages an object.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

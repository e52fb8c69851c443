//! What the controllers see.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client, ResourceExt};

use crate::mirror::{Changes, Mirror};

/// Every object that some controller decides from, at one moment.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) nodes: Vec<Arc<Node>>,
    /// The heartbeats of nodes, in `kube-node-lease`.
    pub(super) heartbeats: Vec<Arc<Lease>>,
    /// The Leases of the controllers that come with Kubernetes, in `kube-system`.
    pub(super) leaders: Vec<Arc<Lease>>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) daemon_sets: Vec<Arc<DaemonSet>>,
    pub(super) deployments: Vec<Arc<Deployment>>,
    pub(super) replica_sets: Vec<Arc<ReplicaSet>>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) slices: Vec<Arc<EndpointSlice>>,
}

impl World {
    /// The pods that this controller object owns.
    pub(super) fn pods_of<'a>(&'a self, owner: &'a impl ResourceExt) -> impl Iterator<Item = &'a Pod> {
        self.pods
            .iter()
            .map(AsRef::as_ref)
            .filter(move |pod| is_controlled_by(*pod, owner))
    }

    /// The replica sets that this deployment owns.
    pub(super) fn replica_sets_of<'a>(&'a self, owner: &'a impl ResourceExt) -> impl Iterator<Item = &'a ReplicaSet> {
        self.replica_sets
            .iter()
            .map(AsRef::as_ref)
            .filter(move |set| is_controlled_by(*set, owner))
    }
}

fn is_controlled_by(object: &impl ResourceExt, owner: &impl ResourceExt) -> bool {
    let uid = owner.meta().uid.as_deref();
    let references = object.owner_references();
    references
        .iter()
        .any(|reference| reference.controller == Some(true) && Some(reference.uid.as_str()) == uid)
}

/// The mirrors behind a [`World`].
#[derive(Debug)]
pub(super) struct Mirrors {
    nodes: Mirror<Node>,
    heartbeats: Mirror<Lease>,
    leaders: Mirror<Lease>,
    pods: Mirror<Pod>,
    daemon_sets: Mirror<DaemonSet>,
    deployments: Mirror<Deployment>,
    replica_sets: Mirror<ReplicaSet>,
    services: Mirror<Service>,
    slices: Mirror<EndpointSlice>,
}

impl Mirrors {
    /// Begins to watch everything.
    pub(super) fn watch(client: &Client, changes: &Changes) -> Self {
        macro_rules! all {
            () => {
                Mirror::watch(Api::all(client.clone()), Default::default(), changes.clone())
            };
        }
        let leases = |namespace| {
            Mirror::watch(
                Api::namespaced(client.clone(), namespace),
                Default::default(),
                changes.clone(),
            )
        };
        Self {
            nodes: all!(),
            heartbeats: leases("kube-node-lease"),
            leaders: leases("kube-system"),
            pods: all!(),
            daemon_sets: all!(),
            deployments: all!(),
            replica_sets: all!(),
            services: all!(),
            slices: all!(),
        }
    }

    /// The world, once every mirror has been complete.
    pub(super) fn world(&self) -> Option<World> {
        let is_synced = self.nodes.is_synced()
            && self.heartbeats.is_synced()
            && self.leaders.is_synced()
            && self.pods.is_synced()
            && self.daemon_sets.is_synced()
            && self.deployments.is_synced()
            && self.replica_sets.is_synced()
            && self.services.is_synced()
            && self.slices.is_synced();
        is_synced.then(|| World {
            nodes: self.nodes.objects(),
            heartbeats: self.heartbeats.objects(),
            leaders: self.leaders.objects(),
            pods: self.pods.objects(),
            daemon_sets: self.daemon_sets.objects(),
            deployments: self.deployments.objects(),
            replica_sets: self.replica_sets.objects(),
            services: self.services.objects(),
            slices: self.slices.objects(),
        })
    }
}

//! Everything that a round looks at, on both sides.

use std::future::pending;
use std::sync::Arc;

use k8s_api::mcs::{ServiceExport, ServiceImport};
use k8s_api::{Broker, Cluster, ExportedService, Gateway};
use k8s_openapi::api::core::v1::{Namespace, Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_runtime::{Link, Watched, watch_all, watch_some};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use model::names;
use tokio::sync::watch;

use super::world::{Local, Remote, Unreadable};

type Source<K> = watch::Receiver<Arc<Watched<K>>>;

/// The own cluster's side.
#[derive(Debug)]
pub(super) struct LocalWatches {
    brokers: Source<Broker>,
    clusters: Source<Cluster>,
    gateways: Source<Gateway>,
    exported: Source<ExportedService>,
    nodes: Source<Node>,
    namespaces: Source<Namespace>,
    services: Source<Service>,
    slices: Source<EndpointSlice>,
    exports: Source<ServiceExport>,
    imports: Source<ServiceImport>,
    secret: Source<Secret>,
}

impl LocalWatches {
    /// Starts all watches.
    pub(super) fn start(client: &Client, namespace: &str) -> Self {
        let client = || client.clone();
        let only_the_secret = watcher::Config::default().fields(&format!("metadata.name={}", names::BROKER_SECRET));
        Self {
            brokers: watch_all(Api::all(client())),
            clusters: watch_all(Api::namespaced(client(), namespace)),
            gateways: watch_all(Api::namespaced(client(), namespace)),
            exported: watch_all(Api::namespaced(client(), namespace)),
            nodes: watch_all(Api::all(client())),
            namespaces: watch_all(Api::all(client())),
            services: watch_all(Api::all(client())),
            slices: watch_all(Api::all(client())),
            exports: watch_all(Api::all(client())),
            imports: watch_all(Api::all(client())),
            secret: watch_some(Api::namespaced(client(), namespace), only_the_secret),
        }
    }

    /// Kinds that were not listed yet, and why. Nothing is decided before there is none: what is not known would look as if it
    /// were gone.
    pub(super) fn waiting_for(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        waiting.extend(wait(&self.brokers));
        waiting.extend(wait(&self.clusters));
        waiting.extend(wait(&self.gateways));
        waiting.extend(wait(&self.exported));
        waiting.extend(wait(&self.nodes));
        waiting.extend(wait(&self.namespaces));
        waiting.extend(wait(&self.services));
        waiting.extend(wait(&self.slices));
        waiting.extend(wait(&self.secret));
        // The MCS API may be absent for as long as it likes.
        waiting.extend(wait(&self.exports).filter(|_| !is_absent(&self.exports)));
        waiting.extend(wait(&self.imports).filter(|_| !is_absent(&self.imports)));
        waiting
    }

    /// Everything, as it is now.
    pub(super) fn look(&self) -> Local {
        Local {
            brokers: objects(&self.brokers),
            clusters: objects(&self.clusters),
            gateways: objects(&self.gateways),
            exported: objects(&self.exported),
            nodes: objects(&self.nodes),
            namespaces: objects(&self.namespaces),
            services: objects(&self.services),
            slices: objects(&self.slices),
            exports: objects(&self.exports),
            imports: objects(&self.imports),
            has_mcs: !is_absent(&self.exports) && !is_absent(&self.imports),
        }
    }

    /// The Secret that leads to the broker, if join has put it there.
    pub(super) fn secret(&self) -> Option<Arc<Secret>> {
        objects(&self.secret).into_iter().next()
    }

    /// Waits until something has changed.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = moved(&mut self.brokers) => {}
            () = moved(&mut self.clusters) => {}
            () = moved(&mut self.gateways) => {}
            () = moved(&mut self.exported) => {}
            () = moved(&mut self.nodes) => {}
            () = moved(&mut self.namespaces) => {}
            () = moved(&mut self.services) => {}
            () = moved(&mut self.slices) => {}
            () = moved(&mut self.exports) => {}
            () = moved(&mut self.imports) => {}
            () = moved(&mut self.secret) => {}
        }
    }
}

/// The broker's side, of all members.
#[derive(Debug)]
pub(super) struct RemoteWatches {
    brokers: Source<Broker>,
    clusters: Source<Cluster>,
    gateways: Source<Gateway>,
    exported: Source<ExportedService>,
}

impl RemoteWatches {
    /// Starts all watches.
    pub(super) fn start(client: &Client) -> Self {
        Self {
            brokers: watch_all(Api::all(client.clone())),
            clusters: watch_all(Api::all(client.clone())),
            gateways: watch_all(Api::all(client.clone())),
            exported: watch_all(Api::all(client.clone())),
        }
    }

    /// Kinds that were not listed yet, and why.
    pub(super) fn waiting_for(&self) -> Vec<String> {
        let waiting = [
            wait(&self.brokers),
            wait(&self.clusters),
            wait(&self.gateways),
            wait(&self.exported),
        ];
        waiting.into_iter().flatten().collect()
    }

    /// Everything, as it is now; none until every kind was listed.
    pub(super) fn look(&self) -> Option<Remote> {
        let unreadable = malformed(&self.clusters)
            .chain(malformed(&self.gateways))
            .chain(malformed(&self.exported));
        self.waiting_for().is_empty().then(|| Remote {
            brokers: objects(&self.brokers),
            clusters: objects(&self.clusters),
            gateways: objects(&self.gateways),
            exported: objects(&self.exported),
            unreadable: unreadable.collect(),
        })
    }

    /// Waits until something has changed.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = moved(&mut self.brokers) => {}
            () = moved(&mut self.clusters) => {}
            () = moved(&mut self.gateways) => {}
            () = moved(&mut self.exported) => {}
        }
    }
}

fn objects<K>(source: &Source<K>) -> Vec<Arc<K>> {
    source.borrow().objects.values().cloned().collect()
}

fn wait<K: Resource<DynamicType = ()>>(source: &Source<K>) -> Option<String> {
    let kind = K::kind(&());
    let watched = source.borrow();
    match &watched.link {
        Link::Live | Link::Lost(_) => None,
        Link::Connecting(None) => Some(kind.into_owned()),
        Link::Connecting(Some(why)) => Some(format!("{kind} ({why})")),
        Link::Absent => Some(format!("{kind} (the server does not have the kind)")),
    }
}

fn is_absent<K>(source: &Source<K>) -> bool {
    source.borrow().link == Link::Absent
}

fn malformed<K: Resource<DynamicType = ()>>(source: &Source<K>) -> impl Iterator<Item = Unreadable> {
    let watched = Arc::clone(&source.borrow());
    let unreadable = watched.malformed.iter().map(|(key, why)| Unreadable {
        kind: K::kind(&()).into_owned(),
        namespace: key.namespace.clone().unwrap_or_default(),
        name: key.name.clone(),
        why: why.clone(),
    });
    unreadable.collect::<Vec<_>>().into_iter()
}

async fn moved<T>(source: &mut watch::Receiver<T>) {
    if source.changed().await.is_err() {
        // Its task has died, and the process will; until then there is nothing to hear of it.
        pending::<()>().await;
    }
}

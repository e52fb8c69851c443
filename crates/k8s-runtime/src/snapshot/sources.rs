use std::sync::Arc;

use k8s_api::mcs::ServiceImport;
use k8s_api::{Cluster, ExportedService, Gateway};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use tokio::sync::watch;

use super::SnapshotOptions;
use crate::watched::{Link, Watched, watch_all};

/// The watches that a snapshot is made from.
pub(super) struct Sources {
    clusters: watch::Receiver<Arc<Watched<Cluster>>>,
    gateways: watch::Receiver<Arc<Watched<Gateway>>>,
    exports: Option<watch::Receiver<Arc<Watched<ExportedService>>>>,
    imports: Option<watch::Receiver<Arc<Watched<ServiceImport>>>>,
    nodes: Option<watch::Receiver<Arc<Watched<Node>>>>,
}

/// What they say at one moment.
pub(super) struct Latest {
    pub(super) clusters: Arc<Watched<Cluster>>,
    pub(super) gateways: Arc<Watched<Gateway>>,
    pub(super) exports: Option<Arc<Watched<ExportedService>>>,
    pub(super) imports: Option<Arc<Watched<ServiceImport>>>,
    pub(super) nodes: Option<Arc<Watched<Node>>>,
}

impl Sources {
    pub(super) fn watch(client: &Client, options: &SnapshotOptions) -> Self {
        let namespace = &options.namespace;
        Self {
            clusters: watch_all(Api::namespaced(client.clone(), namespace)),
            gateways: watch_all(Api::namespaced(client.clone(), namespace)),
            exports: options
                .exports
                .then(|| watch_all(Api::namespaced(client.clone(), namespace))),
            imports: options.imports.then(|| watch_all(Api::all(client.clone()))),
            nodes: options.nodes.then(|| watch_all(Api::all(client.clone()))),
        }
    }

    pub(super) fn latest(&mut self) -> Latest {
        Latest {
            clusters: Arc::clone(&self.clusters.borrow_and_update()),
            gateways: Arc::clone(&self.gateways.borrow_and_update()),
            exports: self
                .exports
                .as_mut()
                .map(|watch| Arc::clone(&watch.borrow_and_update())),
            imports: self
                .imports
                .as_mut()
                .map(|watch| Arc::clone(&watch.borrow_and_update())),
            nodes: self.nodes.as_mut().map(|watch| Arc::clone(&watch.borrow_and_update())),
        }
    }

    /// Waits for news; `false` when there will be none.
    pub(super) async fn changed(&mut self) -> bool {
        let changed = tokio::select! {
            changed = self.clusters.changed() => changed,
            changed = self.gateways.changed() => changed,
            changed = of(&mut self.exports) => changed,
            changed = of(&mut self.imports) => changed,
            changed = of(&mut self.nodes) => changed,
        };
        changed.is_ok()
    }
}

async fn of<T>(watch: &mut Option<watch::Receiver<T>>) -> Result<(), watch::error::RecvError> {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

impl Latest {
    /// How each watch stands to its server, by kind.
    pub(super) fn links(&self) -> Vec<(&'static str, &Link)> {
        let exports = self.exports.as_ref().map(|watched| ("ExportedService", &watched.link));
        let imports = self.imports.as_ref().map(|watched| ("ServiceImport", &watched.link));
        let nodes = self.nodes.as_ref().map(|watched| ("Node", &watched.link));
        [("Cluster", &self.clusters.link), ("Gateway", &self.gateways.link)]
            .into_iter()
            .chain(exports)
            .chain(imports)
            .chain(nodes)
            .collect()
    }
}

//! The latest whole [`model::Snapshot`], from watches and from disk.

mod assemble;
mod conversions;
mod metrics;
mod saved;
mod sources;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_api::ConvertError;
use kube::Client;
use model::{ClusterId, Snapshot};
use tokio::sync::watch;
use tokio::time::Instant;

pub use metrics::register as register_snapshot_metrics;

use assemble::Assembler;
use sources::Sources;

/// What is watched, and where it is kept.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// Where the mirrors are.
    pub namespace: String,
    /// The own cluster. Without it, it is the one `Cluster` in the namespace that is no mirror.
    pub cluster: Option<ClusterId>,
    /// Whether nodes are of interest.
    pub nodes: bool,
    /// Whether exported services are of interest.
    pub exports: bool,
    /// Whether imports are of interest.
    pub imports: bool,
    /// File that keeps the last snapshot, one for each process on a node.
    pub saved: Option<PathBuf>,
}

/// What is known of the clusterset now.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    /// The last whole snapshot; none before there was one.
    pub snapshot: Option<Arc<Snapshot>>,
    /// How it stands to the truth.
    pub freshness: Freshness,
    /// Objects that were skipped.
    pub malformed: Vec<ConvertError>,
}

/// How a snapshot stands to the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness {
    /// There is none yet, for this reason.
    Waiting(String),
    /// It is from an earlier moment, perhaps before this process began, because of this.
    Stale(String),
    /// It is how things are.
    Live,
}

/// Keeps a view for as long as a receiver is kept. A new view is told only when it differs.
pub fn watch_snapshot(client: &Client, options: SnapshotOptions) -> watch::Receiver<Arc<View>> {
    let sources = Sources::watch(client, &options);
    let first = match options
        .saved
        .as_deref()
        .and_then(|path| saved::load(path, options.cluster.as_ref()))
    {
        Some(snapshot) => View {
            snapshot: Some(Arc::new(snapshot)),
            freshness: Freshness::Stale("the API server was not reached since the start".to_owned()),
            malformed: vec![],
        },
        None => View {
            snapshot: None,
            freshness: Freshness::Waiting("the API server was not reached since the start".to_owned()),
            malformed: vec![],
        },
    };
    let (sender, receiver) = watch::channel(Arc::new(first));
    tokio::spawn(async move {
        tokio::select! {
            () = follow(sources, options, &sender) => {}
            () = sender.closed() => {}
        }
    });
    receiver
}

async fn follow(mut sources: Sources, options: SnapshotOptions, sender: &watch::Sender<Arc<View>>) {
    let (to_save, saving) = watch::channel(None);
    if let Some(path) = options.saved {
        tokio::spawn(saved::keep(saving, path));
    }
    let mut assembler = Assembler::default();
    loop {
        let started = Instant::now();
        let view = assembler.view(&sources.latest(), options.cluster.as_ref(), &sender.borrow());
        if view.freshness == Freshness::Live {
            to_save.send_if_modified(|kept| {
                let is_news = *kept != view.snapshot;
                kept.clone_from(&view.snapshot);
                is_news
            });
        }
        sender.send_if_modified(|current| {
            let is_news = **current != view;
            if is_news {
                if current.freshness != view.freshness {
                    tracing::info!(freshness = ?view.freshness, "snapshot");
                }
                *current = Arc::new(view);
            }
            is_news
        });
        // Of thousands of objects each tells of itself: most of the time is left to others.
        let rested = Instant::now() + (started.elapsed() * REST).min(LONGEST_REST);
        if !sources.changed().await {
            return;
        }
        // And a change seldom comes alone.
        tokio::time::sleep_until(rested.max(Instant::now() + DEBOUNCE)).await;
    }
}

const DEBOUNCE: Duration = Duration::from_millis(20);
/// After a view none follows for so many times as long as it took.
const REST: u32 = 9;
const LONGEST_REST: Duration = Duration::from_millis(200);

//! The sync leader: the one gateway agent of a cluster that talks to the broker.
//!
//! ```text
//!   watches (own cluster) ──▶ World ──▶ round() ──▶ writes ──▶ queue (own cluster)
//!   watches (broker) ────────▶   │                        └──▶ queue (broker)
//!                                └── frozen mirrors while the broker is away
//! ```
//!
//! It publishes its own cluster's objects, mirrors those of the others into the own cluster, and derives ServiceImports. Whatever woke
//! it, it does the same: look at everything, decide everything anew ([`round`]), and hand the differences to the queues. A
//! round is pure, so a new leader that starts from nothing comes to the same result as one that ran for a month.
//!
//! While the broker is away the cluster goes on from its mirrors. A leader that has lost the broker for ten seconds, while the own API
//! server answers, gives up, so that another gateway with another way out may try.

mod absence;
mod access;
mod addresses;
mod admission;
mod connection;
mod convert;
mod export_status;
mod exports;
mod hold_back;
mod import_objects;
mod imports;
mod leader;
mod members;
mod mirror;
mod prune;
mod publish;
mod report;
mod round;
#[cfg(test)]
mod tests;
mod token;
mod watches;
mod world;
mod write;

use std::fmt;

use kube::Client;
use model::{ClusterId, NodeName};
use tokio::sync::watch;

pub use report::SyncReport;

/// What the leader works with.
#[derive(Clone)]
pub struct Context {
    /// The own cluster's API server.
    pub local: Client,
    /// The namespace of our own objects in it.
    pub namespace: String,
    /// The own cluster.
    pub cluster: ClusterId,
    /// The node that this agent runs on.
    pub node: NodeName,
    /// Where the leader tells how it fares.
    pub report: watch::Sender<SyncReport>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("cluster", &self.cluster)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// Leads until it is dropped, which stops everything at once.
///
/// # Errors
/// When the broker has been lost for ten seconds while the own API server answers: another agent may have more luck.
pub async fn run(context: Context) -> anyhow::Result<()> {
    leader::lead(context).await
}

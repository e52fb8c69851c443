use std::fmt;

use clusterset::routes::{NodeFacts, NotYet, desired};
use hostnet::{Blocked, Desired, plan};
use hostnet_linux::{ApplyError, HostNet, ObserveError};
use model::{NodeName, Snapshot};

/// Observes, plans and applies. It remembers what it wanted last only to tell drift from its own work.
#[derive(Debug)]
pub struct Reconciler {
    hostnet: HostNet,
    node: NodeName,
    keep_source: bool,
    settled: Option<Desired>,
}

/// What one round came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Changes made.
    pub done: usize,
    /// Of those, changes that put back what another had altered.
    pub drift: usize,
    /// What could not be done.
    pub failures: Vec<ApplyError>,
    /// What the node cannot have now.
    pub blocked: Vec<Blocked>,
    /// What the node is to look like.
    pub desired: Option<Desired>,
}

/// Why there was no round.
#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    /// The snapshot does not say enough.
    #[error(transparent)]
    NotYet(#[from] NotYet),
    /// The kernel cannot be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

impl Reconciler {
    /// A reconciler of the network namespace that `hostnet` was opened in.
    pub fn new(hostnet: HostNet, node: NodeName, keep_source: bool) -> Self {
        Self {
            hostnet,
            node,
            keep_source,
            settled: None,
        }
    }

    /// One round.
    ///
    /// # Errors
    /// When there is not enough to go by; the kernel was not touched then.
    pub async fn round(&mut self, snapshot: &Snapshot, facts: &NodeFacts) -> Result<Outcome, RoundError> {
        let desired = desired(snapshot, &self.node, facts, self.keep_source)?;
        let observed = self.hostnet.observe(&desired.underlay.device).await?;
        let plan = plan(&desired, &observed);
        let applied = self.hostnet.apply(&plan).await;
        let is_drift = self.settled.as_ref() == Some(&desired);
        self.settled = applied.failures.is_empty().then(|| desired.clone());
        Ok(Outcome {
            done: applied.done,
            drift: if is_drift { applied.done } else { 0 },
            failures: applied.failures,
            blocked: plan.blocked,
            desired: Some(desired),
        })
    }

    /// Takes everything of ours from the node.
    pub async fn cleanup(&mut self) -> hostnet_linux::Cleaned {
        self.settled = None;
        self.hostnet.cleanup().await
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} changes, {} of them mended drift, {} failed",
            self.done,
            self.drift,
            self.failures.len()
        )
    }
}

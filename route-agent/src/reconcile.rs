use std::fmt;

use clusterset::choice::Ways;
use clusterset::routes::{NodeFacts, NotYet, desired};
use hostnet::{Blocked, Desired, Via, moves, plan, vxlan_mtu};
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
    /// What the VXLAN link takes, bytes; none without an underlay.
    pub link_mtu: Option<u32>,
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

    /// Moves traffic to other gateways, and does nothing else: no look at the kernel, no nftables. A round is to follow. It does
    /// nothing where the last round did not leave the kernel in step.
    pub async fn shift(&mut self, snapshot: &Snapshot, facts: &NodeFacts, ways: &Ways) -> usize {
        let Some(settled) = &mut self.settled else { return 0 };
        let Ok(desired) = desired(snapshot, &self.node, facts, ways, self.keep_source) else {
            return 0;
        };
        let moves = moves(settled, &desired);
        if moves.ops.is_empty() {
            return 0;
        }
        let applied = self.hostnet.apply(&moves).await;
        // Those that had no way before have been left to the round.
        let shifted = settled
            .clusters
            .iter_mut()
            .filter(|(_, before)| before.via != Via::Unreachable);
        for (id, before) in shifted {
            if let Some(after) = desired.clusters.get(id) {
                before.via = after.via;
            }
        }
        if !applied.failures.is_empty() {
            self.settled = None;
        }
        applied.done
    }

    /// One round.
    ///
    /// # Errors
    /// When there is not enough to go by; the kernel was not touched then.
    pub async fn round(&mut self, snapshot: &Snapshot, facts: &NodeFacts, ways: &Ways) -> Result<Outcome, RoundError> {
        let desired = desired(snapshot, &self.node, facts, ways, self.keep_source)?;
        let observed = self.hostnet.observe(&desired.underlay.device).await?;
        let plan = plan(&desired, &observed);
        let applied = self.hostnet.apply(&plan).await;
        let is_drift = self.settled.as_ref() == Some(&desired);
        self.settled = applied.failures.is_empty().then(|| desired.clone());
        let link_mtu = observed
            .facts
            .underlay_mtu
            .map(|mtu| vxlan_mtu(mtu, desired.underlay.local));
        Ok(Outcome {
            done: applied.done,
            drift: if is_drift { applied.done } else { 0 },
            failures: applied.failures,
            blocked: plan.blocked,
            desired: Some(desired),
            link_mtu,
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

//! What a round means to a person: conditions of the node's `RouteAgent`.

use hostnet::{Desired, Via, vtep};
use hostnet_linux::{Feature, NftError, OpError};
use k8s_api::RouteAgentStatus;
use k8s_api::condition::{self, Finding};
use k8s_openapi::jiff::Timestamp;
use model::{NodeName, Snapshot};

use crate::reconcile::{Outcome, RoundError};
use crate::vip_report;

/// Builds the status of one node's `RouteAgent` from round to round.
#[derive(Debug)]
pub(crate) struct Report {
    node: NodeName,
    status: RouteAgentStatus,
}

impl Report {
    pub(crate) fn new(node: NodeName) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            node,
            status: RouteAgentStatus {
                version,
                ..RouteAgentStatus::default()
            },
        }
    }

    pub(crate) fn status(&self) -> &RouteAgentStatus {
        &self.status
    }

    /// Takes in a round.
    pub(crate) fn round(&mut self, round: &Result<Outcome, RoundError>, snapshot: &Snapshot, now: Timestamp) {
        let mut findings = vec![Finding::new(condition::CLEANED_UP, false, "InUse", "")];
        match round {
            Ok(outcome) => {
                self.status.applied += outcome.done as u64;
                self.status.drift += outcome.drift as u64;
                if let Some(desired) = &outcome.desired {
                    self.status.mtu = path_mtu(desired);
                    self.status.via = via(desired, snapshot);
                }
                findings.push(readiness(&self.node, outcome));
                findings.push(vip_report::finding(&self.node, outcome));
                findings.extend(missing_features(&self.node, outcome));
            }
            Err(error) => findings.push(Finding::new(
                condition::READY,
                false,
                match error {
                    RoundError::NotYet(_) => "NotYet",
                    RoundError::Observe(_) => "CannotObserve",
                },
                error.to_string(),
            )),
        }
        self.status.conditions = condition::merge(&self.status.conditions, &findings, None, now);
    }

    /// Takes in a cleanup.
    pub(crate) fn cleanup(&mut self, cleaned: &hostnet_linux::Cleaned, now: Timestamp) {
        let finding = if cleaned.failures.is_empty() {
            Finding::new(
                condition::CLEANED_UP,
                true,
                "CleanedUp",
                "nothing of Tombolo is left on this node",
            )
        } else {
            Finding::new(condition::CLEANED_UP, false, "Failed", cleaned.failures.join("; "))
        };
        let ready = Finding::new(
            condition::READY,
            false,
            "Leaving",
            "the cluster is leaving the clusterset",
        );
        self.status.via.clear();
        self.status.mtu = None;
        self.status.conditions = condition::merge(&self.status.conditions, &[finding, ready], None, now);
    }
}

fn readiness(node: &NodeName, outcome: &Outcome) -> Finding {
    // The first failure may be the cause of the others.
    if let Some(failure) = outcome.failures.first() {
        let more = match outcome.failures.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        return Finding::new(
            condition::READY,
            false,
            "ApplyFailed",
            format!("node {node}: {failure}{more}"),
        );
    }
    if let Some(blocked) = outcome.blocked.first() {
        return Finding::new(condition::READY, false, "Blocked", format!("node {node}: {blocked}"));
    }
    Finding::new(
        condition::READY,
        true,
        "InStep",
        "the kernel is as the clusterset needs it",
    )
}

fn missing_features(node: &NodeName, outcome: &Outcome) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (kind, wanted) in FEATURES {
        let missing = outcome.failures.iter().find_map(|failure| match &failure.cause {
            OpError::Unsupported(feature) | OpError::Nft(NftError::Unsupported(feature)) => {
                wanted.contains(feature).then_some(*feature)
            }
            _ => None,
        });
        findings.push(match missing {
            Some(feature) => Finding::new(kind, true, "Missing", format!("node {node}: {feature}")),
            None => Finding::new(kind, false, "Present", ""),
        });
    }
    findings
}

const FEATURES: &[(&str, &[Feature])] = &[
    (
        condition::NFTABLES_UNAVAILABLE,
        &[Feature::NftProgram, Feature::NfTables],
    ),
    (condition::VXLAN_UNAVAILABLE, &[Feature::Vxlan]),
];

fn path_mtu(desired: &Desired) -> Option<u16> {
    desired
        .clusters
        .values()
        .filter_map(|cluster| u16::try_from(cluster.mtu).ok())
        .min()
}

/// `<cluster>=<gateway node>` for each cluster that has a way.
fn via(desired: &Desired, snapshot: &Snapshot) -> Vec<String> {
    let node_at = |address| snapshot.nodes.values().find(|node| vtep(&node.uid).address == address);
    let line = |(cluster, remote): (&String, &hostnet::RemoteCluster)| match remote.via {
        Via::Tun => Some(format!("{cluster}=self")),
        Via::Vtep(address) => Some(format!("{cluster}={}", node_at(address)?.name)),
        Via::Unreachable => None,
    };
    desired.clusters.iter().filter_map(line).collect()
}

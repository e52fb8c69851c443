//! Condition types and reasons, and the one way to write them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Gateway, RouteAgent: does its job.
pub const READY: &str = "Ready";
/// Cluster: its prefixes are routed.
pub const ACCEPTED: &str = "Accepted";
/// Cluster: one of its prefixes belongs to an older claim; reason of `Accepted=False`.
pub const PREFIX_OVERLAP: &str = "PrefixOverlap";
/// Cluster: no common cable protocol version; reason of `Accepted=False`.
pub const PROTOCOL_MISMATCH: &str = "ProtocolMismatch";
/// Gateway: this agent keeps the local cluster and the broker in step.
pub const SYNCED: &str = "SyncedWithBroker";
/// Gateway: `dns-version.clusterset.local` was answered through cluster DNS, as this node's pods ask it.
pub const CLUSTER_DNS: &str = "ClusterDnsAnswers";
/// Gateway: objects that were skipped because they are malformed, by name.
pub const MALFORMED_OBJECTS: &str = "MalformedObjects";
/// Gateway: the node has no usable /dev/net/tun.
pub const TUN_UNAVAILABLE: &str = "TunUnavailable";
/// RouteAgent: the node has no usable nft.
pub const NFTABLES_UNAVAILABLE: &str = "NftablesUnavailable";
/// RouteAgent: the node cannot make a VXLAN link.
pub const VXLAN_UNAVAILABLE: &str = "VxlanUnavailable";
/// RouteAgent: clients on this node do not reach clusterset IPs.
pub const VIP_NOT_TRANSLATED: &str = "VipNotTranslated";
/// RouteAgent: everything of ours is gone from the node.
pub const CLEANED_UP: &str = "CleanedUp";

/// A finding to be written as a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Condition type.
    pub kind: &'static str,
    /// True, false, or not known.
    pub status: Option<bool>,
    /// CamelCase reason.
    pub reason: String,
    /// For a person.
    pub message: String,
}

impl Finding {
    /// A finding.
    pub fn new(kind: &'static str, status: bool, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: Some(status),
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// Writes findings over existing conditions. The transition time moves only where the status does, so that writing the
/// same finding twice is no change. Conditions of other types are kept.
pub fn merge(existing: &[Condition], findings: &[Finding], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let mut merged: Vec<Condition> = existing.to_vec();
    for finding in findings {
        let status = match finding.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let old = merged.iter().position(|condition| condition.type_ == finding.kind);
        let since = old
            .map(|index| &merged[index])
            .filter(|condition| condition.status == status)
            .map_or(Time(now), |condition| condition.last_transition_time.clone());
        let condition = Condition {
            type_: finding.kind.to_owned(),
            status: status.to_owned(),
            reason: finding.reason.clone(),
            message: finding.message.clone(),
            observed_generation: generation,
            last_transition_time: since,
        };
        match old {
            Some(index) => merged[index] = condition,
            None => merged.push(condition),
        }
    }
    merged
}

/// Whether a condition of this type is `True`.
pub fn is_true(conditions: &[Condition], kind: &str) -> bool {
    conditions
        .iter()
        .any(|condition| condition.type_ == kind && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let [t0, t1, t2] = [0, 10, 20].map(|s| Timestamp::from_second(s).unwrap());
        let first = merge(&[], &[Finding::new(READY, false, "Starting", "")], None, t0);
        let same = merge(&first, &[Finding::new(READY, false, "StillStarting", "x")], None, t1);
        assert_eq!(same[0].last_transition_time, Time(t0));
        assert_eq!(same[0].reason, "StillStarting");
        let changed = merge(&same, &[Finding::new(READY, true, "Running", "")], None, t2);
        assert_eq!(changed[0].last_transition_time, Time(t2));
        assert!(is_true(&changed, READY));
    }

    #[test]
    fn other_conditions_are_kept() {
        let now = Timestamp::from_second(0).unwrap();
        let first = merge(&[], &[Finding::new(READY, true, "Running", "")], None, now);
        let both = merge(&first, &[Finding::new(CLEANED_UP, true, "CleanedUp", "")], None, now);
        assert_eq!(both.len(), 2);
    }
}

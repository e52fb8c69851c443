use std::collections::BTreeSet;
use std::fmt;

use model::{ClusterId, Family, ImportKind, SessionAffinity};

use super::ports;
use crate::exports::Export;

/// Something that the exporters of one service disagree about. It concerns all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// What.
    pub reason: ConflictReason,
    /// The oldest exporter, which the import follows.
    pub oldest: ClusterId,
    /// The exporters that differ from it, or for ports and families from any other.
    pub others: Vec<ClusterId>,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<&str> = self.others.iter().map(ClusterId::as_str).collect();
        write!(
            f,
            "{} in {} (the oldest export) and {}; {}",
            self.reason.subject(),
            self.oldest,
            others.join(", "),
            self.reason.outcome()
        )
    }
}

/// Reasons of the `Conflict` condition (MCS API), in the order in which they are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConflictReason {
    /// Sets of ports differ.
    Port,
    /// One is headless.
    Type,
    /// One keeps clients by address.
    SessionAffinity,
    /// Both keep clients, for different times.
    SessionAffinityConfig,
    /// Exported annotations differ.
    Annotations,
    /// Exported labels differ.
    Labels,
    /// `internalTrafficPolicy` differs.
    InternalTrafficPolicy,
    /// `trafficDistribution` differs.
    TrafficDistribution,
    /// Not every exporter can be reached over every family of the import.
    IpFamily,
}

impl ConflictReason {
    /// The word in the condition's reason.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Port => "PortConflict",
            Self::Type => "TypeConflict",
            Self::SessionAffinity => "SessionAffinityConflict",
            Self::SessionAffinityConfig => "SessionAffinityConfigConflict",
            Self::Annotations => "AnnotationsConflict",
            Self::Labels => "LabelsConflict",
            Self::InternalTrafficPolicy => "InternalTrafficPolicyConflict",
            Self::TrafficDistribution => "TrafficDistributionConflict",
            Self::IpFamily => "IPFamilyConflict",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Port => "ports differ",
            Self::Type => "the type (headless or not) differs",
            Self::SessionAffinity => "sessionAffinity differs",
            Self::SessionAffinityConfig => "the timeout of sessionAffinity differs",
            Self::Annotations => "exportedAnnotations differ",
            Self::Labels => "exportedLabels differ",
            Self::InternalTrafficPolicy => "internalTrafficPolicy differs",
            Self::TrafficDistribution => "trafficDistribution differs",
            Self::IpFamily => "ipFamilies differ",
        }
    }

    fn outcome(self) -> &'static str {
        match self {
            Self::Port => "the import has all ports, and where a name or number clashes the oldest export's",
            Self::IpFamily => "some endpoints cannot be reached over every family of the import",
            Self::Type => "the import follows the oldest export, and exports of the other type get no traffic",
            _ => "the import follows the oldest export",
        }
    }
}

/// What the exporters, oldest first, disagree about.
pub(super) fn conflicts(exporters: &[&Export]) -> Vec<Conflict> {
    let Some((oldest, younger)) = exporters.split_first() else {
        return Vec::new();
    };
    ALL.into_iter()
        .filter_map(|reason| {
            let others: BTreeSet<ClusterId> = younger
                .iter()
                .filter(|export| differs(reason, oldest, export))
                .map(|export| export.service.cluster.clone())
                .collect();
            (!others.is_empty()).then(|| Conflict {
                reason,
                oldest: oldest.service.cluster.clone(),
                others: others.into_iter().collect(),
            })
        })
        .collect()
}

fn differs(reason: ConflictReason, oldest: &Export, other: &Export) -> bool {
    let (a, b) = (&oldest.service, &other.service);
    let is_alike = a.kind == b.kind;
    let has_ips = is_alike && a.kind == ImportKind::ClusterSetIP;
    match reason {
        ConflictReason::Port => is_alike && ports::sorted(oldest) != ports::sorted(other),
        ConflictReason::Type => !is_alike,
        ConflictReason::SessionAffinity => {
            has_ips && keeps_clients(a.session_affinity) != keeps_clients(b.session_affinity)
        }
        ConflictReason::SessionAffinityConfig => {
            let both = keeps_clients(a.session_affinity) && keeps_clients(b.session_affinity);
            has_ips && both && a.session_affinity != b.session_affinity
        }
        ConflictReason::Annotations => oldest.terms.annotations != other.terms.annotations,
        ConflictReason::Labels => oldest.terms.labels != other.terms.labels,
        ConflictReason::InternalTrafficPolicy => {
            has_ips && oldest.terms.internal_traffic_policy != other.terms.internal_traffic_policy
        }
        ConflictReason::TrafficDistribution => oldest.terms.traffic_distribution != other.terms.traffic_distribution,
        ConflictReason::IpFamily => is_alike && family_set(oldest) != family_set(other),
    }
}

fn keeps_clients(affinity: SessionAffinity) -> bool {
    matches!(affinity, SessionAffinity::ClientIp { .. })
}

fn family_set(export: &Export) -> BTreeSet<Family> {
    export.service.ip_families.iter().copied().collect()
}

const ALL: [ConflictReason; 9] = [
    ConflictReason::Port,
    ConflictReason::Type,
    ConflictReason::SessionAffinity,
    ConflictReason::SessionAffinityConfig,
    ConflictReason::Annotations,
    ConflictReason::Labels,
    ConflictReason::InternalTrafficPolicy,
    ConflictReason::TrafficDistribution,
    ConflictReason::IpFamily,
];

use serde::{Deserialize, Serialize};

use crate::{ClusterId, PrefixSet};

/// What a member tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    /// Addresses of its pods (and of its nodes inside the pod network).
    pub pod_prefixes: PrefixSet,
    /// Addresses of its services.
    pub service_prefixes: PrefixSet,
    /// Cable protocol versions that it speaks.
    pub protocol: ProtocolRange,
    /// Whether it takes part.
    pub state: ClusterState,
    /// Age, for arbitration: creation time on the broker in seconds since 1970, then uid.
    pub created: (i64, String),
}

impl Cluster {
    /// Pod and service prefixes together: what others route to this cluster, and accept from it.
    pub fn prefixes(&self) -> PrefixSet {
        self.pod_prefixes.union(&self.service_prefixes)
    }
}

/// Inclusive range of cable protocol versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProtocolRange {
    /// Oldest.
    pub min: u32,
    /// Newest.
    pub max: u32,
}

impl ProtocolRange {
    /// The newest version that both speak.
    pub fn newest_common(self, other: Self) -> Option<u32> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

/// Membership. `Leaving` and `Evicted` are tombstones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterState {
    /// Takes part.
    #[default]
    Active,
    /// Is cleaning up to go.
    Leaving,
    /// Was removed by an administrator.
    Evicted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_protocol() {
        let range = |min, max| ProtocolRange { min, max };
        assert_eq!(range(1, 3).newest_common(range(2, 5)), Some(3));
        assert_eq!(range(1, 1).newest_common(range(1, 1)), Some(1));
        assert_eq!(range(1, 1).newest_common(range(2, 2)), None);
    }
}

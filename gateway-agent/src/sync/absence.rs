//! Since when each member has been gone without a word. Absence alone is not removal: a member whose cables still carry traffic
//! stays, however long the broker does not know it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use model::ClusterId;

/// Members that are absent from the broker and have no live cable.
#[derive(Debug, Default)]
pub(super) struct Absences {
    since: BTreeMap<ClusterId, Instant>,
}

impl Absences {
    /// Tells who is gone now. Whoever is back starts anew the next time.
    pub(super) fn update(&mut self, gone: &BTreeSet<ClusterId>, now: Instant) {
        self.since.retain(|cluster, _| gone.contains(cluster));
        for cluster in gone {
            self.since.entry(cluster.clone()).or_insert(now);
        }
    }

    /// Members that have been gone for so long that they count as removed.
    pub(super) fn removed(&self, now: Instant) -> BTreeSet<ClusterId> {
        let long_gone = |since: &Instant| now.saturating_duration_since(*since) >= REMOVED_AFTER;
        let since = self.since.iter();
        since
            .filter(|(_, since)| long_gone(since))
            .map(|(cluster, _)| cluster.clone())
            .collect()
    }
}

/// How long a member must be absent with all its cables dead.
const REMOVED_AFTER: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ten_uninterrupted_minutes_remove_a_member() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let west: BTreeSet<ClusterId> = ["west".parse().unwrap()].into();
        let mut absences = Absences::default();
        absences.update(&west, at(0));
        absences.update(&west, at(599));
        assert!(absences.removed(at(599)).is_empty());
        assert_eq!(absences.removed(at(600)), west);
        absences.update(&BTreeSet::new(), at(601));
        absences.update(&west, at(602));
        assert!(absences.removed(at(1_200)).is_empty());
        assert_eq!(absences.removed(at(1_202)), west);
    }
}

//! What other tasks of the agent tell its main loop.

use k8s_runtime::lease::Standing;
use tokio::sync::watch;

use crate::election::ActiveRole;
use crate::sync::SyncReport;
use crate::sync_leader::SyncLeader;

/// Whether this gateway is the active one, whether it leads the exchange with the broker, and how that goes. To be kept from turn to
/// turn, because it remembers what has been seen: a copy made anew would find everything new, always.
pub(crate) struct News {
    active: watch::Receiver<Standing>,
    leader: watch::Receiver<Standing>,
    report: watch::Receiver<SyncReport>,
}

impl News {
    /// What is so now has been seen.
    pub(crate) fn of(active_role: &ActiveRole, sync: &SyncLeader) -> Self {
        Self {
            active: active_role.standing(),
            leader: sync.standing(),
            report: sync.report(),
        }
    }

    /// Resolves when there is something new.
    pub(crate) async fn changed(&mut self) {
        tokio::select! {
            _ = self.active.changed() => {}
            _ = self.leader.changed() => {}
            _ = self.report.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_has_been_seen_is_no_news() {
        let (role, active) = watch::channel(Standing::default());
        let (_leads, leader) = watch::channel(Standing::default());
        let (_reports, report) = watch::channel(SyncReport::default());
        let mut news = News { active, leader, report };
        let soon = Duration::from_millis(50);
        role.send_modify(|_| ());
        news.changed().await;
        assert!(
            tokio::time::timeout(soon, news.changed()).await.is_err(),
            "it is seen now"
        );
    }
}

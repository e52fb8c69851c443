use k8s_api::condition::{Finding, SYNCED};

/// How the sync leader fares: the `SyncedWithBroker` condition of its gateway, and the objects that it skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncReport {
    /// The condition.
    pub synced: Finding,
    /// Objects of the broker that were skipped because they are malformed, each with what is wrong and the mend.
    pub malformed: Vec<String>,
}

impl SyncReport {
    /// Something keeps the clusters from being in step.
    pub(super) fn trouble(reason: &str, message: impl Into<String>) -> Self {
        Self::new(false, reason, message)
    }

    /// All is in step.
    pub(super) fn synced(url: &str) -> Self {
        Self::new(true, "Synced", format!("in step with the broker at {url}"))
    }

    fn new(is_synced: bool, reason: &str, message: impl Into<String>) -> Self {
        Self {
            synced: Finding::new(SYNCED, is_synced, reason, message),
            malformed: Vec::new(),
        }
    }
}

impl Default for SyncReport {
    fn default() -> Self {
        Self::trouble("Starting", "the sync leader has just started")
    }
}

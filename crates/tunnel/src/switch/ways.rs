use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{ClusterId, GatewayId};

/// The gateway of each cluster that traffic goes to, as the first lane finds it. It alone probes fast and knows all gateways, so that
/// the others need not find out, each at another time, what it knows already.
///
/// A packet costs the other lanes one look at a number.
#[derive(Default)]
pub(crate) struct Ways {
    version: AtomicU64,
    chosen: Mutex<Arc<Chosen>>,
}

/// Clusters without a live gateway are missing.
pub(super) type Chosen = HashMap<ClusterId, GatewayId>;

impl Ways {
    pub(super) fn publish(&self, chosen: Chosen) {
        let mut published = self.lock();
        if **published != chosen {
            *published = Arc::new(chosen);
            // Under the lock, so that a version is never older than what it stands for.
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    /// Counts what was published.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What was published last, and its version.
    pub(super) fn current(&self) -> (Arc<Chosen>, u64) {
        let chosen = self.lock();
        (chosen.clone(), self.version())
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Chosen>> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! Who else is at work: on a server that is not the lab's, Kubernetes' own controllers may be, and hold their Lease.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::world::World;

pub(super) const CONTROLLER_MANAGER: &str = "kube-controller-manager";
pub(super) const SCHEDULER: &str = "kube-scheduler";

/// Whether the holder of this Lease has renewed it lately.
pub(super) fn is_done_by(leader: &str, world: &World, now: Timestamp) -> bool {
    let lease = world.leaders.iter().find(|lease| lease.name_any() == leader);
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref().map(|time| time.0));
    renewed.is_some_and(|renewed| now.duration_since(renewed) < LATELY)
}

/// Theirs last 15 s unless configured otherwise.
const LATELY: SignedDuration = SignedDuration::from_secs(30);

//! The route agent: keeps the kernel of one node as the clusterset needs it.
//!
//! ```text
//!  snapshot ─┐
//!  facts    ─┼─▶ clusterset::routes ─▶ hostnet::Desired ─┐
//!            │                                           ├─▶ hostnet::plan ─▶ apply ─▶ RouteAgent status
//!  kernel   ─┴─────────────── observe ───────────────────┘
//! ```
//!
//! Which gateway leads to which cluster it finds out itself, by probes over the VXLAN to every gateway candidate of the cluster: the
//! snapshot's word on that counts only until the first answers. When a probe says that another gateway should be used, the
//! nexthop objects are replaced at once and nothing else is done before (`Reconciler::shift`); the whole round follows.
//!
//! It wakes on a new snapshot, on the kernel's word that something of interest changed, and on a timer; whatever woke it, it does
//! the same: observe, plan, apply. With the API server gone it goes on with the last snapshot, also across a restart. When it ends,
//! what it made stays, so that an upgrade loses no packet; `tombolo-route-agent cleanup` takes it away, and so does the cluster's
//! leaving.

#![forbid(unsafe_code)]

mod app;
mod config;
mod deep;
mod facts;
mod hops;
mod metrics;
mod pace;
mod reconcile;
mod report;
mod status;
mod vip_report;

pub use app::main;
pub use facts::node_facts;
pub use reconcile::{Outcome, Reconciler, RoundError};

#[cfg(test)]
mod tests {
    use hostnet::tags;
    use model::names;

    /// The data plane knows the one list, the host network the other, and neither the other crate.
    #[test]
    fn both_lists_of_names_agree() {
        assert_eq!(tags::TUN_LINK, names::TUN_LINK);
        assert_eq!(tags::VXLAN_LINK, names::VXLAN_LINK);
        assert_eq!(tags::LINK_ANCHOR, names::LINK_ANCHOR);
        assert_eq!(
            (tags::VXLAN_VNI, tags::VXLAN_PORT),
            (names::VXLAN_VNI, names::VXLAN_PORT)
        );
        assert_eq!(tags::TRACKED_PROBE_PORT, names::TRACKED_PROBE_PORT);
    }
}

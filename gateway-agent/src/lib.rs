//! The gateway agent: carries the cables of one node, and, while it leads, keeps its cluster in step with the broker.
//!
//! ```text
//!  snapshot ──▶ clusterset::cables ──▶ CablePlan ──▶ tunnel engine ──▶ states, RTT, bytes ─┐
//!  Lease tombolo-gateway ──▶ active, epoch ─────────────┘                                 ├─▶ own Gateway (spec, status)
//!  node's links ──▶ addresses, underlay MTU ───────────────────────────────────────────────┘
//!  Lease tombolo-sync ──▶ sync::run ──▶ broker
//! ```
//!
//! Two leases, because two things are decided: which gateway the cluster's traffic uses, and which agent talks to the broker. The
//! active gateway keeps its role when it cannot renew it, since its cables are alive and a role held twice is settled by the epoch;
//! the sync leader stops at its deadline, since only one may write.
//!
//! With the API server gone the cables go on, also across a restart: key and last snapshot lie on the node. When the agent ends it
//! gives its leases back and leaves the TUN link, so that nothing is ever sent in the clear.

#![forbid(unsafe_code)]

mod app;
mod cluster_dns;
mod config;
mod convalescence;
mod data_plane;
mod deep;
mod election;
mod events;
pub mod hops;
mod lanes;
mod metrics;
mod news;
mod node;
mod own_gateway;
mod status;
pub mod sync;
mod sync_leader;
mod telemetry;
mod verdict;

pub use app::main;

//! How Tombolo's processes talk to an API server: read by watching, lead by lease, write through a queue.
//!
//! **Reading.** [`watch_all`] follows one kind. A malformed object is skipped and named, a kind that the server does not have
//! degrades to none, and a lost server leaves what was known as it was. [`watch_snapshot`] puts the kinds that make up a
//! [`model::Snapshot`] together: nothing is told before every kind was listed once, then each change is, and the last snapshot is
//! kept on disk, so that a restart without an API server goes on from it.
//!
//! ```text
//!   Cluster ────────┐
//!   Gateway ────────┼─ guarded watches ─▶ convert ─▶ View { snapshot, freshness, malformed } ─▶ decisions
//!   ExportedService ┤                                   │        ▲
//!   Node ───────────┘                                   └─ disk ─┘ at start
//! ```
//!
//! **Leading.** [`lease::Election`] decides by the local monotonic clock alone: another holder has lost its lease when it left the
//! object untouched for the whole duration *as seen from here*; we have lost ours when the last write that succeeded was *sent* a
//! deadline ago. Clocks of two machines are never compared. The transitions of the lease are the epoch that fences what a
//! former holder still does.
//!
//! **Writing.** An [`ApplyQueue`] is one task that carries out server-side applies, several at a time but those of one object in order. At
//! most one order waits for each part of an object: a newer one replaces it. Planners decide whole states, so nothing is lost by that.
//!
//! **Connecting.** [`client()`] and [`client_for`] make clients that fail soon instead of retrying for minutes, and [`explain()`] turns
//! what went wrong into a cause that a person can act on.

#![forbid(unsafe_code)]

mod client;
mod explain;
mod find;
mod guarded;
pub mod lease;
mod queue;
mod snapshot;
mod watched;

pub use client::{ClientOptions, ConnectError, ServerAddress, client, client_for, install_crypto_provider};
pub use explain::explain;
pub use find::Find;
pub use guarded::{Guarded, Malformed};
pub use queue::{ApplyQueue, Change, Failures, Order, QueueFull, QueueOptions};
pub use snapshot::{Freshness, SnapshotOptions, View, register_snapshot_metrics, watch_snapshot};
pub use watched::{Link, ObjectKey, Watched, watch_all, watch_some};

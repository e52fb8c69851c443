//! The name server of `clusterset.local`.
//!
//! ```text
//!  snapshot ──▶ clusterset::dns::changes ──▶ zone::Zone ──(swapped)──▶ answer(query, zone) ◀── UDP, TCP
//! ```
//!
//! It reads the local API only, and decides nothing: [`clusterset::dns`] says which records a name has, and [`answer`] what DNS
//! makes of it. A new view is swapped in whole, so no query waits for one. Without an API server it answers from the last view,
//! also across a restart, and says so in `/readyz?verbose` and in a metric; without any view it answers SERVFAIL, because "no
//! such name" would be a lie that resolvers remember.
//!
//! Beside its own zones it can pass on those of other clusters ([`forward`]), and beside cluster DNS it can answer hosts outside
//! Kubernetes, on a listener of its own that only their prefixes may ask.

#![forbid(unsafe_code)]

mod access;
pub mod answer;
mod app;
mod config;
#[cfg(test)]
mod fixture;
pub mod forward;
mod limit;
mod metrics;
mod server;
mod zone;

pub use access::Access;
pub use app::main;
pub use metrics::Metrics;
pub use server::{ListenError, Server, Shared};
pub use zone::{InvalidZone, Zone};

//! The decisions. Every one is a pure function of the latest whole [`model::Snapshot`]: no event handler, no remembered state, no
//! clock, no randomness. So missed events, restarts and manual tampering all heal the same way, and every rule is tested without
//! a cluster.
//!
//! ```text
//!                  ┌ claims   which member may use which prefix
//!                  ├ choice   which gateway leads to which cluster
//!  Snapshot ──────▶├ mtu      how large a packet may be
//!                  ├ cables   what the data plane does            ──▶ model::CablePlan
//!                  ├ routes   what a node's kernel is to look like ──▶ hostnet::Desired
//!                  ├ exports  what the clusterset is told of a service
//!                  ├ imports  what exported services become in every cluster
//!                  ├ vip      which clusterset IP a service has, and which endpoint a connection to it gets
//!                  └ dns      which records every name has         ──▶ dns::ZoneView
//! ```

#![forbid(unsafe_code)]

pub mod cables;
pub mod choice;
pub mod claims;
pub mod dns;
pub mod exports;
#[cfg(test)]
mod fixture;
pub mod imports;
pub mod mtu;
pub mod routes;
pub mod vip;

//! One of many leads.
//!
//! [`Election`] is the state machine: records of the lease and the time go in, what to do next comes out. [`campaign()`] is the loop
//! around it that speaks to the API server.
//!
//! ```text
//!              ┌───────────── read: another holds it, or held it and renews ◀──┐
//!              ▼                                                              │
//!          Following ── nobody holds it, or not renewed for its duration ──▶ write ── accepted ──▶ Leading ─┐
//!              ▲                                                              ▲                          │ renew
//!              └── another holds it · deadline passed (unless frozen) ────────┴──────────────────────────┘
//! ```
//!
//! A write names the version of the lease that it is based on, so of two that write at once one is refused and reads again. The
//! epoch is the lease's count of transitions: it grows whenever the lease goes from one holder to another, or is taken up
//! again after it was released, and stays when its holder comes back after a restart.

mod campaign;
mod election;
#[cfg(test)]
mod tests;

pub use campaign::{Campaign, CampaignOptions, campaign};
pub use election::{Action, Election, OnSilence, Record, Standing, Timing, Version};

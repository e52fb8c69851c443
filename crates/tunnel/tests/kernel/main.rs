//! The engine on a real kernel: two network namespaces, a veth pair between them, an engine in each.
//!
//! These tests need root. Without it they print why they skip; `TOMBOLO_TEST_NO_SKIP=1` makes that a failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod allocations;
mod attacker;
mod bed;
mod cables;
mod devices;
mod ecn;
mod flood;
mod gro;
mod lanes;
mod module;
mod soak;
mod stock;
mod traffic;

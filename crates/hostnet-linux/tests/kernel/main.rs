//! Kernel effects, each test in fresh network namespaces that go with it.
//!
//! `state` looks at what the kernel holds, `drift` at what others do to it, `traffic` at what packets meet, `vips`
//! at connections to clusterset IPs.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod drift;
mod node;
mod state;
mod traffic;
mod transit;
mod vip_figures;
mod vips;

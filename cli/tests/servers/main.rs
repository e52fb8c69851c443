//! The binary against API servers on the loopback, without nodes behind them.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod broker_serve;
mod cluster_dns;
mod fixture;
mod membership;
mod services;

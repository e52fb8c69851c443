//! The server as its clients see it: through `kube`, in process.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail the test")]

mod access;
mod apply;
mod churn;
mod crud;
mod custom;
mod durable;
mod fixture;
mod refusals;
mod services;
mod tokens;
mod watches;
mod workloads;

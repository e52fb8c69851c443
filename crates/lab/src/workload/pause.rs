//! Holds a pod open until it is asked to end.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

/// Nothing to choose.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {}

/// Sleeps until SIGTERM or SIGINT.
///
/// # Errors
/// When signals cannot be handled.
pub async fn run(_args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

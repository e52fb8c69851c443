use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the process is asked to end: SIGTERM, as Kubernetes sends it, or SIGINT, as a person does.
///
/// # Panics
/// When signal handlers cannot be installed, which means that there is no runtime.
pub async fn shutdown() {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
    let mut interrupt = signal(SignalKind::interrupt()).expect("a handler for SIGINT");
    tokio::select! {
        _ = terminate.recv() => tracing::info!("asked to end by SIGTERM"),
        _ = interrupt.recv() => tracing::info!("asked to end by SIGINT"),
    }
}

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sends the process's log to standard error. `TOMBOLO_LOG` filters it (default `info`); `TOMBOLO_LOG_FORMAT=json` writes one
/// JSON object a line. Calling it again is harmless, so that several daemons can share a process in tests.
pub fn init_logging() {
    let filter = EnvFilter::try_from_env("TOMBOLO_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // `try_init` fails only when a subscriber is set already, which is what a second call wants.
    let _ = if std::env::var("TOMBOLO_LOG_FORMAT").is_ok_and(|format| format == "json") {
        builder.json().try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}

/// The kube crates log an error for each failed request; whoever made the request says so once, with the cause.
const DEFAULT_FILTER: &str = "info,kube_client=off,kube_runtime=off";

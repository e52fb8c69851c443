//! What every Tombolo daemon has around its work: logging, an admin server, and an orderly end.
//!
//! The admin server answers three paths. `/metrics` is the Prometheus text format of everything the daemon registered.
//! `/healthz` says that the process turns. `/readyz` says whether it can do its job: every [`Readiness`] check must hold, and
//! `/readyz?verbose` lists them, one a line, with the reason of each that fails. Notes appear in the list but never fail it:
//! a name server that serves yesterday's view is ready, and says so.
//!
//! The server binds only where the daemon was told to, which by default is loopback or the pod network.

#![forbid(unsafe_code)]

mod admin;
mod logging;
mod readiness;
mod run;
mod signal;

pub use admin::{Admin, AdminError};
pub use logging::init_logging;
pub use prometheus::Registry;
pub use readiness::Readiness;
pub use run::run;
pub use signal::shutdown;

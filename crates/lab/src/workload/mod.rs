//! What runs in the lab's pods when a test or a demonstration needs somebody to talk to.
//!
//! [`echo`] answers over TCP and UDP with its own name and the address it saw the client at. [`fetch`] is the client: it
//! resolves a name as any program in the pod would, and checks what came back. [`stream`] asks all the time, and tells for how
//! long nobody answered. [`connects`] counts new connections, [`names`] waits for names to appear. [`pause`] only holds a pod open.

use std::time::{SystemTime, UNIX_EPOCH};

pub mod connects;
pub mod echo;
pub mod fetch;
pub(crate) mod input;
pub mod names;
pub mod pause;
pub mod stream;
#[cfg(test)]
mod tests;

/// Microseconds since 1970: one clock for all processes of a machine, whatever namespaces they are in.
pub(crate) fn micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

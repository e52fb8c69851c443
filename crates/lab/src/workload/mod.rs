//! What runs in the lab's pods when a test or a demonstration needs somebody to talk to.
//!
//! [`echo`] answers over TCP and UDP with its own name and the address it saw the client at. [`fetch`] is the client: it
//! resolves a name as any program in the pod would, and checks what came back. [`stream`] asks all the time, and tells for how
//! long nobody answered. [`pause`] only holds a pod open.

pub mod echo;
pub mod fetch;
pub mod pause;
pub mod stream;
#[cfg(test)]
mod tests;

//! What runs in the lab's pods when a test or a demonstration needs somebody to talk to.
//!
//! [`echo`] answers over TCP and UDP with its own name and the address it saw the client at. [`fetch`] is the client: it
//! resolves a name as any program in the pod would, and checks what came back. [`pause`] only holds a pod open.

pub mod echo;
pub mod fetch;
pub mod pause;
#[cfg(test)]
mod tests;

//! Kubernetes clusters on one machine, for demonstrations and tests: every host and every pod is a network namespace, and every
//! process is a real one.
//!
//! ```text
//!   person ─▶ command ─▶ up / down / exec / fault / status      one short-lived process each
//!                          │ topology: what there is (pure)
//!                          │ wiring:   as `ip` commands (pure)
//!                          ▼
//!   in each cluster   api_server, controllers                   in the API host's namespace
//!   on each node      kubelet, proxy                            in the node's namespace
//!   in a faulty link  impair                                    in the namespace of its switch, while there is a fault
//!   in each pod       container ─▶ the program of the image     in the pod's namespaces
//! ```
//!
//! The lab stands for what Tombolo does not own: the underlay between clusters and the parts of Kubernetes. It behaves as the real
//! ones do where that matters to software on top: the CNI masquerades what leaves the pod prefix, the service proxy marks and
//! masquerades foreign sources, containers have the capabilities that their securityContext leaves them. All parts talk to the
//! API server with `kube` alone, so that a real one can take the embedded one's place.
//!
//! # What holds
//!
//! * Nothing is made in the machine's own network namespace, and nothing outside `/run/netns` and `/run/tombolo-lab`.
//! * Whatever is killed at whatever point, `down` finds what is left: by the names of namespaces first, by records second.
//! * A seed repeats every address.
//!
//! The roles are hidden commands of the same program, which starts itself again for each.

#![forbid(unsafe_code)]

mod addons;
pub mod api_server;
mod apply;
pub mod cluster_dns;
pub mod command;
pub mod container;
pub mod controllers;
pub mod down;
mod dual_stack;
pub mod enter;
pub mod external;
mod fault;
pub mod feed;
pub mod image;
mod impair;
pub mod kubelet;
mod logs;
mod mirror;
pub mod namespace;
pub mod process;
pub mod proxy;
pub mod state;
pub mod status;
pub mod target;
pub mod topology;
pub mod up;
mod wiring;
pub mod workload;

pub use state::Lab;

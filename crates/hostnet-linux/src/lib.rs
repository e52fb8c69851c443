//! The kernel's side of [`hostnet`]: reads what is there, does what a plan says, and tells when something changed.
//!
//! ```text
//!   observe ──▶ hostnet::plan ──▶ apply          netlink: links, addresses, neighbours, FDB, nexthops, routes, rules
//!      ▲                            │            nft:     one table, written as text in one transaction, read as JSON
//!      └──── Monitor: it changed ───┘            files:   /proc/sys/net, with a memory of what was there before
//! ```
//!
//! * [`HostNet::observe`] returns **only what carries our tag**, and a few facts. A dump that the kernel changed under us is read
//!   again; dumps go one after the other (the kernel answers `EBUSY` to two on one socket).
//! * [`HostNet::apply`] does each op of a plan and **collects errors** instead of stopping: an op that fails is in the next plan
//!   again, and what does not depend on it should not wait. A kernel or image without a feature is named as [`Feature`].
//! * [`HostNet::cleanup`] removes everything of ours, found by its tags, and gives back the sysctls that we changed and nobody
//!   changed since. It needs no API server and, but for those sysctls, no memory.
//! * [`Monitor`] turns the kernel's notifications into "look again". It carries no content: what changed is `observe`'s to say.
//! * [`NetNs`] is for the lab and for tests.
//!
//! Netlink sockets belong to the network namespace of the thread that opened them, while `/proc/sys/net` and `nft` follow the
//! calling thread: a [`HostNet`] is opened and used on threads of one namespace.

#![forbid(unsafe_code)]

mod addresses;
mod apply;
mod cleanup;
mod conntrack;
mod error;
mod links;
mod monitor;
mod neighbours;
mod netlink;
mod netns;
mod nexthops;
mod nft;
mod nft_elements;
mod nft_generation;
mod nft_json;
mod nft_json_vips;
mod observe;
mod routes;
mod rules;
mod sysctl;

use std::io;
use std::path::Path;

pub use apply::Applied;
pub use cleanup::Cleaned;
pub use error::{ApplyError, Feature, NftError, ObserveError, OpError};
pub use monitor::Monitor;
pub use netns::{NetNs, NetNsError};

/// The network state of the namespace in which it was opened.
#[derive(Debug)]
pub struct HostNet {
    netlink: netlink::Netlink,
    nft: nft::Nft,
    conntrack: conntrack::Conntrack,
    sysctls: sysctl::Sysctls,
}

impl HostNet {
    /// Opens netlink in this thread's namespace, on this thread's tokio runtime. `state_dir` keeps the memory of sysctls.
    ///
    /// # Errors
    /// If the kernel gives no netlink socket.
    pub fn open(state_dir: &Path) -> io::Result<Self> {
        Ok(Self {
            netlink: netlink::Netlink::open()?,
            nft: nft::Nft::open("nft".into())?,
            conntrack: conntrack::Conntrack::open()?,
            sysctls: sysctl::Sysctls::new(state_dir),
        })
    }

    /// Runs this nft instead of the one on the path.
    #[must_use]
    pub fn with_nft_program(mut self, program: &Path) -> Self {
        self.nft.program = program.to_owned();
        self
    }

    /// Uses another place for `/proc/sys/net`: container runtimes mount that one read-only, and only a mount of it elsewhere is
    /// writable. Whichever path is used, the kernel shows the settings of the caller's own namespace.
    #[must_use]
    pub fn with_proc_sys_net(mut self, path: &Path) -> Self {
        self.sysctls.set_root(path);
        self
    }
}

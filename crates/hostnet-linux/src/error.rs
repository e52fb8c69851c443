//! What can go wrong, in words for the person who has to mend it.

use std::{fmt, io};

use hostnet::Op;

/// Reading the kernel's state failed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A netlink dump failed, or the kernel kept changing under it.
    #[error("cannot read this node's {what}; the agent needs hostNetwork and the capability NET_ADMIN")]
    Netlink {
        /// What was read.
        what: &'static str,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// The nft table could not be read.
    #[error("cannot read this node's nft table")]
    Nft(#[source] NftError),
}

/// One step of a plan failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {op}: {cause}")]
pub struct ApplyError {
    /// The step.
    pub op: Op,
    /// Why.
    pub cause: OpError,
}

/// Why one step failed.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// This kernel or image cannot do it at all.
    #[error("{0}")]
    Unsupported(Feature),
    /// The kernel refused.
    #[error("the kernel answered: {0}")]
    Kernel(#[from] io::Error),
    /// nft refused.
    #[error("{0}")]
    Nft(NftError),
    /// A link that the step needs is gone.
    #[error("link {0} does not exist")]
    NoLink(String),
    /// A setting could not be read or written.
    #[error(
        "/proc/sys/{path}: {source}; mount the node's /proc/sys/net into the agent's pod and name it by --proc-sys-net, and check that the kernel has this setting"
    )]
    Sysctl {
        /// Below `/proc/sys`.
        path: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The value before could not be remembered, so the setting was not touched.
    #[error("cannot remember the value before in {path}: {source}")]
    Memory {
        /// The file.
        path: String,
        /// What failed.
        source: io::Error,
    },
}

/// What a node may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// VXLAN links.
    Vxlan,
    /// Nexthop objects (Linux 5.3).
    Nexthops,
    /// Policy routing.
    PolicyRouting,
    /// nf_tables in the kernel.
    NfTables,
    /// The nft program.
    NftProgram,
}

/// Running nft failed.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// There is no such program, or the kernel lacks nf_tables.
    #[error("{0}")]
    Unsupported(Feature),
    /// It could not be run.
    #[error("cannot run nft: {0}")]
    Run(#[source] io::Error),
    /// It did not end in time.
    #[error("nft did not end within {0} seconds; another program may hold the ruleset: look at `nft list ruleset`")]
    Timeout(u64),
    /// Elements could not be changed by netlink.
    #[error(
        "the kernel answered to a change of nftables elements: {0}; if another program changes the table, the next round mends it"
    )]
    Elements(#[source] io::Error),
    /// It refused.
    #[error("nft answered: {0}")]
    Refused(String),
    /// Its JSON is not what nft 1.0.6 and later write.
    #[error("nft wrote JSON that cannot be read: {0}; nft 1.0.6 or newer is needed")]
    Json(String),
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vxlan => "this kernel has no VXLAN links; load the module vxlan or use a kernel with CONFIG_VXLAN",
            Self::Nexthops => "this kernel has no nexthop objects; Linux 5.3 or newer is needed",
            Self::PolicyRouting => {
                "this kernel has no policy routing; a kernel with CONFIG_IP_MULTIPLE_TABLES is needed"
            }
            Self::NfTables => {
                "this kernel has no nf_tables; load the module nf_tables or use a kernel with CONFIG_NF_TABLES"
            }
            Self::NftProgram => "the program nft is not installed; install nftables 1.0.6 or newer",
        })
    }
}

impl std::error::Error for Feature {}

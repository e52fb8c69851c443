use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use model::{NodeName, names};

/// Keeps the routes, rules and links of one node as the clusterset needs them.
#[derive(Debug, Parser)]
#[command(
    name = "tombolo-route-agent",
    version,
    after_help = "Examples:
  tombolo-route-agent                       run as the DaemonSet does
  tombolo-route-agent cleanup               remove everything of Tombolo from this node; needs no API server
  TOMBOLO_LOG=debug tombolo-route-agent     say what is done, step by step"
)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    /// Name of this node, as `kubectl get nodes` shows it
    #[arg(long, env = "NODE_NAME", value_parser = parse_node)]
    pub(crate) node: Option<NodeName>,
    /// Namespace of Tombolo's own objects
    #[arg(long, env = "POD_NAMESPACE", default_value = names::SYSTEM_NAMESPACE)]
    pub(crate) namespace: String,
    /// Kubeconfig to use instead of the pod's own account
    #[arg(long, env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where the last snapshot and the sysctls' former values are kept
    #[arg(long, default_value = names::STATE_DIR, global = true)]
    pub(crate) state_dir: PathBuf,
    /// Where the node's /proc/sys/net is mounted writable, as container runtimes mount theirs read-only
    #[arg(
        long,
        env = "TOMBOLO_PROC_SYS_NET",
        value_name = "DIR",
        default_value = "/proc/sys/net",
        global = true
    )]
    pub(crate) proc_sys_net: PathBuf,
    /// Address of metrics and health
    #[arg(long, default_value_t = SocketAddr::from(([127, 0, 0, 1], names::ROUTE_ADMIN_PORT)))]
    pub(crate) admin: SocketAddr,
    /// Do not keep the source addresses of clients; for tests that show what keeping them is for
    #[arg(long, env = "TOMBOLO_NO_SOURCE_KEEPING", value_parser = clap::builder::FalseyValueParser::new(), hide = true)]
    pub(crate) no_source_keeping: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Remove everything of Tombolo from this node
    Cleanup,
}

fn parse_node(text: &str) -> Result<NodeName, model::InvalidId> {
    text.parse()
}

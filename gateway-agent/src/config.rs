use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use model::{ClusterId, NodeName, names};

/// Carries this node's cables to the gateways of other clusters.
#[derive(Debug, Parser)]
#[command(
    name = "tombolo-gateway-agent",
    version,
    after_help = "Examples:
  tombolo-gateway-agent                            run as the DaemonSet does
  tombolo-gateway-agent --public-ip 203.0.113.7    behind a NAT that forwards UDP 4510
  TOMBOLO_LOG=debug tombolo-gateway-agent          say what is done, step by step"
)]
pub(crate) struct Config {
    /// Name of this node, as `kubectl get nodes` shows it
    #[arg(long, env = "NODE_NAME")]
    pub(crate) node: NodeName,
    /// Namespace of Tombolo's own objects
    #[arg(long, env = "POD_NAMESPACE", default_value = names::SYSTEM_NAMESPACE)]
    pub(crate) namespace: String,
    /// Id of this cluster [default: as its Cluster object says]
    #[arg(long)]
    pub(crate) cluster_id: Option<ClusterId>,
    /// Kubeconfig to use instead of the pod's own account
    #[arg(long, env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where the private key and the last snapshot are kept
    #[arg(long, default_value = names::STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// UDP port of all cables
    #[arg(long, default_value_t = names::CABLE_PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) listen_port: u16,
    /// Address under which other clusters reach this node besides its own; may be repeated
    #[arg(long = "public-ip", value_name = "IP")]
    pub(crate) public: Vec<IpAddr>,
    /// Higher is preferred as the active gateway
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub(crate) priority: i32,
    /// Microseconds that the data plane looks for more packets after each before it sleeps: shorter round trips for part of a core
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1000))]
    pub(crate) busy_poll: u64,
    /// Address of metrics and health
    #[arg(long, default_value_t = SocketAddr::from(([127, 0, 0, 1], names::GATEWAY_ADMIN_PORT)))]
    pub(crate) admin: SocketAddr,
}

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use model::names;

/// Answers `clusterset.local` for exported services, over UDP and TCP.
#[derive(Debug, Parser)]
#[command(
    name = "tombolo-lighthouse-dns",
    version,
    after_help = "Examples:
  tombolo-lighthouse-dns                                    run as the Deployment does
  tombolo-lighthouse-dns --listen 127.0.0.1:5353            beside another name server
  dig @127.0.0.1 -p 5353 dns-version.clusterset.local TXT   ask it"
)]
pub(crate) struct Config {
    /// Address to answer on, UDP and TCP
    #[arg(long, default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 53)))]
    pub(crate) listen: SocketAddr,
    /// Zone to answer for
    #[arg(long, default_value = names::CLUSTERSET_ZONE)]
    pub(crate) zone: String,
    /// Seconds that answers may be kept
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub(crate) ttl: u32,
    /// Namespace of Tombolo's own objects
    #[arg(long, env = "POD_NAMESPACE", default_value = names::SYSTEM_NAMESPACE)]
    pub(crate) namespace: String,
    /// Kubeconfig to use instead of the pod's own account
    #[arg(long, env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where the last snapshot is kept
    #[arg(long, default_value = names::STATE_DIR)]
    pub(crate) state_dir: PathBuf,
    /// Address of metrics and health; the pod network, so that the kubelet reaches it
    #[arg(long, default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, names::DNS_ADMIN_PORT)))]
    pub(crate) admin: SocketAddr,
}

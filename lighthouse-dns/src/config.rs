use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use clap::Parser;
use model::{InvalidPrefix, PrefixSet, names};

use crate::forward::Forward;

/// Answers `clusterset.local` for exported services, over UDP and TCP.
#[derive(Debug, Parser)]
#[command(
    name = "tombolo-lighthouse-dns",
    version,
    after_help = "Examples:
  tombolo-lighthouse-dns                                    run as the Deployment does
  tombolo-lighthouse-dns --listen 127.0.0.1:5353            beside another name server
  tombolo-lighthouse-dns --zone clusterset.local --zone corp.example  the same names in a second zone
  tombolo-lighthouse-dns --forward west.lan=10.112.0.10     west's own zone, asked of west's DNS
  tombolo-lighthouse-dns --external-listen 0.0.0.0:5300 --external-allow 192.0.2.0/24
  dig @127.0.0.1 -p 5353 dns-version.clusterset.local TXT   ask it"
)]
pub(crate) struct Config {
    /// Address to answer on, UDP and TCP
    #[arg(long, default_value_t = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 53)))]
    pub(crate) listen: SocketAddr,
    /// Zone to answer for; may be given again, and every zone has the same names. PTR records lead to the first
    #[arg(long = "zone", value_name = "ZONE", default_value = names::CLUSTERSET_ZONE)]
    pub(crate) zones: Vec<String>,
    /// Pass a zone on to another cluster's DNS, over the cable; may be given again
    #[arg(long = "forward", value_name = "ZONE=ADDRESS,…")]
    pub(crate) forwards: Vec<Forward>,
    /// Address to answer hosts outside Kubernetes on, UDP and TCP; needs --external-allow
    #[arg(long, value_name = "ADDRESS", requires = "external_allow")]
    pub(crate) external_listen: Option<SocketAddr>,
    /// Prefix of the hosts outside Kubernetes that may ask; may be given again. Others are told REFUSED
    #[arg(long, value_name = "PREFIX", requires = "external_listen", value_parser = prefix)]
    pub(crate) external_allow: Vec<PrefixSet>,
    /// Give CLUSTER.SERVICE.NAMESPACE.svc.ZONE no records, as the MCS API says, instead of that cluster's service
    #[arg(long)]
    pub(crate) strict_mcs: bool,
    /// UDP responses a second for one client network (/24, /56), in each thread; 0 means no limit. Beyond it, clients are sent to TCP
    #[arg(long, default_value_t = 100_000, value_name = "PER_SECOND")]
    pub(crate) rate_limit: u32,
    /// Threads that answer UDP, at most one a core by default
    #[arg(long, default_value_t = default_threads(), value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) udp_threads: u16,
    /// Answer from this saved snapshot alone, without an API server
    #[arg(long, value_name = "FILE")]
    pub(crate) snapshot: Option<PathBuf>,
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

fn prefix(text: &str) -> Result<PrefixSet, InvalidPrefix> {
    PrefixSet::parse([text])
}

fn default_threads() -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(cores.min(4)).unwrap_or(1)
}

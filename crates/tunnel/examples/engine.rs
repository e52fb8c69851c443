//! One engine with one peer, from flags, to try and to measure the data plane alone.
//!
//! ```console
//! # ip netns exec a engine --key-file a.key --peer-key "$B" --peer 192.0.2.2:4510 --address 10.1.0.1/32 --prefix 10.2.0.0/16
//! # ip netns exec b engine --key-file b.key --peer-key "$A" --peer 192.0.2.1:4510 --address 10.2.0.1/32 --prefix 10.1.0.0/16
//! # ip netns exec a iperf3 -c 10.2.0.1
//! ```
//!
//! It prints its public key first, then a line whenever the cable changes. Without `--peer-key` it prints the key and ends.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use ipnet::IpNet;
use model::{CablePlan, ClusterId, GatewayId, PeerPlan, PublicKey, probe_address};
use tunnel::{Engine, EngineConfig, Lanes, TunDevice, load_or_create_key};

#[derive(Parser)]
struct Flags {
    /// Name of the TUN link.
    #[arg(long, default_value = "tombolo0")]
    interface: String,
    /// File of the private key; made if there is none.
    #[arg(long)]
    key_file: PathBuf,
    /// UDP port of this end.
    #[arg(long, default_value_t = model::names::CABLE_PORT)]
    listen: u16,
    /// Public key of the other end.
    #[arg(long)]
    peer_key: Option<PublicKey>,
    /// Address and port of the other end; repeat it to try several. None: it must start.
    #[arg(long)]
    peer: Vec<SocketAddr>,
    /// The other end is a stock WireGuard that answers no probes.
    #[arg(long)]
    stock: bool,
    /// Prefix behind the other end; repeatable.
    #[arg(long)]
    prefix: Vec<IpNet>,
    /// Address for the TUN link of this end; repeatable.
    #[arg(long)]
    address: Vec<IpNet>,
    /// MTU inside the cable.
    #[arg(long, default_value_t = 1420)]
    mtu: u16,
    /// Lanes, each a thread; the other end must have as many. A stock peer gets one.
    #[arg(long, default_value_t = tunnel::offered_lanes(), value_parser = clap::value_parser!(u8).range(1..=16))]
    lanes: u8,
    /// Microseconds that a lane looks for more packets before it sleeps.
    #[arg(long, env = "TOMBOLO_BUSY_POLL_US", default_value_t = 0)]
    busy_poll_us: u64,
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("info,boringtun=off")
        .with_writer(std::io::stderr)
        .init();
    let flags = Flags::parse();
    let private_key = load_or_create_key(&flags.key_file)?;
    println!("{}", private_key.public_key());
    let Some(peer_key) = flags.peer_key else { return Ok(()) };

    let tun = TunDevice::open(&flags.interface)?;
    let (changed, changes) = mpsc::channel();
    let on_change = Box::new(move || {
        // Fails only when main has ended, and then nobody wants to know.
        let _ = changed.send(());
    });
    let engine = Lanes::start(EngineConfig {
        private_key,
        tun,
        port: flags.listen,
        lanes: flags.lanes,
        busy_poll: Duration::from_micros(flags.busy_poll_us),
        on_change,
    })?;
    configure_link(&flags)?;
    engine.apply(&plan(&flags, peer_key)?);
    for () in changes {
        if let Some(failure) = engine.failure() {
            anyhow::bail!(failure);
        }
        for status in engine.status() {
            let cable = status.connection;
            let remote = cable
                .remote_address
                .map_or_else(|| "-".to_owned(), |address| address.to_string());
            println!("{:?} {remote} {}", cable.state, cable.message);
        }
    }
    Ok(())
}

fn plan(flags: &Flags, public_key: PublicKey) -> anyhow::Result<CablePlan> {
    let cluster: ClusterId = "peer".parse()?;
    let towards_peer: Vec<_> = flags.prefix.iter().map(|prefix| (*prefix, cluster.clone())).collect();
    Ok(CablePlan {
        peers: vec![PeerPlan {
            gateway: GatewayId {
                cluster,
                node: "gateway".parse()?,
            },
            public_key,
            candidates: flags.peer.clone(),
            probe_address: (!flags.stock).then(|| probe_address(&public_key)),
            mtu: flags.mtu,
            lanes: if flags.stock { 1 } else { flags.lanes },
        }],
        send: towards_peer.clone(),
        accept: towards_peer,
        mtu: flags.mtu,
        carries: true,
        ..CablePlan::default()
    })
}

fn configure_link(flags: &Flags) -> anyhow::Result<()> {
    let link = &flags.interface;
    ip(&format!("link set {link} mtu {} up", flags.mtu))?;
    for address in &flags.address {
        ip(&format!("address replace {address} dev {link}"))?;
    }
    for prefix in &flags.prefix {
        let is_same_family = |address: &&IpNet| address.addr().is_ipv4() == prefix.addr().is_ipv4();
        let source = flags.address.iter().find(is_same_family);
        let source = source.map_or_else(String::new, |address| format!(" src {}", address.addr()));
        ip(&format!("route replace {prefix} dev {link}{source}"))?;
    }
    Ok(())
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .context("cannot run ip (iproute2)")?;
    ensure!(status.success(), "\"ip {arguments}\" failed");
    Ok(())
}

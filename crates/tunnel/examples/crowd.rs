//! One engine with many cables, and the engines at their other ends, to measure what probes and handshakes alone cost.
//!
//! ```console
//! # ip netns exec a crowd hub --cables 400 --folder keys --others 192.0.2.2
//! # ip netns exec b crowd spokes --cables 400 --folder keys --hub 192.0.2.1:4510
//! ```
//!
//! Every end says that it is its cluster's active gateway, so all cables are probed at the pace of those in use. The hub makes the keys,
//! prints `ready`, and then how many cables are connected whenever that changes. The spokes print `ready` when all of them run, and
//! only then begin their handshakes, all together.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use model::{CablePlan, ConnectionState, GatewayId, PeerPlan, ProbeRole, PublicKey, probe_address};
use tunnel::{Engine, EngineConfig, Lanes, PrivateKey, TunDevice, load_or_create_key};

#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    side: Side,
    /// How many.
    #[arg(long, global = true, default_value_t = 400)]
    cables: u16,
    /// Where the private keys are.
    #[arg(long, global = true, default_value = ".")]
    folder: PathBuf,
}

#[derive(Subcommand)]
enum Side {
    /// The engine with many cables.
    Hub {
        /// Address of the others.
        #[arg(long)]
        others: IpAddr,
    },
    /// All others, each with one.
    Spokes {
        /// Address and port of the hub.
        #[arg(long)]
        hub: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter("warn,boringtun=off")
        .with_writer(std::io::stderr)
        .init();
    let flags = Flags::parse();
    let hub = load_or_create_key(&flags.folder.join("hub.key"))?;
    let spokes: Vec<_> = (0..flags.cables)
        .map(|number| spoke_key(&flags.folder, number))
        .collect::<Result<_, _>>()?;
    match flags.side {
        Side::Hub { others } => {
            let peers = spokes.iter().zip(0..).map(|(key, number)| {
                let address = SocketAddr::new(others, FIRST_PORT + number);
                peer(&format!("spoke{number}"), key.public_key(), address)
            });
            let peers = peers.collect::<anyhow::Result<Vec<_>>>()?;
            let (changed, changes) = mpsc::channel();
            let engine = start(hub, "crowd-hub", model::names::CABLE_PORT, move || {
                // Fails only when main has ended, and then nobody wants to know.
                let _ = changed.send(());
            })?;
            engine.apply(&plan(peers));
            println!("ready");
            watch(&engine, &changes)
        }
        Side::Spokes { hub: address } => {
            let mut engines = Vec::new();
            for (key, number) in spokes.into_iter().zip(0..) {
                engines.push(start(key, &format!("crowd{number}"), FIRST_PORT + number, || {})?);
            }
            println!("ready");
            let plan = plan(vec![peer("hub", hub.public_key(), address)?]);
            for engine in &engines {
                engine.apply(&plan);
            }
            loop {
                std::thread::park();
            }
        }
    }
}

fn watch(engine: &Lanes, changes: &mpsc::Receiver<()>) -> anyhow::Result<()> {
    let mut known = 0;
    for () in changes {
        if let Some(failure) = engine.failure() {
            anyhow::bail!(failure);
        }
        let cables = engine.status();
        let is_connected = |state| state == ConnectionState::Connected;
        let connected = cables
            .iter()
            .filter(|cable| is_connected(cable.connection.state))
            .count();
        if std::mem::replace(&mut known, connected) != connected {
            println!("connected {connected}");
        }
    }
    Ok(())
}

fn start(
    key: PrivateKey,
    link: &str,
    port: u16,
    on_change: impl Fn() + Send + Sync + 'static,
) -> anyhow::Result<Lanes> {
    let engine = Lanes::start(EngineConfig {
        private_key: key,
        tun: TunDevice::open(link)?,
        port,
        lanes: 1,
        busy_poll: Duration::ZERO,
        on_change: Box::new(on_change),
    });
    engine.with_context(|| format!("engine {link} does not start"))
}

fn spoke_key(folder: &Path, number: u16) -> anyhow::Result<PrivateKey> {
    Ok(load_or_create_key(&folder.join(format!("spoke{number}.key")))?)
}

fn peer(cluster: &str, public_key: PublicKey, address: SocketAddr) -> anyhow::Result<PeerPlan> {
    Ok(PeerPlan {
        gateway: GatewayId {
            cluster: cluster.parse()?,
            node: "gateway".parse()?,
        },
        public_key,
        candidates: vec![address],
        probe_address: Some(probe_address(&public_key)),
        mtu: MTU,
        lanes: 1,
    })
}

fn plan(peers: Vec<PeerPlan>) -> CablePlan {
    let chosen = peers
        .iter()
        .map(|peer| (peer.gateway.cluster.clone(), peer.gateway.clone()));
    CablePlan {
        chosen: chosen.collect(),
        peers,
        mtu: MTU,
        role: ProbeRole {
            active: true,
            draining: false,
            epoch: 1,
        },
        carries: true,
        ..CablePlan::default()
    }
}

const FIRST_PORT: u16 = 20_000;
const MTU: u16 = 1420;

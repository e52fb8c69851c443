//! The end of a gateway that answers the nodes of its cluster, and as many nodes as one likes, to measure what they cost the gateway.
//!
//! ```console
//! # ip netns exec a nodes gateway
//! # ip netns exec b nodes nodes --count 1000
//! ```
//!
//! Both find a VXLAN link of ours: the gateway has `fe80::1` on it, and node N has `fe80::1:N`. Every node uses the gateway, so it probes at
//! the pace of one in use. It is printed how many of them are answered, whenever that changes.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use gateway_agent::hops::HopServer;
use model::{ProbeRole, names};
use nix::net::if_::if_nametoindex;
use probe::{Hop, Message, Pace, Says};
use tokio::net::UdpSocket;

#[derive(Parser)]
struct Flags {
    #[command(subcommand)]
    side: Side,
}

#[derive(Subcommand)]
enum Side {
    /// The one that answers.
    Gateway,
    /// Those that ask.
    Nodes {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        count: u16,
    },
}

// As the gateway agent does it.
#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    match Flags::parse().side {
        Side::Gateway => {
            let server = HopServer::start();
            let role = ProbeRole {
                active: true,
                draining: false,
                epoch: 1,
            };
            let says = Says {
                role,
                ..Says::default()
            };
            server.set_says(says, true, Instant::now());
            // As often as the agent looks.
            loop {
                tokio::time::sleep(Duration::from_millis(250)).await;
                server.users(Instant::now());
            }
        }
        Side::Nodes { count } => {
            let up = Arc::<AtomicU16>::default();
            for number in 1..=count {
                let up = Arc::clone(&up);
                tokio::spawn(async move {
                    if let Err(error) = node(number, &up).await {
                        eprintln!("node {number}: {error:#}");
                    }
                });
            }
            let mut told = None;
            loop {
                let now = up.load(Ordering::Relaxed);
                if told.replace(now) != Some(now) {
                    println!("{now}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn node(number: u16, up: &AtomicU16) -> anyhow::Result<()> {
    // Nodes do not start at the same moment.
    tokio::time::sleep(Duration::from_micros(u64::from(number) * 500)).await;
    let link = if_nametoindex(names::VXLAN_LINK)?;
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number);
    let socket = UdpSocket::bind(SocketAddrV6::new(own, 0, 0, link)).await?;
    socket
        .connect(SocketAddrV6::new(GATEWAY, names::PROBE_PORT, 0, link))
        .await?;
    let mut hop = Hop::new(LINK_MTU, Instant::now());
    hop.handle_pace(Pace::of(true, 1, 0), Instant::now());
    let (mut datagram, mut buffer, mut was_up) = (Vec::new(), vec![0; usize::from(LINK_MTU)], false);
    loop {
        let now = Instant::now();
        hop.handle_timeout(now);
        while let Some(request) = hop.poll_probe(now) {
            let says = Says {
                uses: true,
                addresses: vec![Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, number).into()],
                ..Says::default()
            };
            hop.ask(request, says).encode(&mut datagram);
            let padded = usize::from(request.size).saturating_sub(UDP6_OVERHEAD);
            datagram.resize(datagram.len().max(padded), 0);
            // An earlier one was refused: the gateway may only be starting.
            match socket.send(&datagram).await {
                Err(error) if is_refusal(&error) => hop.handle_refused(now),
                sent => drop(sent?),
            }
        }
        let is_up = hop.is_up(now) == Some(true);
        if is_up != was_up {
            was_up = is_up;
            if is_up {
                up.fetch_add(1, Ordering::Relaxed);
            } else {
                up.fetch_sub(1, Ordering::Relaxed);
            }
        }
        tokio::select! {
            received = socket.recv(&mut buffer) => match received {
                Ok(len) => {
                    if let Ok(message) = Message::decode(&buffer[..len]) {
                        hop.handle_message(&message, Instant::now());
                    }
                }
                Err(error) if is_refusal(&error) => hop.handle_refused(Instant::now()),
                Err(error) => return Err(error.into()),
            },
            () = tokio::time::sleep_until(hop.poll_timeout().into()) => {}
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

const GATEWAY: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// A VXLAN over Ethernet.
const LINK_MTU: u16 = 1430;
const UDP6_OVERHEAD: usize = 48;

//! A flood of datagrams at a bounded rate, to see what an engine makes of it. For machines of your own.
//!
//! ```console
//! # ip netns exec c flood --target 198.51.100.1:4510 --key "$B" --kind initiations --rate 20000 --seconds 5
//! ```
//!
//! It prints how many datagrams a second it sent.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use model::PublicKey;

#[path = "../tests/kernel/attacker.rs"]
mod attacker;

use attacker::Flood;

#[derive(Parser)]
struct Flags {
    /// Address and port of the engine.
    #[arg(long)]
    target: SocketAddr,
    /// Public key of the engine.
    #[arg(long)]
    key: PublicKey,
    /// What to send: garbage, initiations, cookied (initiations of a sender that owns its address), data.
    #[arg(long, value_parser = parse_kind)]
    kind: Flood,
    /// Datagrams a second.
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// How long.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let local: SocketAddr = if flags.target.is_ipv4() {
        ([0; 4], 0).into()
    } else {
        ([0u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(local).context("cannot open a socket")?;
    let datagrams = flags
        .kind
        .datagrams(&socket, flags.target, &flags.key, PATIENCE)
        .with_context(|| {
            format!(
                "{} answered no initiation with a cookie within {PATIENCE:?}",
                flags.target
            )
        })?;
    println!("{:.0}", flood(&socket, &flags, &datagrams));
    Ok(())
}

/// Sends what is due once a millisecond; how many a second that were.
fn flood(socket: &UdpSocket, flags: &Flags, datagrams: &[Vec<u8>]) -> f64 {
    let (begin, length) = (Instant::now(), Duration::from_secs(flags.seconds.into()));
    let mut sent = 0u64;
    let mut next = datagrams.iter().cycle();
    while begin.elapsed() < length {
        let due = (begin.elapsed().as_secs_f64() * f64::from(flags.rate)) as u64;
        for datagram in next.by_ref().take(due.saturating_sub(sent) as usize) {
            // A full queue loses datagrams like any other part of the way.
            let _ = socket.send_to(datagram, flags.target);
        }
        sent = sent.max(due);
        std::thread::sleep(Duration::from_millis(1));
    }
    sent as f64 / begin.elapsed().as_secs_f64()
}

fn parse_kind(name: &str) -> Result<Flood, String> {
    let found = Flood::ALL.into_iter().find(|kind| kind.name() == name);
    found.ok_or_else(|| format!("one of {}", Flood::ALL.map(Flood::name).join(", ")))
}

const PATIENCE: Duration = Duration::from_secs(10);

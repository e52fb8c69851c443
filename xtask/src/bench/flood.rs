//! `cargo xtask bench flood`: what is left of an established flow while a third party floods the gateway that receives it.
//!
//! In each round every engine carries one TCP stream alone, and then under each flood. Whoever floods uses the same cores as the
//! gateways and the load, and its datagrams cost the kernel what any do: that much is measured with the same rate of them at a port
//! beside the engine's, which nobody reads (`elsewhere`). What both engines of the pair spend on a gigabyte, with the flood, is told too: it
//! depends less on what else the machine does.

use std::fs;
use std::net::UdpSocket;
use std::process::Stdio;

use anyhow::{Context, ensure};
use clap::Args;

use super::dataplane::engine::{Engine, Keys, PORT, Pair};
use super::dataplane::ground::{Ground, Place};
use super::dataplane::{load, tools};
use crate::report::Report;
use crate::repository;

/// Measures a flow under floods.
#[derive(Debug, Args)]
pub(crate) struct Flood {
    /// How often every engine has its turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each load
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Datagrams a second
    #[arg(long, default_value_t = 20_000)]
    rate: u32,
    /// Only these engines
    #[arg(long, value_delimiter = ',', default_value = "ours")]
    engines: Vec<Engine>,
    /// Lanes of our engine
    #[arg(long)]
    lanes: Option<u32>,
}

/// A round's parts: the name, and what is sent at which port.
const FLOODS: [(&str, Option<(&str, u16)>); 6] = [
    ("none", None),
    ("elsewhere", Some(("data", PORT + 1))),
    ("garbage", Some(("garbage", PORT))),
    ("initiations", Some(("initiations", PORT))),
    ("cookied", Some(("cookied", PORT))),
    ("data", Some(("data", PORT))),
];

impl Flood {
    pub(crate) fn run(self) -> anyhow::Result<Report> {
        let mut report = Report::new("bench flood");
        report.rounds(self.rounds);
        let (ours, attacker) = (Engine::Ours.program()?, tools::example("flood")?);
        let ground = Ground::build()?;
        let folder = repository::target_directory().join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let keys = Keys::make(&folder, &ours)?;
        let _server = load::serve(&ground, Place::East)?;
        let _unread = unread_port(&ground)?;
        report.ok = true;
        for round in 0..self.rounds as usize {
            // Each is first in some round: an engine that has just started is not what it is a little later.
            let mut floods = FLOODS;
            floods.rotate_left(round % FLOODS.len());
            for engine in &self.engines {
                let program = engine.program()?;
                let pair = Pair::start(&ground, *engine, &program, &keys, self.lanes)?;
                for (name, flood) in floods {
                    let result = self.measure(
                        (&ground, &pair),
                        (name, flood),
                        (&attacker, &keys),
                        *engine,
                        &mut report,
                    );
                    if let Err(error) = result {
                        report.not_measured(&format!("{}, {name}", engine.name()), format!("{error:#}"));
                        report.ok = false;
                    }
                }
            }
        }
        fs::remove_dir_all(&folder)?;
        self.compare(&mut report);
        Ok(report)
    }

    fn measure(
        &self,
        (ground, pair): (&Ground, &Pair),
        (name, flood): (&str, Option<(&str, u16)>),
        (attacker, keys): (&str, &Keys),
        engine: Engine,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let flood = flood.map(|(kind, port)| {
            let target = format!("{}:{port}", Place::EXPOSED);
            // A second before the load and one after it.
            let (rate, seconds) = (self.rate.to_string(), (self.seconds + 2).to_string());
            let arguments = [
                "--target",
                &target,
                "--key",
                keys.of_east(),
                "--kind",
                kind,
                "--rate",
                &rate,
                "--seconds",
                &seconds,
            ];
            let mut command = ground.command(Place::Stranger, attacker, &arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        });
        let flood = flood.transpose().context("cannot start the flood")?;
        if flood.is_some() {
            std::thread::sleep(std::time::Duration::from_secs(1));
        }
        let before = pair.cpu_seconds()?;
        let outcome = load::iperf(ground, [Place::West, Place::East], &[], self.seconds);
        let used = pair.cpu_seconds()? - before;
        if let Some(flood) = flood {
            let output = flood.wait_with_output()?;
            ensure!(
                output.status.success(),
                "the flood failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            let sent: f64 = String::from_utf8_lossy(&output.stdout).trim().parse()?;
            report.figure(&format!("{}.flood_{name}_sent_pps", engine.name()), "1/s", &[sent]);
        }
        let (outcome, figure) = (outcome?, format!("{}.flood_{name}", engine.name()));
        report.figure(&format!("{figure}_gbps"), "Gbit/s", &[outcome.bits_per_second / 1e9]);
        if outcome.bytes > 0.0 {
            report.figure(
                &format!("{figure}_cpu_s_per_gb"),
                "s/GB",
                &[used / (outcome.bytes / 1e9)],
            );
        }
        Ok(())
    }

    fn compare(&self, report: &mut Report) {
        for engine in &self.engines {
            let of = |name: &str| format!("{}.flood_{name}_gbps", engine.name());
            for (name, _) in FLOODS.iter().skip(1) {
                let ratio = match engine {
                    Engine::Ours => format!("flood_{name}"),
                    other => format!("flood_{name}_of_{}", other.name()),
                };
                report.ratio(&ratio, &of(name), &of("none"));
                if *engine == Engine::Ours && *name != "elsewhere" {
                    report.aim_above(&ratio, 0.7);
                }
            }
        }
    }
}

/// A port of `east` beside the engines' that takes datagrams until its buffer is full.
fn unread_port(ground: &Ground) -> anyhow::Result<UdpSocket> {
    std::thread::scope(|scope| {
        let bind = scope.spawn(|| {
            ground.enter(Place::East)?;
            anyhow::Ok(UdpSocket::bind((Place::EXPOSED, PORT + 1))?)
        });
        bind.join().expect("binding does not panic")
    })
}

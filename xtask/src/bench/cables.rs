//! `cargo xtask bench cables`: what hundreds of cables cost one gateway that carry nothing.
//!
//! One engine has a cable to each of so many others, which run in one process in another network namespace. All are active gateways
//! of their clusters, so that every cable is probed as one in use. When all are connected, the hub is watched for a while.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

use super::dataplane::ground::{Ground, Place};
use super::dataplane::tools;
use super::proc::{cpu_seconds, peak_rss_mb};
use super::told::{has_told, tell, wait};
use crate::report::Report;
use crate::repository;

/// Measures one gateway with many cables.
#[derive(Debug, Args)]
pub(crate) struct Cables {
    /// Cables of the one gateway
    #[arg(long, default_value_t = 400)]
    cables: u32,
    /// How often
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds for which it is watched
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

impl Cables {
    pub(crate) fn run(self) -> anyhow::Result<Report> {
        let mut report = Report::new("bench cables");
        report.rounds(self.rounds);
        let program = tools::example("crowd").context("cannot build our own engine")?;
        for _ in 0..self.rounds {
            self.measure(&program, &mut report)?;
        }
        report.ok = true;
        report.aim_below(&format!("cables{}_connected_s", self.cables), 2.0);
        report.aim_below(&format!("cables{}_rss_mb", self.cables), 40.0);
        Ok(report)
    }

    fn measure(&self, program: &str, report: &mut Report) -> anyhow::Result<()> {
        let ground = Ground::build()?;
        let folder = repository::target_directory().join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let [hub_told, spokes_told] = ["hub.txt", "spokes.txt"].map(|name| folder.join(name));
        let (keys, count) = (folder.display().to_string(), self.cables.to_string());
        let shared = ["--folder", &keys, "--cables", &count];
        let others = ["hub", "--others", Place::East.underlay()];
        let hub = tell(
            ground.command(Place::West, program, &[&others[..], &shared].concat()),
            &hub_told,
        )?;
        wait("the keys to be made", || has_told(&hub_told, "ready"))?;
        let address = format!("{}:4510", Place::West.underlay());
        let hub_address = ["spokes", "--hub", &address];
        let spokes = tell(
            ground.command(Place::East, program, &[&hub_address[..], &shared].concat()),
            &spokes_told,
        )?;
        wait("the other gateways to start", || has_told(&spokes_told, "ready"))?;
        let begun = Instant::now();
        wait("all cables to be connected", || {
            has_told(&hub_told, &format!("connected {count}"))
        })?;
        let connected = begun.elapsed();

        let before = (cpu_seconds(hub.pid())?, datagrams(hub.pid())?);
        std::thread::sleep(Duration::from_secs(self.seconds.into()));
        let (cpu, sent) = (cpu_seconds(hub.pid())? - before.0, datagrams(hub.pid())? - before.1);
        let seconds = f64::from(self.seconds);
        let mut figure = |name: &str, unit, value| report.figure(&format!("cables{count}_{name}"), unit, &[value]);
        figure("connected_s", "s", connected.as_secs_f64());
        figure("datagrams_per_s", "1/s", sent / seconds);
        figure("cpu_percent", "% of a core", cpu / seconds * 100.0);
        figure("rss_mb", "MB", peak_rss_mb(hub.pid())?);
        drop((hub, spokes));
        fs::remove_dir_all(&folder)?;
        Ok(())
    }
}

/// What was sent in the namespace of a process, ever.
fn datagrams(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp")).context("the engine has ended")?;
    let line = text.lines().rfind(|line| line.starts_with("Udp:"));
    let sent = line.and_then(|line| line.split_whitespace().nth(4));
    sent.context("no Udp in /proc/net/snmp")?
        .parse()
        .context("OutDatagrams")
}

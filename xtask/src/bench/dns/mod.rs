//! Our name server beside NSD, Knot and BIND: the same zone, the same queries, one core each, in interleaved rounds.
//!
//! ```text
//!  core 0: the server, alone, one UDP thread  ── veth ──  core 1: who asks
//! ```
//!
//! Each round starts every server anew, has kxdpgun offer it more than it can answer, and then dnsperf 10,000 queries a second,
//! from which the latencies are. CPU is of the server's processes under the first load, divided by what it answered.

mod load;
mod restless;
mod server;
mod zone;

use std::time::Instant;

use anyhow::Context;
use clap::Args;

use super::dataplane::ground::Ground;

use self::restless::Restless;
use self::server::{Kind, Server};
use self::zone::Material;
use crate::report::Report;
use crate::repository;

#[derive(Debug, Args)]
#[command(after_help = "\
Needs root, and knot-dnsutils, dnsperf, nsd, knot and bind9 of Debian; installs those that are missing, and leaves none running. Pins
the server to the first core and who asks to the second, in network namespaces of their own.")]
pub(super) struct Dns {
    /// How often every server has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that a server is asked for one figure
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Queries a second that servers are offered: more than any of them answers
    #[arg(long, default_value_t = 400_000, value_parser = clap::value_parser!(u32).range(1000..))]
    offered: u32,
    /// Services in the zone
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..60_000))]
    services: u32,
    /// Services in the large zone, which only ours answers for
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..1_000_000))]
    large: u32,
    /// Records that change a second while ours is asked, beside a turn in which none does
    #[arg(long, default_value_t = 1000)]
    changes: u32,
    /// Servers, of ours, nsd, knot and bind
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Ours, Kind::Nsd, Kind::Knot, Kind::Bind])]
    servers: Vec<Kind>,
}

impl Dns {
    pub(super) fn run(&self) -> anyhow::Result<Report> {
        let mut report = Report::new("bench dns");
        report.rounds(self.rounds);
        load::require()?;
        repository::run(&mut repository::cargo(&[
            "build",
            "--quiet",
            "--release",
            "-p",
            "lighthouse-dns",
            "--bins",
            "--example",
            "restless",
        ]))?;
        let folder = tempfile::tempdir().context("cannot make a folder for the zones")?;
        let small = Material::write(&folder.path().join("small"), self.services)?;
        let large = Material::write(&folder.path().join("large"), self.large)?;
        for kind in &self.servers {
            if let Err(error) = server::require(*kind) {
                report.not_measured(kind.name(), format!("{error:#}"));
            }
        }
        let servers: Vec<Kind> = self
            .servers
            .iter()
            .copied()
            .filter(|kind| kind.is_installed())
            .collect();
        let ground = Ground::build()?;
        for round in 1..=self.rounds {
            eprintln!("round {round} of {}", self.rounds);
            for kind in &servers {
                self.turn(&mut report, &ground, *kind, &small, kind.name())?;
            }
            if servers.contains(&Kind::Ours) {
                self.turn(&mut report, &ground, Kind::Ours, &large, "ours_100k")?;
                let mut turns = [(0, "ours_still"), (self.changes, "ours_changing")];
                // Neither is always the one that comes after the large zone.
                turns.rotate_left(round as usize % 2);
                for (changes, name) in turns {
                    self.watching(&mut report, &ground, &small, changes, name)?;
                }
            }
        }
        for peer in ["nsd", "knot", "bind"] {
            report.ratio(&format!("qps_vs_{peer}"), "ours.qps", &format!("{peer}.qps"));
        }
        report.ratio("qps_100k_services_vs_1k", "ours_100k.qps", "ours.qps");
        report.ratio("qps_changing_vs_still", "ours_changing.qps", "ours_still.qps");
        // What a busy machine distorts least.
        report.ratio("cpu_vs_nsd", "ours.cpu_us_per_query", "nsd.cpu_us_per_query");
        report.ratio("p99_vs_nsd", "ours.p99_us", "nsd.p99_us");
        report.aim_above("qps_vs_nsd", 1.1);
        report.aim_below("ours.cpu_us_per_query", 3.0);
        report.aim_below("p99_vs_nsd", 1.25);
        report.aim_above("qps_100k_services_vs_1k", 0.8);
        report.aim_above("qps_changing_vs_still", 0.95);
        report.ok = true;
        Ok(report)
    }

    fn turn(
        &self,
        report: &mut Report,
        ground: &Ground,
        kind: Kind,
        material: &Material,
        name: &str,
    ) -> anyhow::Result<()> {
        let folder = tempfile::tempdir().context("cannot make a folder for a server")?;
        let server = Server::start(kind, ground, material, folder.path())?;
        let before = server.cpu_seconds()?;
        let full = load::as_fast_as_it_goes(ground, &material.queries, self.seconds, self.offered)?;
        let cpu = server.cpu_seconds()? - before;
        report.figure(&format!("{name}.qps"), "1/s", &[full.per_second]);
        report.figure(&format!("{name}.cpu_us_per_query"), "µs", &[cpu * 1e6 / full.answered]);
        let latencies = load::at_a_steady_rate(ground, &material.queries, self.seconds)?;
        report.figure(&format!("{name}.p50_us"), "µs", &[latencies.p50]);
        report.figure(&format!("{name}.p99_us"), "µs", &[latencies.p99]);
        report.figure(&format!("{name}.rss_mb"), "MB", &[server.rss_mb()?]);
        Ok(())
    }

    /// Ours as it is in a cluster: from an API server, where so many records change a second.
    fn watching(
        &self,
        report: &mut Report,
        ground: &Ground,
        material: &Material,
        changes: u32,
        name: &str,
    ) -> anyhow::Result<()> {
        let folder = tempfile::tempdir().context("cannot make a folder for a cluster")?;
        let cluster = Restless::start(ground, folder.path(), self.services, changes)?;
        let server = Server::watching(&cluster.kubeconfig, ground, material, folder.path())?;
        let (before, began) = (cluster.changed()?, Instant::now());
        let full = load::as_fast_as_it_goes(ground, &material.queries, self.seconds, self.offered)?;
        let changed = (cluster.changed()? - before) / began.elapsed().as_secs_f64();
        report.figure(&format!("{name}.qps"), "1/s", &[full.per_second]);
        report.figure(&format!("{name}.changes_per_s"), "1/s", &[changed]);
        report.figure(&format!("{name}.rss_mb"), "MB", &[server.rss_mb()?]);
        Ok(())
    }
}

//! The main job, on one machine, with real packets: two clusters made of network namespaces are joined, a service is exported, and a
//! pod in one talks to pods in the other by name.

mod edges;
pub(crate) mod lab;
mod machine;
mod outage;
mod proof;
mod steps;
mod teardown;
pub(crate) mod workload;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};

use crate::report::{Report, Step};
use crate::repository;
use lab::Lab;

/// Builds what it needs, then runs the main job with a progress line a step. Needs root.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask demo                         the whole main job
  cargo xtask demo --keep                  leave the lab up, and say what to try next
  cargo xtask demo --ip-family dual        the same with IPv4 and IPv6
  cargo xtask demo --seed 7 --upto 1       stage 1 only, with the prefixes of seed 7")]
pub(crate) struct Demo {
    /// Leave the lab up at the end
    #[arg(long)]
    keep: bool,
    /// Stop after this stage: 1 a byte, 2 the main job, 3 outages and leaving, 4 bad input (before leaving)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4), default_value_t = 4)]
    upto: u8,
    /// Write steps and figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Repeat the random prefixes of an earlier run
    #[arg(long)]
    seed: Option<u64>,
    /// Address families of the lab
    #[arg(long, value_enum, default_value_t = IpFamily::V4)]
    ip_family: IpFamily,
    /// Use the programs in this folder instead of building them
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Name of the lab, so that several can be up at once
    #[arg(long, default_value = "demo")]
    name: String,
    /// Put clusters and broker on the API servers of the kubeconfigs in this folder (cluster1.kubeconfig and so on)
    #[arg(long, value_name = "DIR")]
    kubeconfig_dir: Option<PathBuf>,
    /// Leave out the second lab, whose underlay takes 1,400 bytes
    #[arg(long)]
    one_lab: bool,
    /// Also prove that the main job can fail: without source keeping, the source is lost
    #[arg(long, hide = true)]
    prove: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IpFamily {
    V4,
    V6,
    Dual,
}

impl IpFamily {
    pub(crate) fn flag(self) -> &'static str {
        match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
            Self::Dual => "dual",
        }
    }
}

/// What the steps share.
pub(crate) struct Run {
    pub(crate) lab: Lab,
    pub(crate) report: Report,
    pub(crate) ip_family: IpFamily,
    pub(crate) seed: u64,
    /// Cluster and its token.
    pub(crate) invites: Vec<(String, String)>,
    /// The server on the worker.
    pub(crate) till: Option<lab::Pod>,
    /// What somebody else has on west's first gateway; it must outlive us.
    pub(crate) foreign: Option<String>,
    /// When the last join began, until the first packet has crossed.
    pub(crate) joined_at: Option<Instant>,
}

impl Demo {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        machine::require_root()?;
        let report = Report::new("demo");
        let binaries = match &self.binaries {
            Some(directory) => directory.clone(),
            None => build()?,
        };
        machine::install_missing()?;
        let seed = self.seed.unwrap_or_else(machine::random_seed);
        println!("seed {seed} (repeat with --seed {seed})");
        let started = Instant::now();
        let mut run = Run {
            lab: self.lab(&binaries, "")?,
            report,
            ip_family: self.ip_family,
            seed,
            invites: Vec::new(),
            till: None,
            foreign: None,
            joined_at: None,
        };
        let result = self.run_labs(&mut run, &binaries);
        if !self.keep {
            run.lab
                .down()
                .context("the lab does not come down; try: tombolo lab down")?;
        }
        run.report.ok = result.is_ok();
        run.report.aim_below("join_to_first_packet_ms", 5000.0);
        run.report.aim_below("export_to_resolve_ms", 1000.0);
        run.report.aim_below("failover_ms", 500.0);
        for daemon in ["gateway_agent", "route_agent", "lighthouse_dns"] {
            run.report.aim_below(&format!("rss_{daemon}_mb"), 20.0);
        }
        if let Some(path) = &self.json {
            run.report.write(path)?;
        }
        print_figures(&run.report);
        println!(
            "{} in {:.1} s",
            if run.report.ok { "all steps held" } else { "FAILED" },
            started.elapsed().as_secs_f64()
        );
        if self.keep && result.is_ok() {
            run.lab.print_hints();
        }
        result
    }

    fn lab(&self, binaries: &std::path::Path, suffix: &str) -> anyhow::Result<Lab> {
        Lab::new(
            binaries,
            &format!("{}{suffix}", self.name),
            self.kubeconfig_dir.as_deref(),
        )
    }

    fn run_labs(&self, run: &mut Run, binaries: &std::path::Path) -> anyhow::Result<()> {
        steps::run(run, self.upto, self.prove, self.keep)?;
        if self.upto >= 2 && !self.one_lab && !self.keep {
            run.lab.down()?;
            println!("-- the same over an underlay of 1,400 bytes");
            run.lab = self.lab(binaries, "narrow")?;
            run.invites.clear();
            steps::run_narrow(run)?;
        }
        Ok(())
    }
}

impl Run {
    /// Does one step, with a progress line, and notes how it went.
    pub(crate) fn step(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Self) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        let result = work(self);
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (mark, detail) = match &result {
            Ok(detail) => ("ok  ", detail.clone()),
            Err(error) => ("FAIL", format!("{error:#}")),
        };
        println!("{mark} {name:44} {millis:>6} ms  {detail}");
        self.report.steps.push(Step {
            name: name.to_owned(),
            ok: result.is_ok(),
            millis,
            detail,
        });
        match result {
            Ok(_) => Ok(()),
            Err(_) => bail!("step \"{name}\" failed; logs: {}", self.lab.log_hint()),
        }
    }
}

fn build() -> anyhow::Result<PathBuf> {
    println!("building (the first time takes some minutes)");
    let bins = [
        "--bin",
        "tombolo",
        "--bin",
        "tombolo-gateway-agent",
        "--bin",
        "tombolo-route-agent",
        "--bin",
        "tombolo-lighthouse-dns",
    ];
    let mut cargo = repository::cargo(&["build", "--release"]);
    repository::run(cargo.args(bins))?;
    Ok(repository::target_directory().join("release"))
}

fn print_figures(report: &Report) {
    for (name, figure) in &report.figures {
        println!("     {name:44} {:>9.1} {}", figure.median(), figure.unit());
    }
}

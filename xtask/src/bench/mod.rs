//! `cargo xtask bench`: ours and the peers', interleaved in one run, told as ratios.
//!
//! Every bench fills one [`Report`]: a figure is all samples of one name over all rounds, a ratio is of two medians. What cannot
//! be measured on a machine is a step that is not ok, with the reason, and has no figure.

mod apiserver;
mod cables;
mod dataplane;
mod discovery;
mod dns;
mod failover;
mod flood;
mod lanes;
mod nodes;
mod proc;
mod told;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};

use crate::report::Report;

/// Measures one part.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
    /// Write the steps and figures to this file
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The embedded API server: writes, lists, watches, memory, restart, kills
    Apiserver(apiserver::ApiServer),
    /// What hundreds of cables cost one gateway
    Cables(cables::Cables),
    /// How long packets are lost when something breaks
    Failover(failover::Failover),
    /// Our data plane beside plain veth, wireguard-go and boringtun-cli
    Dataplane(dataplane::Dataplane),
    /// An established flow while a third party floods its gateway
    Flood(flood::Flood),
    /// How soon exports resolve in another cluster, and what a clusterset IP costs
    Discovery(discovery::Discovery),
    /// Our name server beside NSD, Knot and BIND
    Dns(dns::Dns),
    /// Our data plane with 1, 2, 4 … lanes
    Lanes(lanes::Lanes),
    /// What hundreds of nodes of its cluster cost one gateway
    Nodes(nodes::Nodes),
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let report: Report = match self.what {
            What::Apiserver(bench) => bench.run(),
            What::Cables(bench) => bench.run()?,
            What::Failover(failover) => failover.run()?,
            What::Dataplane(bench) => bench.run()?,
            What::Flood(bench) => bench.run()?,
            What::Discovery(bench) => bench.run()?,
            What::Dns(bench) => bench.run()?,
            What::Lanes(bench) => bench.run()?,
            What::Nodes(bench) => bench.run()?,
        };
        report.print();
        if let Some(path) = &self.json {
            report.write(path)?;
        }
        ensure!(report.ok, "the bench did not run to its end");
        Ok(())
    }
}

/// A lab of two clusters that are joined: the first stage of the demo, which stays.
fn join_both(binaries: &Path, name: &str) -> anyhow::Result<()> {
    let xtask = std::env::current_exe().context("this program has a path")?;
    let demo = Command::new(xtask)
        .args(["demo", "--upto", "1", "--one-lab", "--keep", "--name", name])
        .arg("--binaries")
        .arg(binaries)
        .status()?;
    ensure!(demo.success(), "the lab does not come up");
    Ok(())
}

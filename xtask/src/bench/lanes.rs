//! `cargo xtask bench lanes`: whether twice the lanes carry twice as much, between one pair of gateways.
//!
//! Both gateways and the load share this machine's cores, so more lanes than cores say nothing: they are not measured.

use std::fs;

use anyhow::Context;
use clap::Args;

use super::dataplane::engine::{Engine, Keys, Pair};
use super::dataplane::ground::{Ground, Place};
use super::dataplane::load;
use crate::report::Report;
use crate::repository;

/// Measures how the data plane scales with its lanes.
#[derive(Debug, Args)]
pub(crate) struct Lanes {
    /// How often every number of lanes has its turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each load
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// The largest number of lanes
    #[arg(long, default_value_t = 8)]
    most: u32,
}

impl Lanes {
    pub(crate) fn run(self) -> anyhow::Result<Report> {
        let mut report = Report::new("bench lanes");
        report.rounds(self.rounds);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut counts = Vec::new();
        for lanes in
            std::iter::successors(Some(1u32), |lanes| lanes.checked_mul(2)).take_while(|lanes| *lanes <= self.most)
        {
            // Two gateways a lane, and the load beside them.
            let wanted = lanes as usize * 4;
            if wanted <= cores {
                counts.push(lanes);
            } else {
                let reason =
                    format!("{lanes} lanes on both sides and their load want {wanted} cores, and there are {cores}");
                report.not_measured(&format!("lanes{lanes}"), reason);
            }
        }
        report.ok = true;
        self.measure(&counts, &mut report)?;
        for lanes in counts.iter().filter(|lanes| **lanes > 1) {
            report.scaling(*lanes);
            if *lanes <= 8 {
                report.aim_above(&format!("scaling_{lanes}"), 0.7);
            }
        }
        Ok(report)
    }

    fn measure(&self, counts: &[u32], report: &mut Report) -> anyhow::Result<()> {
        if counts.is_empty() {
            return Ok(());
        }
        let program = Engine::Ours.program().context("cannot build our own engine")?;
        let ground = Ground::build()?;
        let folder = repository::target_directory().join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let keys = Keys::make(&folder, &program)?;
        let _server = load::serve(&ground, Place::East)?;
        for _ in 0..self.rounds {
            for lanes in counts {
                let streams = (lanes * 4).to_string();
                let result = Pair::start(&ground, Engine::Ours, &program, &keys, Some(*lanes)).and_then(|_pair| {
                    load::iperf(&ground, [Place::West, Place::East], &["-P", &streams], self.seconds)
                });
                match result {
                    Ok(outcome) => {
                        let name = format!("lanes{lanes}_tcp_gbps");
                        report.figure(&name, "Gbit/s", &[outcome.bits_per_second / 1e9]);
                    }
                    Err(error) => {
                        report.not_measured(&format!("lanes{lanes}"), format!("{error:#}"));
                        report.ok = false;
                    }
                }
            }
        }
        Ok(fs::remove_dir_all(&folder)?)
    }
}

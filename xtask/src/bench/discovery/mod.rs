//! `cargo xtask bench discovery`: how soon an export is known in the other cluster, and what a clusterset IP costs.
//!
//! A lab of two clusters is joined, east exports and west asks. Four things are measured, in this order:
//!
//! * `vip_cps` and `clusterip_cps`: new TCP connections a second from one pod of west to another on the same node, by the import's
//!   clusterset IP and by the service's plain cluster IP, in interleaved rounds. Same client, same pod, same path: what differs
//!   is who translates.
//! * `endpoint_down_ms`: an EndpointSlice of east says that an endpoint is not ready any more; from the moment before that write is
//!   sent to the last connection by the clusterset IP that the endpoint's pod answers. `endpoint_up_ms` is the way back.
//! * `export_to_resolve_ms`: a ServiceExport is written while all is idle; from the moment before the write is sent until every
//!   name server of west has answered the name.
//! * `export_1000_to_resolve_ms`: the same for each of so many exports that are all written at once.
//!
//! West's name servers (lighthouse-dns) are asked directly: the cluster's DNS in front of them may keep a denial for a second, which
//! would hide what is measured. Services and pods are there before they are exported. Times are those of one clock, for all parts of
//! a lab run on one machine.

mod endpoint;
mod exports;
mod objects;
mod program;
mod rate;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use crate::demo::lab::{Lab, eventually};
use crate::demo::workload;
use crate::report::{Report, Step};

/// How soon exports resolve in another cluster, and what a clusterset IP costs. Needs root.
#[derive(Debug, Args)]
pub(crate) struct Discovery {
    /// Exports that are timed one after another
    #[arg(long, default_value_t = 200)]
    exports: usize,
    /// Exports that are written at once
    #[arg(long, default_value_t = 1000)]
    burst: usize,
    /// How often an endpoint goes down and comes back
    #[arg(long, default_value_t = 20)]
    trials: usize,
    /// Interleaved rounds of new connections
    #[arg(long, default_value_t = 15)]
    rounds: u32,
    /// Length of a round of new connections
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Use the programs in this folder (build them first: cargo build --release --workspace --bins)
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    binaries: PathBuf,
    /// Name of the lab
    #[arg(long, default_value = "discovery")]
    name: String,
}

impl Discovery {
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let mut report = Report::new("bench discovery");
        report.rounds(self.rounds);
        let lab = Lab::new(&self.binaries, &self.name, None)?;
        let result = self.measure(&lab, &mut report);
        let down = lab.down();
        report.ok = result.is_ok() && down.is_ok();
        if let Err(error) = result.and(down) {
            report.steps.push(Step {
                name: "run".to_owned(),
                ok: false,
                millis: 0,
                detail: format!("{error:#}"),
            });
        }
        report.ratio("vip_cps_vs_clusterip", "vip_cps", "clusterip_cps");
        report.aim_p99_below("export_to_resolve_ms", 300.0);
        report.aim_p99_below("export_1000_to_resolve_ms", 2000.0);
        report.aim_above("vip_cps_vs_clusterip", 0.95);
        Ok(report)
    }

    fn measure(&self, lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
        super::join_both(&self.binaries, &self.name)?;
        lab.apply(
            "west",
            &[objects::namespace(), workload::client("bench-client", "west-w1")].concat(),
        )?;
        lab.apply("east", &objects::namespace())?;
        rate::run(lab, self.rounds, self.seconds, report)?;
        endpoint::run(lab, self.trials, report)?;
        exports::run(lab, self.exports, self.burst, report)
    }
}

/// The clusterset IP of a service of ours in west.
fn clusterset_ip(lab: &Lab, service: &str) -> anyhow::Result<String> {
    eventually("the import's address", PATIENCE, || {
        let import = object(lab, "west", "serviceimport", service)?;
        let ip = import["spec"]["ips"][0].as_str();
        Ok(ip.context("it has none yet")?.to_owned())
    })
}

/// An object of ours.
fn object(lab: &Lab, cluster: &str, kind: &str, name: &str) -> anyhow::Result<Value> {
    let get = [
        "kubectl",
        "get",
        kind,
        name,
        "--namespace",
        objects::NAMESPACE,
        "-o",
        "json",
    ];
    serde_json::from_str(&lab.exec(cluster, &get)?).context("kubectl prints JSON")
}

const CLIENT: &str = "west/default/bench-client";
const PATIENCE: Duration = Duration::from_secs(60);

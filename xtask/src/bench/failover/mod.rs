//! `cargo xtask bench failover`: how long packets are lost when something breaks.
//!
//! A lab of two clusters is joined. In each trial a pod of one cluster sends a datagram every 5 ms to a pod of the other, which answers
//! each; in the middle something breaks. The figure of a trial is its longest gap: from the last datagram that was answered to
//! the next one that was, less one interval. Both directions of the path count, for a datagram is lost if either its way or
//! the way of its answer is. Where several streams run, the figure is that of the one that suffered most, and `…_others_ms` that of
//! the one that suffered least. Beside it runs a TCP connection, whose figure (`…_tcp_ms`) is the longest time in which nothing of it
//! came back. Then the fault is undone and the clusters come to rest.
//!
//! Two more kinds of trial have no event on a gateway: a whole cluster that goes off and comes back, and minutes on a bad path.

mod cluster_off;
mod event;
mod lossy;
mod stream;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};

use crate::demo::lab::{Lab, eventually};
use crate::report::{Report, Step};
use event::Event;
use stream::Stream;

/// How long packets are lost when a gateway dies, drains, or its path narrows. Needs root.
#[derive(Debug, Args)]
pub(crate) struct Failover {
    /// Trials of each event
    #[arg(long, alias = "trials", default_value_t = 20)]
    rounds: u32,
    /// Only these events
    #[arg(long, value_enum, value_delimiter = ',')]
    events: Vec<Row>,
    /// How long the bad path is watched for failovers that nothing called for
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Use the programs in this folder (build them first: cargo build --release --workspace --bins)
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    binaries: PathBuf,
    /// Name of the lab
    #[arg(long, default_value = "failover")]
    name: String,
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Event(Event),
    /// The whole remote cluster goes off, and comes back.
    ClusterOff,
    /// Loss, delay and reordering for minutes.
    Lossy,
}

impl ValueEnum for Row {
    fn value_variants<'a>() -> &'a [Self] {
        const ROWS: [Row; 10] = [
            Row::Event(Event::ALL[0]),
            Row::Event(Event::ALL[1]),
            Row::Event(Event::ALL[2]),
            Row::Event(Event::ALL[3]),
            Row::Event(Event::ALL[4]),
            Row::Event(Event::ALL[5]),
            Row::Event(Event::ALL[6]),
            Row::Event(Event::ALL[7]),
            Row::ClusterOff,
            Row::Lossy,
        ];
        &ROWS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Event(event) => event.to_possible_value()?,
            Self::ClusterOff => PossibleValue::new("cluster_off").help("The remote cluster goes off the internet"),
            Self::Lossy => PossibleValue::new("lossy").help("2 % loss, 300 ms round trip and reordering for minutes"),
        })
    }
}

impl Failover {
    pub(crate) fn run(&self) -> anyhow::Result<Report> {
        let mut report = Report::new("bench failover");
        report.rounds(self.rounds);
        let lab = Lab::new(&self.binaries, &self.name, None)?;
        let result = self.run_events(&lab, &mut report);
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
        for event in Event::ALL {
            report.aim_below(&format!("{}_ms", event.name()), event.aim_ms());
        }
        report.aim_below("cluster_off_dns_ms", 1000.0);
        report.aim_below("cluster_return_ms", 2000.0);
        report.aim_below("false_failovers_lossy", 0.0);
        Ok(report)
    }

    fn run_events(&self, lab: &Lab, report: &mut Report) -> anyhow::Result<()> {
        super::join_both(&self.binaries, &self.name)?;
        let server = lab.apply("east", &pod("stream-server", "east-w1", "lab/echo"))?;
        lab.apply("west", &pod("stream-client", "west-w1", "lab/pause"))?;
        let server = server.first().and_then(|pod| pod.addresses.first().cloned());
        let server = server.context("the server has no address")?;
        let rows = if self.events.is_empty() {
            Row::value_variants()
        } else {
            &self.events
        };
        for row in rows {
            match row {
                Row::Event(event) => self.run_trials(*event, lab, &server, report)?,
                Row::ClusterOff => cluster_off::run(lab, CLIENT, &server, self.rounds, report)?,
                Row::Lossy => lossy::run(lab, Duration::from_secs(60 * self.minutes), report)?,
            }
        }
        Ok(())
    }

    fn run_trials(&self, event: Event, lab: &Lab, server: &str, report: &mut Report) -> anyhow::Result<()> {
        let name = event.name();
        let (mut gaps, mut others, mut lost, mut silences) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for trial in 0..self.rounds {
            at_rest(lab)?;
            let started = Instant::now();
            let cluster = ["west", "east"][trial as usize % 2];
            let gateway = active_gateway(lab, cluster)?;
            event.prepare(lab)?;
            let datagrams: Vec<_> = (0..event.streams())
                .map(|_| Stream::start(lab, CLIENT, server, "udp", event.bytes()))
                .collect::<Result<_, _>>()?;
            let connection = Stream::start(lab, CLIENT, server, "tcp", event.bytes())?;
            std::thread::sleep(SETTLE + phase(trial));
            let begun = event.begin(lab, cluster, &gateway);
            let datagrams: Result<Vec<_>, _> = datagrams.into_iter().map(Stream::finish).collect();
            let connection = connection.finish();
            event.undo(lab, cluster, &gateway)?;
            begun?;
            let (mut datagrams, connection) = (datagrams?, connection?);
            datagrams.sort_by(|one, other| one.longest_gap_ms.total_cmp(&other.longest_gap_ms));
            let (Some(spared), Some(datagrams)) = (datagrams.first(), datagrams.last()) else {
                bail!("{name} has no streams");
            };
            println!(
                "{name} {trial}: {cluster}/{gateway}: gap {:.0} ms, {} of {} lost; TCP silent for {:.0} ms",
                datagrams.longest_gap_ms, datagrams.lost, datagrams.sent, connection.longest_gap_ms
            );
            gaps.push(datagrams.longest_gap_ms);
            others.push(spared.longest_gap_ms);
            lost.push(f64::from(datagrams.lost));
            silences.push(connection.longest_gap_ms);
            report.steps.push(Step {
                name: format!("{name} {trial}"),
                ok: true,
                millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
                detail: format!("{cluster}/{gateway}"),
            });
        }
        report.distribution(&format!("{name}_ms"), "ms", &gaps);
        if event.streams() > 1 {
            report.distribution(&format!("{name}_others_ms"), "ms", &others);
        }
        report.distribution(&format!("{name}_lost_packets"), "packets", &lost);
        report.distribution(&format!("{name}_tcp_ms"), "ms", &silences);
        Ok(())
    }
}

/// All cables are up, and traffic is back with the gateways that claim it.
fn at_rest(lab: &Lab) -> anyhow::Result<()> {
    for cluster in ["west", "east"] {
        eventually("all cables to be connected", PATIENCE, || {
            lab.tombolo(cluster, &["show", "gateways"])
        })?;
        eventually("an active gateway", PATIENCE, || active_gateway(lab, cluster))?;
    }
    std::thread::sleep(REST);
    Ok(())
}

/// The node whose gateway holds the role.
fn active_gateway(lab: &Lab, cluster: &str) -> anyhow::Result<String> {
    let report: serde_json::Value = lab.json(cluster, &["show", "gateways"])?;
    let rows = report["gateways"].as_array().into_iter().flatten();
    let active = rows
        .filter(|row| row["role"] == "active")
        .find_map(|row| row["gateway"].as_str());
    Ok(active
        .with_context(|| format!("{cluster} has no active gateway"))?
        .to_owned())
}

fn pod(name: &str, node: &str, image: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  nodeName: {node}\n  \
         containers: [{{name: main, image: {image}}}]\n"
    )
}

/// Faults fall anywhere between two probes.
fn phase(trial: u32) -> Duration {
    Duration::from_millis(u64::from(trial) * 37 % 100)
}

const CLIENT: &str = "west/default/stream-client";
/// A stream runs so long before the fault.
const SETTLE: Duration = Duration::from_millis(500);
/// Longer than a gateway that came back is kept waiting.
const REST: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(90);

//! New connections a second, by a clusterset IP and by a plain cluster IP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::objects::{self, document};
use super::{CLIENT, clusterset_ip, object};
use crate::demo::lab::{Lab, eventually};
use crate::report::{Report, Step};

/// Interleaved rounds, of one service of west that west exports too: its own pods come first.
pub(super) fn run(lab: &Lab, rounds: u32, seconds: f64, report: &mut Report) -> anyhow::Result<()> {
    lab.apply("west", &objects::server(SERVICE, "west-w1"))?;
    let service = document(&objects::service(SERVICE, Some(SERVICE)));
    lab.apply("west", &[service, document(&objects::export(SERVICE))].concat())?;
    let plain = object(lab, "west", "service", SERVICE)?["spec"]["clusterIP"].clone();
    let plain = plain.as_str().context("the service has no cluster IP")?;
    let vip = clusterset_ip(lab, SERVICE)?;
    let ways = [
        ("vip_cps", format!("{vip}:80")),
        ("clusterip_cps", format!("{plain}:80")),
    ];
    for (_, to) in &ways {
        eventually("the server to answer", super::PATIENCE, || {
            Connects::start(lab, CLIENT, to, WARM_UP, PARALLEL, 0)?.finish()
        })?;
    }
    let started = Instant::now();
    for round in 0..rounds as usize {
        // Who is first changes, lest the second always find the machine warm.
        for turn in [round, round + 1] {
            let (figure, to) = &ways[turn % 2];
            let seen = Connects::start(lab, CLIENT, to, seconds, PARALLEL, 0)?.finish()?;
            ensure!(
                seen.errors.is_empty(),
                "{figure}: connections failed: {:?}",
                seen.errors
            );
            report.figure(figure, "1/s", &[seen.connections / seen.seconds]);
        }
    }
    report.steps.push(Step {
        name: "new connections".to_owned(),
        ok: true,
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        detail: format!("{rounds} rounds, {PARALLEL} at a time"),
    });
    Ok(())
}

/// A client that opens one connection after another.
pub(super) struct Connects {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// What it saw.
#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    pub(super) connections: f64,
    pub(super) seconds: f64,
    pub(super) pods: BTreeMap<String, Pod>,
    pub(super) errors: BTreeMap<String, u64>,
}

/// When a pod answered first and last, microseconds since 1970.
#[derive(Debug, Deserialize)]
pub(super) struct Pod {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Connects {
    /// Starts it, and waits for the first answer.
    pub(super) fn start(
        lab: &Lab,
        pod: &str,
        to: &str,
        seconds: f64,
        parallel: usize,
        pause_ms: u64,
    ) -> anyhow::Result<Self> {
        let (seconds, parallel, pause) = (seconds.to_string(), parallel.to_string(), pause_ms.to_string());
        let connects = ["tombolo", "lab", "connects", "--to", to, "--seconds", &seconds];
        let more = ["--parallel", parallel.as_str(), "--pause", pause.as_str()];
        let mut child = lab
            .command(pod, &[&connects[..], &more].concat())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the client")?;
        let mut output = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line.trim() == "started", "no connection from {pod} to {to}");
        Ok(Self { child, output })
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> anyhow::Result<Seen> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the client ended with {status}");
        serde_json::from_str(&line).with_context(|| format!("the client said {line:?}"))
    }
}

/// The service, and the pod behind it.
const SERVICE: &str = "near";
/// Seconds that do not count.
const WARM_UP: f64 = 1.0;
/// Enough that the client never waits for the server alone.
const PARALLEL: usize = 8;

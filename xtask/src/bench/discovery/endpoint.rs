//! An endpoint in the other cluster goes down, and comes back.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::objects::{self, document};
use super::program::{Program, millis};
use super::rate::Connects;
use super::{CLIENT, clusterset_ip};
use crate::demo::lab::{Lab, eventually};
use crate::report::{Report, Step};

/// So often, one of two endpoints goes down and comes back.
pub(super) fn run(lab: &Lab, trials: usize, report: &mut Report) -> anyhow::Result<()> {
    let servers = [objects::server(STAYS, "east-w1"), objects::server(GOES, "east-w1")].concat();
    let pods = lab.apply("east", &servers)?;
    let address = |name: &str| {
        let pod = pods.iter().find(|pod| pod.name == name);
        let address = pod.and_then(|pod| pod.addresses.first());
        address
            .cloned()
            .with_context(|| format!("the pod {name} has no address"))
    };
    let (stays, goes) = (address(STAYS)?, address(GOES)?);
    let slice = |is_ready| objects::slice(SERVICE, &[(&stays, true), (&goes, is_ready)]);
    lab.apply("east", &document(&objects::service(SERVICE, None)))?;
    let mut feed = Program::start(lab, "east", &[&lab.program(), "lab", "feed"])?;
    feed.write(&[slice(true), objects::export(SERVICE)])?;
    let to = format!("{}:80", clusterset_ip(lab, SERVICE)?);
    eventually("both endpoints to answer", super::PATIENCE, || {
        let seen = Connects::start(lab, CLIENT, &to, 0.3, 1, 2)?.finish()?;
        ensure!(seen.pods.len() == 2, "only {:?}", seen.pods.keys());
        Ok(())
    })?;

    let started = Instant::now();
    let (mut down, mut up) = (Vec::new(), Vec::new());
    for trial in 0..trials {
        for is_ready in [false, true] {
            let connects = Connects::start(lab, CLIENT, &to, SECONDS, 1, 2)?;
            // Changes fall anywhere between two rounds of whoever watches.
            thread::sleep(BEFORE + Duration::from_millis(trial as u64 * 37 % 100));
            let sent = feed.write(&[slice(is_ready)])?;
            let sent = *sent.values().next().context("one object, one moment")?;
            let seen = connects.finish()?;
            let last = seen.pods.values().map(|pod| pod.last).max().unwrap_or_default();
            let pod = seen.pods.get(GOES);
            if is_ready {
                let pod = pod.with_context(|| format!("trial {trial}: the endpoint did not come back"))?;
                up.push(millis(sent, pod.first));
            } else {
                let pod = pod.with_context(|| format!("trial {trial}: the endpoint was not there before"))?;
                ensure!(
                    millis(pod.last, last) > QUIET_MS,
                    "trial {trial}: the endpoint was used to the end"
                );
                down.push(millis(sent, pod.last).max(0.0));
            }
        }
    }
    report.distribution("endpoint_down_ms", "ms", &down);
    report.distribution("endpoint_up_ms", "ms", &up);
    report.steps.push(Step {
        name: "an endpoint goes and comes back".to_owned(),
        ok: true,
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        detail: format!("{trials} trials"),
    });
    feed.finish()
}

const SERVICE: &str = "pair";
const STAYS: &str = "stays";
const GOES: &str = "goes";
/// One watch of connections: an export is told of at most once a second.
const SECONDS: f64 = 3.0;
const BEFORE: Duration = Duration::from_millis(300);
/// With every other connection to it, an endpoint that is not used for so long is used no more.
const QUIET_MS: f64 = 300.0;

//! Minutes on a bad path: how many failovers there are that nothing called for.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::demo::lab::Lab;
use crate::report::{Report, Step};

pub(crate) fn run(lab: &Lab, duration: Duration, report: &mut Report) -> anyhow::Result<()> {
    super::at_rest(lab)?;
    let path = ["add", "west", "--delay", "150ms", "--loss", "2", "--reorder", "1"];
    lab.lab("fault", &path)?;
    let started = Instant::now();
    let counted = watch(lab, duration);
    lab.lab("fault", &["clear"])?;
    let failovers = counted?;
    println!("lossy: {failovers} failovers in {} s", duration.as_secs());
    report.figure("false_failovers_lossy", "failovers", &[failovers]);
    report.steps.push(Step {
        name: "lossy".to_owned(),
        ok: true,
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        detail: format!("{} minutes", duration.as_secs() / 60),
    });
    Ok(())
}

/// Failovers from when the path has been bad for a while, so that getting used to it does not count.
fn watch(lab: &Lab, duration: Duration) -> anyhow::Result<f64> {
    std::thread::sleep(SETTLE);
    let before = failovers(lab)?;
    std::thread::sleep(duration);
    std::thread::sleep(PUBLISHED);
    Ok(failovers(lab)? - before)
}

/// What all gateways of both clusters have counted.
fn failovers(lab: &Lab) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for cluster in ["west", "east"] {
        let get = [
            "kubectl",
            "--namespace",
            "tombolo-system",
            "get",
            "gateways.tombolo.dev",
            "-o",
            "json",
        ];
        let said = lab.exec(cluster, &get)?;
        let gateways: Value = serde_json::from_str(&said).context("kubectl prints JSON")?;
        let gateways = gateways["items"].as_array().into_iter().flatten();
        sum += gateways
            .filter_map(|gateway| gateway["status"]["failovers"].as_f64())
            .sum::<f64>();
    }
    Ok(sum)
}

const SETTLE: Duration = Duration::from_secs(15);
/// By then the agents have written their counters.
const PUBLISHED: Duration = Duration::from_secs(10);

//! The whole remote cluster goes off the internet, and comes back: names of it leave DNS, connecting fails at once, all returns.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::demo::lab::{Lab, eventually};
use crate::demo::workload::{answers_soon, connect_error, resolve};
use crate::report::{Report, Step};

pub(crate) fn run(lab: &Lab, client: &str, server: &str, rounds: u32, report: &mut Report) -> anyhow::Result<()> {
    lab.tombolo("east", &["export", "service", "-n", "shop", "till"])?;
    let (mut withdrawn, mut refused, mut returned) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        super::at_rest(lab)?;
        eventually("the name to resolve", PATIENCE, || resolve(lab, client, NAME))?;
        let started = Instant::now();
        lab.lab("cut", &["east"])?;
        let outcome = while_off(lab, client, server, started);
        let healing = Instant::now();
        lab.lab("heal", &["east"])?;
        let (dns, connect) = outcome?;
        eventually("traffic to return", PATIENCE, || answers_soon(lab, client, server))?;
        returned.push(millis(healing));
        withdrawn.push(dns);
        refused.push(connect);
        println!(
            "cluster_off {round}: DNS withdrawn after {dns:.0} ms, connecting fails after {connect:.0} ms, back after {:.0} ms",
            returned.last().copied().unwrap_or_default()
        );
        report.steps.push(Step {
            name: format!("cluster_off {round}"),
            ok: true,
            millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            detail: String::new(),
        });
    }
    report.distribution("cluster_off_dns_ms", "ms", &withdrawn);
    report.distribution("cluster_off_refused_ms", "ms", &refused);
    report.distribution("cluster_return_ms", "ms", &returned);
    Ok(())
}

/// When the name was gone, and when connecting was first refused by the kernel instead of waiting.
fn while_off(lab: &Lab, client: &str, server: &str, started: Instant) -> anyhow::Result<(f64, f64)> {
    eventually("the name to leave DNS", PATIENCE, || {
        ensure!(resolve(lab, client, NAME).is_err(), "{NAME} still resolves");
        Ok(())
    })?;
    let dns = millis(started);
    eventually("connecting to fail at once", PATIENCE, || {
        match connect_error(lab, client, server)? {
            Some(error) if error.contains("refused") => Ok(()),
            other => bail!("connecting to {server}: {other:?}"),
        }
    })?;
    Ok((dns, millis(started)))
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

const NAME: &str = "east.till.shop.svc.clusterset.local";
const PATIENCE: Duration = Duration::from_secs(60);

//! From an export to its name in the other cluster.

use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::objects::{self, NAMESPACE};
use super::program::{Moments, Program, millis};
use crate::bench::proc::busy_seconds;
use crate::demo::lab::Lab;
use crate::report::{Report, Step};

/// Times `idle` exports one after another, then `burst` at once.
pub(super) fn run(lab: &Lab, idle: usize, burst: usize, report: &mut Report) -> anyhow::Result<()> {
    lab.apply("east", &objects::server(SERVER, "east-w1"))?;
    let mut feed = Program::start(lab, "east", &[&lab.program(), "lab", "feed"])?;
    let services: Vec<String> = (0..idle + burst).map(|number| format!("service-{number}")).collect();
    let manifests: Vec<Value> = services
        .iter()
        .map(|name| objects::service(name, Some(SERVER)))
        .collect();
    feed.write(&manifests)?;
    wait_for_endpoints(lab, services.len())?;
    let servers = name_servers(lab)?.join(",");
    let mut names = Program::start(lab, super::CLIENT, &["tombolo", "lab", "names", "--server", &servers])?;
    let (one_by_one, at_once) = services.split_at(idle);

    let started = Instant::now();
    let mut times = Vec::new();
    for service in one_by_one {
        times.extend(export(&mut feed, &mut names, std::slice::from_ref(service))?);
    }
    report.distribution("export_to_resolve_ms", "ms", &times);
    step(report, "exports one after another", started, idle);

    let (started, before) = (Instant::now(), busy_seconds()?);
    let times = export(&mut feed, &mut names, at_once)?;
    let busy = busy_seconds()? - before;
    report.distribution("export_1000_to_resolve_ms", "ms", &times);
    // A figure that other guests of the machine distort less than the times.
    report.figure("export_1000_busy_s", "s", &[busy]);
    step(report, "exports at once", started, burst);
    names.finish()?;
    feed.finish()
}

/// Exports, and waits for the names; how long each took.
fn export(feed: &mut Program, names: &mut Program, services: &[String]) -> anyhow::Result<Vec<f64>> {
    let name = |service: &String| format!("{service}.{NAMESPACE}.svc.clusterset.local");
    // They are asked for before they are there.
    names.tell(&services.iter().map(name).collect::<Vec<_>>())?;
    let exports: Vec<Value> = services.iter().map(|service| objects::export(service)).collect();
    let sent = feed.write(&exports)?;
    let answered = names.moments(services.len())?;
    let moment = |moments: &Moments, key: &str| moments.get(key).copied().with_context(|| format!("nothing of {key}"));
    services
        .iter()
        .map(|service| {
            let sent = moment(&sent, &format!("{NAMESPACE}/{service}"))?;
            Ok(millis(sent, moment(&answered, &name(service))?))
        })
        .collect()
}

/// Addresses of all name servers of west.
fn name_servers(lab: &Lab) -> anyhow::Result<Vec<String>> {
    let get = ["kubectl", "get", "pods", "--namespace", "tombolo-system", "-o", "json"];
    let pods: Value = serde_json::from_str(&lab.exec("west", &get)?).context("kubectl prints JSON")?;
    let pods = pods["items"].as_array().into_iter().flatten();
    let servers: Vec<String> = pods
        .filter(|pod| {
            let name = pod["metadata"]["name"].as_str();
            name.is_some_and(|name| name.starts_with("tombolo-lighthouse-dns"))
        })
        .filter_map(|pod| Some(format!("{}:53", pod["status"]["podIP"].as_str()?)))
        .collect();
    ensure!(!servers.is_empty(), "west has no lighthouse-dns");
    Ok(servers)
}

/// Every service has the endpoints that it is exported with.
fn wait_for_endpoints(lab: &Lab, count: usize) -> anyhow::Result<()> {
    crate::demo::lab::eventually("the services' endpoints", super::PATIENCE, || {
        let get = [
            "kubectl",
            "get",
            "endpointslices",
            "--namespace",
            NAMESPACE,
            "-o",
            "json",
        ];
        let slices: Value = serde_json::from_str(&lab.exec("east", &get)?).context("kubectl prints JSON")?;
        let slices = slices["items"].as_array().into_iter().flatten();
        let ready = slices
            .filter(|slice| {
                let of = slice["metadata"]["labels"]["kubernetes.io/service-name"].as_str();
                of.is_some_and(|of| of.starts_with("service-"))
                    && slice["endpoints"]
                        .as_array()
                        .is_some_and(|endpoints| !endpoints.is_empty())
            })
            .count();
        ensure!(ready == count, "{ready} of {count} have some");
        Ok(())
    })
}

fn step(report: &mut Report, name: &str, started: Instant, count: usize) {
    report.steps.push(Step {
        name: name.to_owned(),
        ok: true,
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        detail: format!("{count} exports"),
    });
}

/// The pod behind every exported service.
const SERVER: &str = "server";

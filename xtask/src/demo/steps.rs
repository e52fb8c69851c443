//! The steps of the main job, in order.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::lab::eventually;
use super::workload::{self, Fetch, fetch};
use super::{Run, edges, outage, proof, teardown};

/// Everything up to a stage.
pub(crate) fn run(run: &mut Run, upto: u8, prove: bool, keep: bool) -> anyhow::Result<()> {
    join_both(run, 1500)?;
    a_byte(run)?;
    if upto >= 2 {
        main_job(run)?;
    }
    if prove {
        proof::run(run)?;
    }
    if upto >= 4 {
        edges::run(run)?;
    }
    if upto >= 3 {
        outage::run(run)?;
        if !keep {
            teardown::run(run)?;
        }
    }
    Ok(())
}

/// What an underlay of 1,400 bytes could break.
pub(crate) fn run_narrow(run: &mut Run) -> anyhow::Result<()> {
    join_both(run, 1400)?;
    a_byte(run)?;
    export(run)?;
    large_packets(run)
}

fn join_both(run: &mut Run, underlay_mtu: u16) -> anyhow::Result<()> {
    let (seed, mtu, family) = (run.seed.to_string(), underlay_mtu.to_string(), run.ip_family.flag());
    run.step("lab up", |run| {
        let started = Instant::now();
        run.lab
            .up(&["--seed", &seed, "--ip-family", family, "--underlay-mtu", &mtu])?;
        run.report.figure("lab_up_ms", "ms", &[millis(started)]);
        Ok(format!("{family}, underlay {mtu}, seed {seed}"))
    })?;
    run.step("broker serve", |run| {
        let address = run.lab.start_broker()?;
        eventually("the broker to answer", PATIENCE, || run.lab.broker(&["status"]))?;
        Ok(address)
    })?;
    for cluster in CLUSTERS {
        run.step(&format!("broker invite {cluster}"), |run| {
            let token = run.lab.broker(&["invite", cluster])?.trim().to_owned();
            run.invites.push((cluster.to_owned(), token));
            Ok(String::new())
        })?;
    }
    for cluster in CLUSTERS {
        join(run, cluster)?;
    }
    run.step("join again changes nothing", |run| {
        let token = token(run, "west")?;
        let said = run.lab.tombolo("west", &["join", &token])?;
        ensure!(said.contains("unchanged"), "it said: {said}");
        Ok(String::new())
    })
}

fn join(run: &mut Run, cluster: &str) -> anyhow::Result<()> {
    run.step(&format!("join {cluster}"), |run| {
        let token = token(run, cluster)?;
        let started = Instant::now();
        let said = run.lab.tombolo(cluster, &["join", &token])?;
        run.report
            .figure(&format!("join_{cluster}_ms"), "ms", &[millis(started)]);
        if cluster == CLUSTERS[1] {
            run.joined_at = Some(started);
        }
        Ok(said.trim().lines().last().unwrap_or_default().to_owned())
    })
}

fn a_byte(run: &mut Run) -> anyhow::Result<()> {
    run.step("start servers in east, clients in west", |run| {
        let servers = run.lab.apply("east", &workload::shop("east-w1"))?;
        let clients = [
            workload::client("client-worker", "west-w1"),
            workload::client("client-gateway", "west-gw1"),
        ];
        let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
        let clients = run.lab.apply("west", &format!("{namespace}{}", clients.concat()))?;
        run.till = servers.into_iter().find(|pod| pod.name.starts_with("till"));
        Ok(format!("{} clients", clients.len()))
    })?;
    run.step("a pod in west reaches a pod in east", |run| {
        let server = run.till.clone().context("no till pod")?;
        for address in &server.addresses {
            let ask = Fetch {
                protocol: "tcp",
                host: address,
                port: 8080,
                count: 1,
                bytes: 64,
            };
            eventually("the first answer", PATIENCE, || fetch(&run.lab, CLIENT, ask))?;
        }
        if let Some(joined_at) = run.joined_at.take() {
            run.report.figure("join_to_first_packet_ms", "ms", &[millis(joined_at)]);
        }
        Ok(server.addresses.join(" "))
    })
}

fn main_job(run: &mut Run) -> anyhow::Result<()> {
    export(run)?;
    for protocol in ["tcp", "udp"] {
        run.step(&format!("both replicas answer over {protocol}, source kept"), |run| {
            let mut replicas = BTreeSet::new();
            let ask = Fetch {
                protocol,
                host: CART,
                port: 80,
                count: 20,
                bytes: 64,
            };
            for attempt in fetch(&run.lab, "west/default/client-gateway", ask)? {
                replicas.extend(attempt.server_pod);
            }
            ensure!(replicas.len() == 2, "only {replicas:?} answered");
            Ok(replicas.into_iter().collect::<Vec<_>>().join(" "))
        })?;
        run.step(&format!("worker to worker over {protocol}"), |run| {
            let ask = Fetch {
                protocol,
                host: TILL,
                port: 80,
                count: 3,
                bytes: 64,
            };
            fetch(&run.lab, CLIENT, ask)?;
            Ok(String::new())
        })?;
    }
    large_packets(run)?;
    show(run)?;
    memory(run)
}

fn export(run: &mut Run) -> anyhow::Result<()> {
    run.step("export cart and till", |run| {
        run.lab.tombolo("east", &["export", "service", "-n", "shop", "till"])?;
        let started = Instant::now();
        run.lab.tombolo("east", &["export", "service", "-n", "shop", "cart"])?;
        let addresses = eventually("the name to resolve in west", PATIENCE, || resolve(run, CART))?;
        run.report.figure("export_to_resolve_ms", "ms", &[millis(started)]);
        eventually("the other name to resolve in west", PATIENCE, || resolve(run, TILL))?;
        Ok(format!("{CART} is {}", addresses.join(" ")))
    })
}

fn large_packets(run: &mut Run) -> anyhow::Result<()> {
    run.step("64 KiB over TCP, worker to worker", |run| {
        fetch(
            &run.lab,
            CLIENT,
            Fetch {
                protocol: "tcp",
                host: TILL,
                port: 80,
                count: 3,
                bytes: 65_536,
            },
        )?;
        Ok(String::new())
    })?;
    run.step("1,400 bytes over UDP, worker to worker", |run| {
        fetch(
            &run.lab,
            CLIENT,
            Fetch {
                protocol: "udp",
                host: TILL,
                port: 80,
                count: 3,
                bytes: 1400,
            },
        )?;
        Ok(String::new())
    })
}

fn show(run: &mut Run) -> anyhow::Result<()> {
    for what in ["gateways", "connections", "services", "clusters"] {
        run.step(&format!("show {what}"), |run| {
            let table = run.lab.tombolo("west", &["show", what])?;
            let json: Value = run.lab.json("west", &["show", what])?;
            let rows = json
                .as_object()
                .into_iter()
                .flat_map(|report| report.values())
                .find_map(Value::as_array)
                .map_or(0, Vec::len);
            ensure!(rows > 0, "-o json shows nothing");
            print!("{}", indented(&table));
            Ok(format!("{rows} rows"))
        })?;
    }
    run.step("diagnose finds nothing wrong", |run| {
        let kubeconfig = run.lab.kubeconfig("west");
        let said = run.lab.tombolo(
            "west/gw1",
            &["diagnose", "service", "shop/cart", "--kubeconfig", &kubeconfig],
        )?;
        ensure!(!said.contains("skipped"), "it skipped something: {said}");
        Ok(String::new())
    })
}

/// Peak resident memory of each daemon, from the lab's own list of processes.
fn memory(run: &mut Run) -> anyhow::Result<()> {
    run.step("memory of the daemons", |run| {
        for daemon in ["gateway-agent", "route-agent", "lighthouse-dns"] {
            let peaks = peak_resident_mb(&format!("tombolo-{daemon}"))?;
            ensure!(!peaks.is_empty(), "no process tombolo-{daemon}");
            run.report
                .figure(&format!("rss_{}_mb", daemon.replace('-', "_")), "MB", &peaks);
        }
        Ok(String::new())
    })
}

/// Peak resident memory of every process of this program, in MB.
fn peak_resident_mb(program: &str) -> anyhow::Result<Vec<f64>> {
    let mut peaks = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let directory = entry?.path();
        let is_it = std::fs::read_link(directory.join("exe")).is_ok_and(|exe| exe.ends_with(program));
        let status = std::fs::read_to_string(directory.join("status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak
            .and_then(|peak| peak.split_whitespace().next())
            .and_then(|kib| kib.parse::<f64>().ok());
        if let (true, Some(kib)) = (is_it, kib) {
            peaks.push(kib / 1024.0);
        }
    }
    Ok(peaks)
}

/// Addresses of a name as a pod in west sees it.
pub(crate) fn resolve(run: &Run, name: &str) -> anyhow::Result<Vec<String>> {
    workload::resolve(&run.lab, CLIENT, name)
}

fn token(run: &Run, cluster: &str) -> anyhow::Result<String> {
    let found = run.invites.iter().find(|(name, _)| name == cluster);
    found
        .map(|(_, token)| token.clone())
        .with_context(|| format!("no invite for {cluster}"))
}

fn indented(table: &str) -> String {
    table.lines().map(|line| format!("       {line}\n")).collect()
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

pub(crate) const CLUSTERS: [&str; 2] = ["east", "west"];
pub(crate) const CART: &str = "cart.shop.svc.clusterset.local";
pub(crate) const TILL: &str = "till.shop.svc.clusterset.local";
pub(crate) const CLIENT: &str = "west/default/client-worker";
/// Long enough for the slowest machine; what matters is reported as a figure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

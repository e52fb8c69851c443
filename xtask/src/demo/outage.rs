//! What must go on without an API server and without a broker, and what must be left alone.

use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Run;
use super::lab::eventually;
use super::steps::{CART, CLIENT, CLUSTERS, PATIENCE, TILL, resolve};
use super::workload::{Fetch, answers_soon, fetch};

pub(crate) fn run(run: &mut Run) -> anyhow::Result<()> {
    run.step("the active gateway agent is killed", |run| {
        let server = run.till.as_ref().and_then(|till| till.addresses.first().cloned());
        let server = server.context("no till pod")?;
        let report: Value = run.lab.json("west", &["show", "gateways"])?;
        let rows = report["gateways"].as_array().into_iter().flatten();
        let active = rows.into_iter().find(|row| row["role"] == "active");
        let active = active
            .and_then(|row| row["gateway"].as_str())
            .context("west has an active gateway")?;
        let started = Instant::now();
        run.lab.lab("kill", &[&format!("west/{active}/gateway-agent")])?;
        eventually("traffic to go on", PATIENCE, || answers_soon(&run.lab, CLIENT, &server))?;
        run.report
            .figure("failover_ms", "ms", &[started.elapsed().as_secs_f64() * 1000.0]);
        Ok(format!("{active} was active"))
    })?;
    run.step("foreign rules and routes are left alone", |run| {
        let node = "west/gw1";
        let before = foreign(run, node, true)?;
        run.lab.lab("kill", &["west/gw1/route-agent"])?;
        // A rule of ours that is gone comes back only by the agent of the next life, which has then seen the whole node.
        run.lab
            .exec(node, &["ip", "rule", "del", "priority", "174", "lookup", "174"])?;
        eventually("our rule to come back", PATIENCE, || {
            let rules = run.lab.exec(node, &["ip", "rule", "show", "priority", "174"])?;
            ensure!(rules.contains("lookup 174"), "there is only {rules}");
            Ok(())
        })?;
        let after = foreign(run, node, false)?;
        ensure!(before == after, "it was\n{before}\nand is\n{after}");
        run.foreign = Some(before);
        Ok(String::new())
    })?;
    run.step("no API server, no broker: traffic and names go on", |run| {
        run.lab.lab("kill", &["broker"])?;
        for cluster in CLUSTERS {
            run.lab.lab("kill", &[&format!("{cluster}/api")])?;
        }
        fetch(&run.lab, CLIENT, ASK)?;
        resolve(run, CART)?;
        Ok(String::new())
    })?;
    run.step("daemons restart from disk", |run| {
        for daemon in [
            "west/gw1/gateway-agent",
            "west/gw2/gateway-agent",
            "west/w1/route-agent",
            "west/gw2/route-agent",
        ] {
            run.lab.lab("kill", &[daemon])?;
        }
        eventually("traffic after the restart", PATIENCE, || fetch(&run.lab, CLIENT, ASK))?;
        Ok(String::new())
    })?;
    run.step("API servers and broker come back", |run| {
        for cluster in CLUSTERS {
            run.lab.lab("start", &[&format!("{cluster}/api")])?;
        }
        run.lab.start_broker()?;
        eventually("all to be connected", PATIENCE, || {
            run.lab.tombolo("west", &["show", "gateways"])
        })?;
        fetch(&run.lab, CLIENT, ASK)?;
        Ok(String::new())
    })
}

/// Rules, routes and a table of somebody else's on a node; made first, if asked.
pub(crate) fn foreign(run: &Run, node: &str, make: bool) -> anyhow::Result<String> {
    if make {
        run.lab.exec(
            node,
            &[
                "ip",
                "rule",
                "add",
                "to",
                "203.0.113.0/24",
                "lookup",
                "77",
                "priority",
                "170",
            ],
        )?;
        run.lab.exec(
            node,
            &["ip", "route", "add", "unreachable", "203.0.113.0/24", "table", "77"],
        )?;
        run.lab.exec(node, &["nft", "add", "table", "inet", "neighbour"])?;
        run.lab.exec(
            node,
            &[
                "nft",
                "add",
                "chain",
                "inet",
                "neighbour",
                "own",
                "{ type filter hook forward priority 5; }",
            ],
        )?;
    }
    let rules = run.lab.exec(node, &["ip", "rule", "show", "priority", "170"])?;
    let routes = run.lab.exec(node, &["ip", "route", "show", "table", "77"])?;
    let table = run.lab.exec(node, &["nft", "list", "table", "inet", "neighbour"])?;
    Ok([rules, routes, table].concat())
}

const ASK: Fetch<'static> = Fetch {
    protocol: "tcp",
    host: TILL,
    port: 80,
    count: 1,
    bytes: 64,
};

//! Leaving: names stop resolving, and nothing of ours is left on any node.

use anyhow::ensure;

use super::Run;
use super::lab::eventually;
use super::outage::foreign;
use super::steps::{CART, CLUSTERS, PATIENCE, resolve};

pub(crate) fn run(run: &mut Run) -> anyhow::Result<()> {
    run.step("unexport: the name is gone", |run| {
        run.lab
            .tombolo("east", &["unexport", "service", "-n", "shop", "cart"])?;
        eventually("the name to go", PATIENCE, || {
            ensure!(resolve(run, CART).is_err(), "it still resolves");
            Ok(())
        })?;
        Ok(String::new())
    })?;
    for cluster in CLUSTERS.iter().rev() {
        run.step(&format!("leave {cluster}"), |run| {
            run.lab.tombolo(cluster, &["leave"])?;
            Ok(String::new())
        })?;
        run.step(&format!("nothing of ours is left in {cluster}"), |run| {
            for node in ["gw1", "gw2", "w1"] {
                eventually("the node to be clean", PATIENCE, || {
                    is_clean(run, &format!("{cluster}/{cluster}-{node}"))
                })?;
            }
            Ok(String::new())
        })?;
    }
    run.step("what was somebody else's is still there", |run| {
        let now = foreign(run, "west/gw1", false)?;
        ensure!(
            run.foreign.as_ref() == Some(&now),
            "it was\n{:?}\nand is\n{now}",
            run.foreign
        );
        Ok(String::new())
    })?;
    run.step("lab down", |run| {
        run.lab.down()?;
        Ok(String::new())
    })
}

/// No link, table, rule, route or nexthop that carries our tag.
fn is_clean(run: &Run, node: &str) -> anyhow::Result<()> {
    let links = run.lab.exec(node, &["ip", "-o", "link"])?;
    ensure!(!links.contains("tombolo"), "{node} has links of ours: {links}");
    let tables = run.lab.exec(node, &["nft", "list", "tables"])?;
    ensure!(!tables.contains("tombolo"), "{node} has nft tables of ours: {tables}");
    for family in ["-4", "-6"] {
        let rules = run.lab.exec(node, &["ip", family, "rule"])?;
        ensure!(
            !rules.contains("lookup 174") && !rules.contains("lookup 175"),
            "{node} has rules of ours: {rules}"
        );
        let routes = run
            .lab
            .exec(node, &["ip", family, "route", "show", "table", "all", "proto", "174"])?;
        ensure!(routes.trim().is_empty(), "{node} has routes of ours: {routes}");
    }
    let nexthops = run.lab.exec(node, &["ip", "nexthop", "show", "proto", "174"])?;
    ensure!(nexthops.trim().is_empty(), "{node} has nexthops of ours: {nexthops}");
    Ok(())
}

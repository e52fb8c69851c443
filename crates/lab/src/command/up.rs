//! `tombolo lab up`: its flags.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::Name;
use crate::topology::{IpFamily, Options, Topology};
use crate::{external, up};

/// What lab to make.
#[derive(Debug, Clone, Args)]
pub struct Up {
    #[command(flatten)]
    name: Name,
    /// Repeats the random choices of an earlier lab
    #[arg(long)]
    seed: Option<u64>,
    /// How many clusters, or their names
    #[arg(long, default_value = "east,west", value_name = "N|A,B,…")]
    clusters: String,
    /// Nodes per cluster that are meant to be gateways
    #[arg(long, default_value_t = 2, value_name = "N")]
    gateways: usize,
    /// Other nodes per cluster
    #[arg(long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// Address families of nodes, pods and Services
    #[arg(long, default_value = "v4")]
    ip_family: IpFamily,
    /// MTU of every link between hosts
    #[arg(long, default_value_t = 1500, value_name = "BYTES")]
    underlay_mtu: u16,
    /// Give all clusters the same pod and service prefixes, to see that refused
    #[arg(long)]
    overlap: bool,
    /// Use the API servers of the kubeconfigs in this folder: cluster1.kubeconfig is the first cluster's, and so on; one more
    /// is the broker's, which else shares the first
    #[arg(long, value_name = "DIR", conflicts_with_all = ["network_only", "overlap"])]
    kubeconfig_dir: Option<PathBuf>,
    /// Make the network only: no Kubernetes
    #[arg(long)]
    network_only: bool,
    /// Print the lab as JSON
    #[arg(long)]
    json: bool,
}

impl Up {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
        let clusters = cluster_names(&self.clusters)?;
        let servers = match &self.kubeconfig_dir {
            Some(folder) => external::servers(folder, clusters.len(), self.ip_family).await?,
            None => Vec::new(),
        };
        let topology = Topology::generate(&Options {
            lab: self.name.name,
            seed,
            clusters,
            gateways: self.gateways,
            workers: self.workers,
            ip_family: self.ip_family,
            underlay_mtu: self.underlay_mtu,
            is_overlapping: self.overlap,
            servers,
        })?;
        let lab = up::up(topology, !self.network_only, |step| eprintln!("{step}")).await?;
        if self.json {
            println!(
                "{}",
                serde_json::to_string_pretty(&lab.status()?).context("cannot write the status as JSON")?
            );
        } else {
            print!("{}", lab.status()?);
        }
        Ok(())
    }
}

/// `3`, or names. The first two are those of every example.
fn cluster_names(text: &str) -> anyhow::Result<Vec<String>> {
    const NAMES: [&str; 4] = ["east", "west", "north", "south"];
    let Ok(count) = text.parse::<usize>() else {
        return Ok(text.split(',').map(|name| name.trim().to_owned()).collect());
    };
    // Far above what any lab has; Topology says what that is.
    let count = count.min(1000);
    Ok((0..count)
        .map(|index| {
            NAMES
                .get(index)
                .map_or_else(|| format!("c{}", index + 1), |name| (*name).to_owned())
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_counted_or_named() {
        assert_eq!(cluster_names("2").unwrap(), ["east", "west"]);
        assert_eq!(cluster_names("5").unwrap()[4], "c5");
        assert_eq!(cluster_names("paris, oslo").unwrap(), ["paris", "oslo"]);
    }
}

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use k8s_api::{Gateway, RouteAgent};
use kube::Api;
use kube::api::ListParams;
use model::names::SYSTEM_NAMESPACE;

use crate::connect::KubeTarget;

/// Shows the version of this command, and of the agents if their cluster is in reach.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo version
  tombolo version --client")]
pub struct Version {
    /// Do not ask the cluster
    #[arg(long)]
    client: bool,
    #[command(flatten)]
    target: KubeTarget,
}

impl Version {
    /// Prints the versions.
    ///
    /// # Errors
    /// Never: agents out of reach are said to be so.
    pub async fn run(&self) -> anyhow::Result<()> {
        println!(
            "tombolo {} (API level {}, cable protocol {})",
            env!("CARGO_PKG_VERSION"),
            model::names::API_LEVEL,
            model::names::PROTOCOL
        );
        if self.client {
            return Ok(());
        }
        match tokio::time::timeout(PATIENCE, self.agents()).await {
            Ok(Ok(agents)) if agents.is_empty() => println!("agents: none"),
            Ok(Ok(agents)) => {
                for ((agent, version), count) in agents {
                    println!("{agent} {version} on {count} nodes");
                }
            }
            Ok(Err(error)) => println!("agents: not in reach ({error})"),
            Err(_) => println!("agents: no answer within {} s", PATIENCE.as_secs()),
        }
        Ok(())
    }

    async fn agents(&self) -> anyhow::Result<BTreeMap<(&'static str, String), usize>> {
        let cluster = self.target.connect("cluster").await?;
        let gateways: Api<Gateway> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
        let route_agents: Api<RouteAgent> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
        let gateways = gateways
            .list(&ListParams::default())
            .await
            .map_err(cluster.failed("list Gateways"))?;
        let route_agents = route_agents
            .list(&ListParams::default())
            .await
            .map_err(cluster.failed("list RouteAgents"))?;
        let mut agents = BTreeMap::new();
        // Mirrors of other clusters' gateways have no status.
        for status in gateways.into_iter().filter_map(|gateway| gateway.status) {
            *agents.entry(("tombolo-gateway-agent", status.version)).or_insert(0) += 1;
        }
        for status in route_agents.into_iter().filter_map(|agent| agent.status) {
            *agents.entry(("tombolo-route-agent", status.version)).or_insert(0) += 1;
        }
        Ok(agents)
    }
}

const PATIENCE: Duration = Duration::from_secs(2);

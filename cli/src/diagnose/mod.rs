//! `tombolo diagnose …`: goes the way of a name from its export to a connection, and stops at the first thing that is wrong.
//!
//! What the agents and the API server know is read; the last two steps, the name and the connection, are tried from where the
//! command runs. That tells something only on the cluster's network (a node, or a pod); elsewhere they are skipped and say so.

mod facts;
mod tried;
mod walk;
#[cfg(test)]
mod walk_tests;

use clap::{Args, Subcommand};
use serde::Serialize;

use self::walk::{Outcome, Step};
use crate::connect::KubeTarget;
use crate::exit::NotConnected;
use crate::output::{self, Format, Shown, Table};

/// Finds out what is wrong.
#[derive(Debug, Args)]
pub struct Diagnose {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Why an exported service cannot be reached from this cluster
    Service(DiagnoseService),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo diagnose service shop/cart
  tombolo diagnose service shop/cart --from east      only what east exports
  tombolo diagnose service shop/cart -o json

Exit codes: 0 nothing is wrong, 1 failed, 3 something is wrong.")]
struct DiagnoseService {
    /// The service
    #[arg(value_name = "NAMESPACE/NAME", value_parser = parse_service)]
    service: Service,
    /// Look at this exporter only
    #[arg(long, value_name = "CLUSTER-ID")]
    from: Option<String>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    target: KubeTarget,
}

/// A service by namespace and name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Service {
    namespace: String,
    name: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Diagnosis {
    namespace: String,
    name: String,
    cluster_id: String,
    steps: Vec<Step>,
}

impl Diagnose {
    /// Diagnoses.
    ///
    /// # Errors
    /// When the cluster does not answer, is no member, or something is wrong with the service.
    pub async fn run(&self) -> anyhow::Result<()> {
        let What::Service(command) = &self.what;
        command.run().await
    }
}

impl DiagnoseService {
    async fn run(&self) -> anyhow::Result<()> {
        let cluster = self.target.connect("cluster").await?;
        let facts = facts::read(&cluster, &self.service, self.from.as_deref()).await?;
        let mut steps = walk::walk(&facts);
        if walk::failure(&steps).is_none() {
            steps.extend(tried::from_here(&facts).await);
        }
        let diagnosis = Diagnosis {
            namespace: self.service.namespace.clone(),
            name: self.service.name.clone(),
            cluster_id: facts.world.own.clone(),
            steps,
        };
        output::print(&self.output.render(&diagnosis)?);
        match walk::failure(&diagnosis.steps) {
            None => Ok(()),
            Some(step) => Err(NotConnected(format!("{}: {}. {}", step.name, step.detail, step.mend)).into()),
        }
    }
}

impl Shown for Diagnosis {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(&["STEP", "STATUS", "DETAIL"]);
        for step in &self.steps {
            let status = match step.outcome {
                Outcome::Good => "ok",
                Outcome::Warning => "warning",
                Outcome::Skipped => "skipped",
                Outcome::Bad => "error",
            };
            table.row([step.name.to_owned(), status.to_owned(), step.detail.clone()]);
        }
        table
    }
}

fn parse_service(text: &str) -> Result<Service, String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => Ok(Service {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }),
        _ => Err(format!(
            "'{text}' does not name a service; write NAMESPACE/NAME, as shop/cart"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_has_a_namespace() {
        let cart = parse_service("shop/cart").unwrap();
        assert_eq!((cart.namespace.as_str(), cart.name.as_str()), ("shop", "cart"));
        for wrong in ["cart", "/cart", "shop/", "a/b/c", ""] {
            assert!(parse_service(wrong).unwrap_err().contains("NAMESPACE/NAME"), "{wrong}");
        }
    }
}

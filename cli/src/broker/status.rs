use clap::Args;
use jiff::Timestamp;
use k8s_runtime::Find;
use kube::Api;
use serde::Serialize;

use super::member::{self, Member, Stage};
use crate::connect::{Connection, KubeTarget};
use crate::output::{self, Format, Shown, Table};

/// Shows the broker, its members and open invitations.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo broker status
  tombolo broker status -o json")]
pub struct Status {
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

impl Status {
    pub(super) async fn run(&self, target: &KubeTarget) -> anyhow::Result<()> {
        let broker = target.connect("broker").await?;
        let report = read(&broker, Timestamp::now()).await?;
        if self.output.is_for_people() {
            output::print(&format!(
                "Broker {}  level {}  incarnation {}\n\n",
                report.url, report.api_level, report.incarnation
            ));
        }
        output::print(&self.output.render(&report)?);
        Ok(())
    }
}

/// What `broker status` shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    url: String,
    api_level: u32,
    incarnation: String,
    ca_fingerprint: String,
    members: Vec<Row>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    cluster_id: String,
    stage: String,
    pod_prefixes: Vec<String>,
    service_prefixes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invitation_ends: Option<Timestamp>,
}

async fn read(broker: &Connection, now: Timestamp) -> anyhow::Result<Report> {
    let brokers: Api<k8s_api::Broker> = Api::all(broker.client.clone());
    let object = brokers
        .find(model::names::BROKER_NAME)
        .await
        .map_err(broker.failed("read the Broker object"))?;
    let Some(object) = object else {
        anyhow::bail!(
            "the server at {} is no broker yet: make it one with `tombolo broker install`",
            broker.url
        );
    };
    let members = member::all(broker, now).await?;
    Ok(Report {
        url: broker.url.clone(),
        api_level: object.spec.api_level,
        incarnation: object.spec.incarnation,
        ca_fingerprint: object.spec.ca_fingerprint,
        members: members.values().map(row).collect(),
    })
}

fn row(member: &Member) -> Row {
    let spec = member
        .cluster
        .as_ref()
        .map(|cluster| cluster.spec.clone())
        .unwrap_or_default();
    Row {
        cluster_id: member.id.to_string(),
        stage: member.stage.to_string(),
        pod_prefixes: spec.pod_prefixes,
        service_prefixes: spec.service_prefixes,
        invitation_ends: match member.stage {
            Stage::Invited(ends) => Some(ends),
            _ => None,
        },
    }
}

impl Shown for Report {
    fn table(&self, _wide: bool) -> Table {
        let mut table = Table::new(&["CLUSTER", "STAGE", "PODS", "SERVICES", "INVITATION ENDS"]);
        for row in &self.members {
            table.row([
                row.cluster_id.clone(),
                row.stage.clone(),
                row.pod_prefixes.join(","),
                row.service_prefixes.join(","),
                row.invitation_ends.map(|ends| ends.to_string()).unwrap_or_default(),
            ]);
        }
        table
    }
}

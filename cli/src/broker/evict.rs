use anyhow::bail;
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_api::Cluster;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use model::ClusterId;
use serde_json::json;

use super::member::{self, EVICTED_ANNOTATION, Member, Stage};
use crate::apply::{self, MANAGER};
use crate::connect::{Connection, KubeTarget, is_not_found};

/// Throws a member out, with or without its help: its credentials die at once, and the others drop its cables and its services.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo broker evict east

A tombstone stays for 7 days, so that a member that was away learns of it. The cluster itself keeps its agents until
`tombolo leave` is run there. The id can be invited again at any time.")]
pub struct Evict {
    /// Id of the member
    #[arg(value_name = "CLUSTER-ID")]
    id: ClusterId,
}

impl Evict {
    pub(super) async fn run(&self, target: &KubeTarget) -> anyhow::Result<()> {
        let broker = target.connect("broker").await?;
        evict(&broker, &self.id).await?;
        println!(
            "Cluster \"{}\" is evicted: its credentials are revoked, and the other members drop it.",
            self.id
        );
        println!("In that cluster, clean up with: tombolo leave");
        Ok(())
    }
}

/// Evicts a member, and drops tombstones that are old enough.
///
/// # Errors
/// When there is no such member, or the broker refuses.
pub async fn evict(broker: &Connection, id: &ClusterId) -> anyhow::Result<()> {
    let now = Timestamp::now();
    let members = member::all(broker, now).await?;
    let Some(member) = members.get(id) else {
        let known: Vec<&str> = members.keys().map(ClusterId::as_str).collect();
        bail!(
            "the broker at {} has no member \"{id}\"; it has: {}",
            broker.url,
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        );
    };
    revoke(broker, id).await?;
    match &member.cluster {
        Some(cluster) => bury(broker, cluster, now).await?,
        // Nobody has heard of it, so nobody needs a tombstone.
        None => remove_room(broker, id).await?,
    }
    for member in members.values().filter(|member| is_forgotten(member, now)) {
        remove_room(broker, &member.id).await?;
    }
    Ok(())
}

/// Deleting the ServiceAccounts ends their tokens at once, the open invitation's included.
async fn revoke(broker: &Connection, id: &ClusterId) -> anyhow::Result<()> {
    let namespace = id.broker_namespace();
    let accounts: Api<ServiceAccount> = Api::namespaced(broker.client.clone(), &namespace);
    for name in ["invite", "member"] {
        match accounts.delete(name, &DeleteParams::default()).await {
            Err(error) if !is_not_found(&error) => {
                return Err(broker.failed(format!("delete ServiceAccount {namespace}/{name}"))(
                    error,
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

async fn bury(broker: &Connection, cluster: &Cluster, now: Timestamp) -> anyhow::Result<()> {
    let namespace = cluster.namespace().unwrap_or_default();
    let clusters: Api<Cluster> = Api::namespaced(broker.client.clone(), &namespace);
    let tombstone = json!({
        "metadata": { "annotations": { EVICTED_ANNOTATION: now.to_string() } },
        "spec": { "state": "Evicted" },
    });
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    clusters
        .patch(&cluster.name_any(), &params, &Patch::Merge(&tombstone))
        .await
        .map_err(broker.failed(format!("mark Cluster {namespace}/{} as evicted", cluster.name_any())))?;
    for kind in ["Gateway", "ExportedService"] {
        let like =
            json!({ "apiVersion": "tombolo.dev/v1alpha1", "kind": kind, "metadata": { "namespace": namespace } });
        apply::delete_every(broker, &like).await?;
    }
    Ok(())
}

async fn remove_room(broker: &Connection, id: &ClusterId) -> anyhow::Result<()> {
    let namespace = id.broker_namespace();
    let of = |api: &str, kind: &str| json!({ "apiVersion": api, "kind": kind, "metadata": { "name": namespace } });
    apply::delete(broker, &of("rbac.authorization.k8s.io/v1", "ClusterRoleBinding")).await?;
    apply::delete(broker, &of("v1", "Namespace")).await
}

/// Whether a tombstone has stood long enough for everybody to have seen it.
fn is_forgotten(member: &Member, now: Timestamp) -> bool {
    let evicted = member
        .cluster
        .as_ref()
        .and_then(|cluster| cluster.annotations().get(EVICTED_ANNOTATION))
        .and_then(|time| time.parse::<Timestamp>().ok());
    member.stage == Stage::Evicted && evicted.is_some_and(|then| now.duration_since(then) > TOMBSTONE_LIFE)
}

const TOMBSTONE_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_api::ClusterSpec;

    #[test]
    fn a_tombstone_stands_seven_days() {
        let evicted = Timestamp::from_second(1_800_000_000).unwrap();
        let mut cluster = Cluster::new("east", ClusterSpec::default());
        cluster
            .annotations_mut()
            .insert(EVICTED_ANNOTATION.into(), evicted.to_string());
        let member = |stage| Member {
            id: "east".parse().unwrap(),
            stage,
            cluster: Some(cluster.clone()),
        };
        let week = SignedDuration::from_hours(7 * 24);
        assert!(!is_forgotten(&member(Stage::Evicted), evicted + week));
        assert!(is_forgotten(
            &member(Stage::Evicted),
            evicted + week + SignedDuration::from_secs(1)
        ));
        assert!(!is_forgotten(&member(Stage::Member), evicted + week * 2));
    }
}

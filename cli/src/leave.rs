//! `tombolo leave`: takes this cluster out again.
//!
//! The order matters. Agents clean their nodes while they still run; then the gateway agents lose their right to write imports, so that
//! nothing that is deleted comes back; the way to the broker goes last but one, because it is what the rest is done with; the
//! workloads and their namespace go last. Nothing waits for a controller. Killed anywhere, it is run again.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use k8s_api::mcs::ServiceImport;
use k8s_api::{Cluster, RouteAgent, condition};
use k8s_openapi::api::core::v1::{Namespace, Node};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_runtime::Find;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use model::names::{FIELD_MANAGER, MEMBER_NAMESPACE_PREFIX, SLICE_MANAGER, SYSTEM_NAMESPACE};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::apply::{self, MANAGER};
use crate::connect::{Connection, KubeTarget, is_not_found};
use crate::dns::{self, Outcome};
use crate::join::gateways;
use crate::membership::Membership;
use crate::progress::Progress;
use crate::{duration, manifests};

/// Takes this cluster out of its clusterset: nodes are cleaned, imports and the DNS stanza go, the broker forgets it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo leave
  tombolo leave --timeout 10s         # nodes that are down keep their rules until `tombolo-route-agent cleanup` is run there
  tombolo leave --purge-crds          # also the MCS API, and with it every ServiceExport

Users' ServiceExports and the MCS API stay unless --purge-crds is given. With the broker gone, leave succeeds here and
prints what to run on the broker.")]
pub struct Leave {
    /// Remove the MCS API too, and with it every ServiceExport and ServiceImport in this cluster
    #[arg(long)]
    purge_crds: bool,
    /// How long to wait for the nodes to be clean
    #[arg(long, value_parser = duration::parse, default_value = "60s")]
    timeout: Duration,
    #[command(flatten)]
    target: KubeTarget,
}

impl Leave {
    /// Leaves.
    ///
    /// # Errors
    /// When the cluster does not answer, or refuses.
    pub async fn run(&self) -> anyhow::Result<()> {
        let cluster = self.target.connect("cluster").await?;
        let mut progress = Progress::default();
        if !is_here(&cluster).await? {
            dns::take_out(&cluster).await?;
            println!("This cluster ({}) is no member: nothing to do.", cluster.url);
            return Ok(());
        }
        let membership = Membership::read(&cluster).await.unwrap_or_else(|error| {
            progress.warn(format!("{error:#}"));
            None
        });
        let broker = membership.as_ref().map(Membership::connect).transpose()?;
        if let Some(member) = &membership {
            announce(member, &cluster, broker.as_ref()).await?;
            progress.step("leaving", format!("\"{}\" leaves {}", member.cluster_id, member.url));
            await_clean_nodes(&cluster, self.timeout, &mut progress).await?;
        }
        remove_imports(&cluster).await?;
        progress.step("imports", "removed");
        for edit in dns::take_out(&cluster).await? {
            let object = edit.object;
            match edit.outcome {
                Outcome::Done(_) => progress.step("dns", format!("{object} has nothing of ours")),
                Outcome::LeftAlone { why, .. } => progress.warn(format!("{object} was left alone: {why}")),
            }
        }
        if let (Some(member), Some(broker)) = (&membership, &broker) {
            match forget(member, broker).await {
                Ok(()) => progress.step(
                    "broker",
                    format!("{} has forgotten \"{}\"", member.url, member.cluster_id),
                ),
                Err(error) => progress.warn(format!(
                    "{error}. On the broker, run: tombolo broker evict {}",
                    member.cluster_id
                )),
            }
        }
        remove_workloads(&cluster, self.purge_crds).await?;
        progress.step("daemons", "removed");
        match &membership {
            Some(member) => println!("Cluster \"{}\" has left.", member.cluster_id),
            None => println!("What was left of Tombolo in this cluster is removed."),
        }
        Ok(())
    }
}

async fn is_here(cluster: &Connection) -> anyhow::Result<bool> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let found = namespaces
        .find(SYSTEM_NAMESPACE)
        .await
        .map_err(cluster.failed(format!("read namespace {SYSTEM_NAMESPACE}")))?;
    Ok(found.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_none()))
}

/// Says so here, which the agents obey, and on the broker, which the others see even if our sync leader is gone.
async fn announce(member: &Membership, cluster: &Connection, broker: Option<&Connection>) -> anyhow::Result<()> {
    let id = member.cluster_id.as_str();
    let params = PatchParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let leaving = Patch::Merge(json!({ "spec": { "state": "Leaving" } }));
    let here: Api<Cluster> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
    match here.patch(id, &params, &leaving).await {
        Err(error) if !is_not_found(&error) => {
            return Err(cluster
                .failed(format!("mark Cluster {SYSTEM_NAMESPACE}/{id} as leaving"))(
                error
            ));
        }
        _ => {}
    }
    if let Some(broker) = broker {
        let there: Api<Cluster> = Api::namespaced(broker.client.clone(), &member.cluster_id.broker_namespace());
        // What fails here fails again, and is reported, when the broker is to forget us.
        let _ = there.patch(id, &params, &leaving).await;
    }
    Ok(())
}

/// Waits until every node's agent reports that nothing of ours is left there; names those that stay silent.
async fn await_clean_nodes(cluster: &Connection, timeout: Duration, progress: &mut Progress) -> anyhow::Result<()> {
    let agents: Api<RouteAgent> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let deadline = Instant::now() + timeout;
    loop {
        let nodes = nodes
            .list(&ListParams::default())
            .await
            .map_err(cluster.failed("list nodes"))?;
        let agents = match agents.list(&ListParams::default()).await {
            Ok(agents) => agents.items,
            Err(error) if is_not_found(&error) => Vec::new(),
            Err(error) => return Err(cluster.failed("list RouteAgents")(error)),
        };
        let names: Vec<String> = nodes.iter().map(ResourceExt::name_any).collect();
        let silent = not_clean(&names, &agents);
        if silent.is_empty() {
            progress.step("nodes", format!("{} clean", agents.len()));
            return Ok(());
        }
        if Instant::now() >= deadline {
            progress.warn(format!(
                "no report that these nodes are clean: {}. On each, run: tombolo-route-agent cleanup",
                silent.join(", ")
            ));
            return Ok(());
        }
        progress.waiting(format!("nodes to be clean: {}", silent.join(", ")));
        tokio::time::sleep(POLL).await;
    }
}

/// Nodes that have an agent which has not reported that its node is clean. A node that never had one has nothing of ours.
fn not_clean(nodes: &[String], agents: &[RouteAgent]) -> Vec<String> {
    let is_clean = |agent: &RouteAgent| {
        let status = agent.status.as_ref();
        status.is_some_and(|status| condition::is_true(&status.conditions, condition::CLEANED_UP))
    };
    nodes
        .iter()
        .filter(|node| agents.iter().any(|agent| agent.spec.node == **node && !is_clean(agent)))
        .cloned()
        .collect()
}

/// First the right to write imports is taken from the agents, so that no sync leader brings one back.
async fn remove_imports(cluster: &Connection) -> anyhow::Result<()> {
    apply::delete(cluster, &cluster_object("ClusterRoleBinding", "tombolo-gateway-agent")).await?;
    let ours = format!("app.kubernetes.io/managed-by={FIELD_MANAGER}");
    delete_labelled::<ServiceImport>(cluster, &ours).await?;
    let slices = format!("endpointslice.kubernetes.io/managed-by={SLICE_MANAGER}");
    delete_labelled::<EndpointSlice>(cluster, &slices).await
}

async fn delete_labelled<K>(cluster: &Connection, selector: &str) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let kind = K::kind(&());
    let everywhere: Api<K> = Api::all(cluster.client.clone());
    let found = match everywhere.list(&ListParams::default().labels(selector)).await {
        Ok(found) => found,
        Err(error) if is_not_found(&error) => return Ok(()),
        Err(error) => return Err(cluster.failed(format!("list every {kind} of ours"))(error)),
    };
    for object in found {
        let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
        let api: Api<K> = Api::namespaced(cluster.client.clone(), &namespace);
        match api.delete(&name, &DeleteParams::background()).await {
            Err(error) if !is_not_found(&error) => {
                return Err(cluster.failed(format!("delete {kind} {namespace}/{name}"))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Our objects, the unused invitation, our room. The room goes last, and with it the account that we do this with.
async fn forget(member: &Membership, broker: &Connection) -> anyhow::Result<()> {
    let namespace = member.cluster_id.broker_namespace();
    let objects = |kind: &str| json!({ "apiVersion": "tombolo.dev/v1alpha1", "kind": kind, "metadata": { "namespace": namespace } });
    for kind in ["ExportedService", "Gateway", "Cluster"] {
        apply::delete_every(broker, &objects(kind)).await?;
    }
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "invite", "namespace": namespace } });
    apply::delete(broker, &account).await?;
    let room = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
    apply::delete(broker, &room)
        .await
        .context("its objects are gone from the broker, its namespace is not")
}

async fn remove_workloads(cluster: &Connection, purge_mcs: bool) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let nodes = nodes
        .list(&ListParams::default())
        .await
        .map_err(cluster.failed("list nodes"))?;
    for node in nodes.iter().filter(|node| gateways::is_labelled(node)) {
        apply::apply(cluster, &gateways::label(&node.name_any(), false)).await?;
    }
    // The namespace last: it holds what a second run would need to go on.
    for manifest in manifests::MEMBER.iter().rev() {
        for object in manifests::render(*manifest, &[("IMAGE", "")])?.iter().rev() {
            apply::delete(cluster, object).await?;
        }
    }
    if !is_broker_too(cluster).await? {
        for crd in k8s_api::crds::member() {
            apply::delete(cluster, &definition(k8s_api::crds::name(&crd))).await?;
        }
    }
    if purge_mcs {
        for crd in k8s_api::crds::mcs() {
            apply::delete(cluster, &definition(k8s_api::crds::name(&crd))).await?;
        }
    }
    Ok(())
}

/// Whether this cluster is a clusterset's broker besides; our definitions, and the objects under them, are the broker's then.
async fn is_broker_too(cluster: &Connection) -> anyhow::Result<bool> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespaces = namespaces
        .list(&ListParams::default())
        .await
        .map_err(cluster.failed("list namespaces"))?;
    Ok(namespaces
        .iter()
        .any(|namespace| namespace.name_any().starts_with(MEMBER_NAMESPACE_PREFIX)))
}

fn cluster_object(kind: &str, name: &str) -> Value {
    json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": { "name": name } })
}

fn definition(name: &str) -> Value {
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": name } })
}

const POLL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(node: &str, clean: Option<&str>) -> RouteAgent {
        let conditions: Vec<Value> = clean
            .map(|status| json!({ "type": "CleanedUp", "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z" }))
            .into_iter()
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "tombolo.dev/v1alpha1", "kind": "RouteAgent", "metadata": { "name": node },
            "spec": { "node": node }, "status": { "conditions": conditions },
        }))
        .unwrap()
    }

    #[test]
    fn silent_nodes_are_named_and_nodes_without_an_agent_are_clean() {
        let nodes: Vec<String> = ["a", "b", "c", "d"].map(String::from).into();
        let agents = [
            agent("a", Some("True")),
            agent("b", Some("False")),
            agent("c", None),
            agent("gone", None),
        ];
        assert_eq!(not_clean(&nodes, &agents), ["b", "c"]);
    }
}

//! `tombolo export` and `tombolo unexport`: a ServiceExport made, or taken away, with what came of it.

use std::time::Duration;

use anyhow::{bail, ensure};
use clap::{Args, Subcommand};
use k8s_api::mcs::{self, ServiceExport, ServiceExportSpec};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_runtime::Find;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use model::names::CLUSTERSET_ZONE;
use tokio::time::Instant;

use crate::apply::MANAGER;
use crate::connect::{Connection, KubeTarget, is_not_found};
use crate::duration;

/// Exports something to the clusterset.
#[derive(Debug, Args)]
pub struct Export {
    #[command(subcommand)]
    what: ExportWhat,
}

#[derive(Debug, Subcommand)]
enum ExportWhat {
    /// Export a Service: every cluster that has its namespace can resolve it
    Service(ExportService),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo export service cart -n shop
  tombolo export service cart -n shop --timeout 5s

Every cluster then resolves cart.shop.svc.clusterset.local.")]
struct ExportService {
    #[command(flatten)]
    service: Name,
    /// How long to wait until the clusterset has been told
    #[arg(long, value_parser = duration::parse, default_value = "30s")]
    timeout: Duration,
    /// Do not wait
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    target: KubeTarget,
}

/// Takes an export back.
#[derive(Debug, Args)]
pub struct Unexport {
    #[command(subcommand)]
    what: UnexportWhat,
}

#[derive(Debug, Subcommand)]
enum UnexportWhat {
    /// Take the export of a Service back; the Service itself stays
    Service(UnexportService),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo unexport service cart -n shop")]
struct UnexportService {
    #[command(flatten)]
    service: Name,
    #[command(flatten)]
    target: KubeTarget,
}

#[derive(Debug, Args)]
struct Name {
    /// Name of the Service
    #[arg(value_name = "NAME")]
    name: String,
    /// Its namespace
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl Export {
    /// Exports.
    ///
    /// # Errors
    /// When there is no such Service, it cannot be exported, or the clusterset is not told in time.
    pub async fn run(&self) -> anyhow::Result<()> {
        let ExportWhat::Service(command) = &self.what;
        let cluster = command.target.connect("cluster").await?;
        let Name { namespace, name } = &command.service;
        let timeout = (!command.no_wait).then_some(command.timeout);
        let is_new = export(&cluster, namespace, name, timeout).await?;
        let unchanged = if is_new { "" } else { " already: unchanged" };
        println!("Service {namespace}/{name} is exported{unchanged}.");
        println!("Every cluster that has the namespace resolves {name}.{namespace}.svc.{CLUSTERSET_ZONE}");
        Ok(())
    }
}

impl Unexport {
    /// Takes an export back.
    ///
    /// # Errors
    /// When it is not exported, or the cluster refuses.
    pub async fn run(&self) -> anyhow::Result<()> {
        let UnexportWhat::Service(command) = &self.what;
        let cluster = command.target.connect("cluster").await?;
        let Name { namespace, name } = &command.service;
        let exports: Api<ServiceExport> = Api::namespaced(cluster.client.clone(), namespace);
        match exports.delete(name, &DeleteParams::default()).await {
            Ok(_) => {
                println!("Service {} is no longer exported from this cluster.", command.service);
                Ok(())
            }
            Err(error) if is_not_found(&error) => bail!(
                "Service {} is not exported from this cluster ({}); see `tombolo show services`",
                command.service,
                cluster.url
            ),
            Err(error) => Err(cluster.failed(format!("delete ServiceExport {}", command.service))(
                error,
            )),
        }
    }
}

/// Exports a Service and waits until the clusterset has been told; tells whether the export is new.
///
/// # Errors
/// When there is no such Service, it cannot be exported, or the clusterset is not told in time.
pub async fn export(
    cluster: &Connection,
    namespace: &str,
    name: &str,
    timeout: Option<Duration>,
) -> anyhow::Result<bool> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    let service = services
        .find(name)
        .await
        .map_err(cluster.failed(format!("read Service {namespace}/{name}")))?;
    let Some(service) = service else {
        bail!(
            "there is no Service {namespace}/{name} in this cluster ({}); create it first, or see `kubectl get services -A`",
            cluster.url
        );
    };
    let kind = service.spec.and_then(|spec| spec.type_).unwrap_or_default();
    ensure!(
        kind != "ExternalName",
        "Service {namespace}/{name} is of type ExternalName, a DNS alias without endpoints, and cannot be exported; export a \
         Service that selects pods"
    );
    let exports: Api<ServiceExport> = Api::namespaced(cluster.client.clone(), namespace);
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    let is_new = match exports
        .create(&params, &ServiceExport::new(name, ServiceExportSpec::default()))
        .await
    {
        Ok(_) => true,
        Err(kube::Error::Api(status)) if status.is_already_exists() => false,
        Err(error) if is_not_found(&error) => bail!(
            "this cluster ({}) does not know ServiceExports: it is no member. Run `tombolo join` first",
            cluster.url
        ),
        Err(error) => {
            return Err(cluster.failed(format!("create ServiceExport {namespace}/{name}"))(
                error,
            ));
        }
    };
    if let Some(timeout) = timeout {
        await_ready(cluster, &exports, namespace, name, timeout).await?;
    }
    Ok(is_new)
}

async fn await_ready(
    cluster: &Connection,
    exports: &Api<ServiceExport>,
    namespace: &str,
    name: &str,
    timeout: Duration,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let object = exports
            .get(name)
            .await
            .map_err(cluster.failed(format!("read ServiceExport {namespace}/{name}")))?;
        let conditions = object.status.map(|status| status.conditions).unwrap_or_default();
        match progress(&conditions) {
            ExportProgress::Ready => return Ok(()),
            ExportProgress::Invalid(why) => bail!("ServiceExport {namespace}/{name} is not valid: {why}"),
            ExportProgress::Pending(why) => ensure!(
                Instant::now() < deadline,
                "ServiceExport {namespace}/{name} exists, but the clusterset was not told within {}: {why}. See `tombolo show \
                 gateways`",
                duration::show(timeout)
            ),
        }
        tokio::time::sleep(POLL).await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum ExportProgress {
    Ready,
    Invalid(String),
    Pending(String),
}

fn progress(conditions: &[Condition]) -> ExportProgress {
    let find = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let text = |condition: &Condition| format!("{}: {}", condition.reason, condition.message);
    match (find(mcs::VALID), find(mcs::EXPORT_READY)) {
        (Some(valid), _) if valid.status == "False" => ExportProgress::Invalid(text(valid)),
        (_, Some(ready)) if ready.status == "True" => ExportProgress::Ready,
        (_, Some(not_ready)) => ExportProgress::Pending(text(not_ready)),
        _ => ExportProgress::Pending("no gateway agent has looked at it yet".to_owned()),
    }
}

const POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: &str, status: &str) -> Condition {
        serde_json::from_value(serde_json::json!({
            "type": kind, "status": status, "reason": "Why", "message": "because", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn how_far_an_export_is() {
        assert!(matches!(progress(&[]), ExportProgress::Pending(_)));
        assert_eq!(
            progress(&[condition("Valid", "True"), condition("Ready", "True")]),
            ExportProgress::Ready
        );
        assert_eq!(
            progress(&[condition("Valid", "False"), condition("Ready", "False")]),
            ExportProgress::Invalid("Why: because".into())
        );
        assert_eq!(
            progress(&[condition("Valid", "True"), condition("Ready", "False")]),
            ExportProgress::Pending("Why: because".into())
        );
    }
}

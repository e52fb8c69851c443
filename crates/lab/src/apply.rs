//! Applies manifests to a cluster of the lab and waits until what they start is ready, for a machine without kubectl.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, TypeMeta};
use kube::{Api, Client, Discovery, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::command::Name;
use crate::mirror;
use crate::state::Lab;

/// What to apply, and where.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: Name,
    /// A cluster of the lab
    cluster: String,
    /// File with manifests in YAML; `-` is standard input
    #[arg(short, long, default_value = "-")]
    file: PathBuf,
    /// Wait so many seconds until every pod of the namespaces concerned is ready
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Print the pods as JSON
    #[arg(long)]
    json: bool,
}

/// A pod of a namespace that something was applied to.
#[derive(Debug, Clone, Serialize)]
struct PodRow {
    namespace: String,
    name: String,
    node: String,
    addresses: Vec<String>,
    ready: bool,
}

/// Applies, waits, and prints the pods.
///
/// # Errors
/// When a manifest is malformed or refused, or a pod is not ready in time.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let lab = Lab::open(&args.name.name)?;
    let cluster = lab.cluster(&args.cluster)?.name.clone();
    let objects = manifests(&args.file)?;
    let script = Script {
        objects,
        kubeconfig: lab.directory().kubeconfig(&cluster),
        wait: args.wait,
        json: args.json,
    };
    // The cluster's API server is reached from within its network only.
    let namespace = lab.namespace(&lab.cluster(&cluster)?.api.name);
    namespace.inside(|| script.run())?
}

struct Script {
    objects: Vec<Value>,
    kubeconfig: PathBuf,
    wait: Option<u64>,
    json: bool,
}

impl Script {
    fn run(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = mirror::client(Some(&self.kubeconfig)).await?;
            let discovery = Discovery::new(client.clone())
                .run()
                .await
                .context("cannot ask the API server for its kinds")?;
            let mut namespaces = BTreeSet::new();
            for object in &self.objects {
                namespaces.insert(apply(&client, &discovery, object).await?);
            }
            namespaces.remove("");
            let pods = wait_until_ready(&client, &namespaces, self.wait.map(Duration::from_secs)).await?;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&pods)?);
            } else {
                for pod in &pods {
                    println!(
                        "{}/{} on {} at {}",
                        pod.namespace,
                        pod.name,
                        pod.node,
                        pod.addresses.join(" ")
                    );
                }
            }
            Ok(())
        })
    }
}

fn manifests(file: &Path) -> anyhow::Result<Vec<Value>> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    }
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(&text).with_context(|| format!("{} is not YAML", file.display()))?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// Applies one object, and returns its namespace; empty for a kind that has none.
pub(crate) async fn apply(client: &Client, discovery: &Discovery, object: &Value) -> anyhow::Result<String> {
    let types: TypeMeta = serde_json::from_value(object.clone()).context("a manifest without apiVersion and kind")?;
    let name = object["metadata"]["name"]
        .as_str()
        .with_context(|| format!("a {} without metadata.name", types.kind))?;
    let kind = GroupVersionKind::try_from(&types)?;
    let (resource, capabilities) = discovery
        .resolve_gvk(&kind)
        .with_context(|| format!("the cluster has no {} {}", types.api_version, types.kind))?;
    let namespace = match capabilities.scope {
        kube::discovery::Scope::Cluster => String::new(),
        kube::discovery::Scope::Namespaced => object["metadata"]["namespace"].as_str().unwrap_or("default").to_owned(),
    };
    let api = api(client, &resource, &namespace);
    let parameters = PatchParams::apply("tombolo-lab").force();
    api.patch(name, &parameters, &Patch::Apply(object))
        .await
        .with_context(|| format!("the {} {name} was refused", types.kind))?;
    Ok(namespace)
}

fn api(client: &Client, resource: &ApiResource, namespace: &str) -> Api<DynamicObject> {
    match namespace {
        "" => Api::all_with(client.clone(), resource),
        namespace => Api::namespaced_with(client.clone(), namespace, resource),
    }
}

/// Every workload must have its pods, and every pod be ready.
async fn wait_until_ready(
    client: &Client,
    namespaces: &BTreeSet<String>,
    limit: Option<Duration>,
) -> anyhow::Result<Vec<PodRow>> {
    let started = Instant::now();
    loop {
        let mut pods = Vec::new();
        let mut waiting = Vec::new();
        for namespace in namespaces {
            for pod in Api::<Pod>::namespaced(client.clone(), namespace)
                .list(&ListParams::default())
                .await?
            {
                pods.push(row(namespace, &pod));
            }
            waiting.extend(unavailable(client, namespace).await?);
        }
        waiting.extend(
            pods.iter()
                .filter(|pod| !pod.ready)
                .map(|pod| format!("pod {}/{}", pod.namespace, pod.name)),
        );
        let Some(limit) = limit else { return Ok(pods) };
        if waiting.is_empty() {
            return Ok(pods);
        }
        if started.elapsed() > limit {
            bail!("after {} s not ready: {}", limit.as_secs(), waiting.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Deployments that have fewer available pods than they want.
async fn unavailable(client: &Client, namespace: &str) -> anyhow::Result<Vec<String>> {
    use k8s_openapi::api::apps::v1::Deployment;
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace)
        .list(&ListParams::default())
        .await?;
    let is_short = |deployment: &Deployment| {
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        deployment
            .status
            .as_ref()
            .and_then(|status| status.available_replicas)
            .unwrap_or(0)
            < wanted
    };
    let short = deployments.into_iter().filter(is_short);
    Ok(short
        .map(|deployment| format!("deployment {namespace}/{}", deployment.name_any()))
        .collect())
}

fn row(namespace: &str, pod: &Pod) -> PodRow {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.unwrap_or_default();
    PodRow {
        namespace: namespace.to_owned(),
        name: pod.name_any(),
        node: pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.clone())
            .unwrap_or_default(),
        addresses: status.pod_ips.unwrap_or_default().into_iter().map(|ip| ip.ip).collect(),
        ready: conditions
            .iter()
            .any(|condition| condition.type_ == "Ready" && condition.status == "True"),
    }
}

//! What labs leave on a server that outlives them, and how it goes.
//!
//! Before a lab uses a server it writes down, on that server, which namespaces and other cluster-wide objects there are. Everything of
//! those kinds that is there later and was not then is the lab's, or of what ran in it, and is removed: by the same lab, or,
//! had that been killed, by the next one. Nodes are known by their runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::Instant;

use crate::addons;
use crate::controllers::namespaces;
use crate::mirror;
use crate::topology::Topology;

/// Removes what earlier labs left on every server, and notes what there is then.
///
/// # Errors
/// When a server does not answer or refuses.
pub(crate) async fn begin(topology: &Topology) -> anyhow::Result<()> {
    for (path, client) in clients(topology).await? {
        clean(&client)
            .await
            .with_context(|| format!("the API server of {path} cannot be tidied up"))?;
        note(&client)
            .await
            .with_context(|| format!("the API server of {path} does not take the lab's note"))?;
    }
    Ok(())
}

/// Removes what the lab left on every server, the note included.
///
/// # Errors
/// When a server does not answer or refuses; the note stays, so that a later lab tries again.
pub(crate) async fn end(topology: &Topology) -> anyhow::Result<()> {
    for (path, client) in clients(topology).await? {
        clean(&client)
            .await
            .with_context(|| format!("the API server of {path} cannot be tidied up"))?;
    }
    Ok(())
}

/// One client per server, also where a server stands for several places.
async fn clients(topology: &Topology) -> anyhow::Result<BTreeMap<String, Client>> {
    let servers = topology.clusters.iter().map(|cluster| &cluster.server);
    let mut clients = BTreeMap::new();
    for server in servers.chain([&topology.broker_server]).flatten() {
        let path = server.kubeconfig.display().to_string();
        clients.insert(path, mirror::client(Some(&server.kubeconfig)).await?);
    }
    Ok(clients)
}

async fn note(client: &Client) -> anyhow::Result<()> {
    let mut data = BTreeMap::new();
    for kind in KINDS {
        let names: Vec<String> = kind.names(client).await?.into_iter().collect();
        data.insert(kind.plural, names.join("\n"));
    }
    let note = json!({"metadata": {"name": NOTE}, "data": data});
    let note: ConfigMap = serde_json::from_value(note).context("a ConfigMap is a ConfigMap")?;
    notes(client)
        .create(&PostParams::default(), &note)
        .await
        .context("cannot write the note")?;
    Ok(())
}

async fn clean(client: &Client) -> anyhow::Result<()> {
    let Some(note) = notes(client)
        .get_opt(NOTE)
        .await
        .context("cannot read the note of an earlier lab")?
    else {
        return Ok(());
    };
    let data = note.data.unwrap_or_default();
    remove_nodes(client).await?;
    for object in addons::names() {
        let resource = ApiResource::from_gvk(&object.kind);
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "kube-system", &resource);
        delete(&api, object.name).await?;
    }
    for kind in KINDS {
        let before: BTreeSet<String> = data
            .get(kind.plural)
            .into_iter()
            .flat_map(|names| names.lines())
            .map(str::to_owned)
            .collect();
        let now = kind.names(client).await?;
        let resource = ApiResource::from_gvk(&kind.gvk());
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        for name in now.difference(&before) {
            delete(&api, name).await?;
        }
    }
    settle(client, &data).await?;
    delete(&notes(client), NOTE).await
}

/// The lab's nodes and whatever is bound to them.
async fn remove_nodes(client: &Client) -> anyhow::Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let list = nodes.list(&ListParams::default()).await.context("cannot list nodes")?;
    let is_ours = |node: &Node| {
        let info = node.status.as_ref().and_then(|status| status.node_info.as_ref());
        info.is_some_and(|info| info.container_runtime_version.starts_with("lab://"))
    };
    let ours: BTreeSet<String> = list
        .iter()
        .filter(|node| is_ours(node))
        .map(ResourceExt::name_any)
        .collect();
    let pods = Api::<Pod>::all(client.clone())
        .list(&ListParams::default())
        .await
        .context("cannot list pods")?;
    for pod in pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        if node.is_none_or(|node| ours.contains(node)) {
            let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
            delete(&api, &pod.name_any()).await?;
        }
    }
    for node in ours {
        delete(&nodes, &node).await?;
    }
    Ok(())
}

/// Waits until the namespaces that were deleted are gone, and does what a controller-manager would, as there may be none.
async fn settle(client: &Client, data: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let before: BTreeSet<&str> = data
        .get("namespaces")
        .into_iter()
        .flat_map(|names| names.lines())
        .collect();
    loop {
        let all = Api::<Namespace>::all(client.clone())
            .list(&ListParams::default())
            .await
            .context("cannot list namespaces")?;
        let left: Vec<&Namespace> = all
            .iter()
            .filter(|namespace| !before.contains(namespace.name_any().as_str()))
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        for namespace in &left {
            namespaces::empty(client, namespace).await?;
        }
        if Instant::now() > deadline {
            let names: Vec<String> = left.iter().map(|namespace| namespace.name_any()).collect();
            bail!("the namespaces {} do not go", names.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn delete<K>(api: &Api<K>, name: &str) -> anyhow::Result<()>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let at_once = DeleteParams {
        grace_period_seconds: Some(0),
        ..DeleteParams::background()
    };
    match api.delete(name, &at_once).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot delete '{name}'")),
        Ok(_) => Ok(()),
    }
}

fn notes(client: &Client) -> Api<ConfigMap> {
    Api::namespaced(client.clone(), "kube-system")
}

/// A cluster-wide kind of which labs, and what runs in them, make objects.
struct Kind {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
}

impl Kind {
    fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::gvk(self.group, self.version, self.kind)
    }

    async fn names(&self, client: &Client) -> anyhow::Result<BTreeSet<String>> {
        let resource = ApiResource::from_gvk_with_plural(&self.gvk(), self.plural);
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), &resource);
        let list = api
            .list_metadata(&ListParams::default())
            .await
            .with_context(|| format!("cannot list {}", self.plural))?;
        Ok(list.iter().map(ResourceExt::name_any).collect())
    }
}

const NOTE: &str = "tombolo-lab";
const PATIENCE: Duration = Duration::from_secs(60);
const RBAC: &str = "rbac.authorization.k8s.io";
const KINDS: [Kind; 4] = [
    Kind {
        group: RBAC,
        version: "v1",
        kind: "ClusterRoleBinding",
        plural: "clusterrolebindings",
    },
    Kind {
        group: RBAC,
        version: "v1",
        kind: "ClusterRole",
        plural: "clusterroles",
    },
    Kind {
        group: "apiextensions.k8s.io",
        version: "v1",
        kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions",
    },
    Kind {
        group: "",
        version: "v1",
        kind: "Namespace",
        plural: "namespaces",
    },
];

//! What every cluster has before anybody uses it: cluster DNS, and the ConfigMap by which kubeadm tells a cluster's prefixes.

use std::time::Duration;

use anyhow::{Context, bail};
use ipnet::IpNet;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::topology::{Cluster, IpFamily, Topology};

/// Puts the objects there, and waits until the cluster is fit for use.
///
/// # Errors
/// When the API server refuses one, or the cluster is not ready in time; the text says what is missing.
pub(crate) async fn install(client: Client, topology: &Topology, cluster: &Cluster) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    answers(&client, deadline).await?;
    for object in objects(topology.ip_family, cluster) {
        apply(&client, &object).await?;
    }
    loop {
        let missing = missing(&client, cluster).await;
        match missing {
            Ok(None) => return Ok(()),
            Ok(Some(missing)) if Instant::now() > deadline => {
                bail!(
                    "the cluster '{}' is not ready after {PATIENCE:?}: {missing}; see `tombolo lab logs`",
                    cluster.name
                )
            }
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("the API server of '{}' does not answer", cluster.name));
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn answers(client: &Client, deadline: Instant) -> anyhow::Result<()> {
    loop {
        match client.apiserver_version().await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error).context("the API server does not answer"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// What is not ready yet, in words.
async fn missing(client: &Client, cluster: &Cluster) -> Result<Option<String>, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let ready: Vec<String> = nodes
        .list(&Default::default())
        .await?
        .into_iter()
        .filter(is_ready)
        .filter_map(|node| node.metadata.name)
        .collect();
    let absent: Vec<&str> = cluster
        .nodes
        .iter()
        .map(|node| node.host.name.as_str())
        .filter(|name| !ready.iter().any(|ready| ready == name))
        .collect();
    if !absent.is_empty() {
        return Ok(Some(format!("the nodes {} are not Ready", absent.join(", "))));
    }
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "kube-system");
    let dns = deployments.get("coredns").await?;
    let available = dns.status.and_then(|status| status.available_replicas).unwrap_or(0);
    Ok((available == 0).then(|| "no pod of the Deployment kube-system/coredns is available".to_owned()))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn apply(client: &Client, object: &Value) -> anyhow::Result<()> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion")
        .rsplit_once('/')
        .unwrap_or(("", text("/apiVersion")));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
    let api: Api<DynamicObject> = match text("/metadata/namespace") {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let name = text("/metadata/name");
    let parameters = PatchParams::apply("lab").force();
    api.patch(name, &parameters, &Patch::Apply(object))
        .await
        .with_context(|| format!("cannot apply {} '{name}'", text("/kind")))?;
    Ok(())
}

fn objects(family: IpFamily, cluster: &Cluster) -> Vec<Value> {
    let meta = |name: &str| json!({"name": name, "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}});
    let role = |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
    let watched = json!(["get", "list", "watch"]);
    vec![
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
            "data": {"ClusterConfiguration": cluster_configuration(cluster)},
        }),
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("coredns")}),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "system:coredns"},
            "rules": [
                {"apiGroups": [""], "resources": ["services", "pods", "namespaces", "configmaps"], "verbs": watched},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watched},
            ],
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": role("ClusterRole", "system:coredns"),
            "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
        }),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("coredns"), "data": {"Corefile": COREFILE}}),
        dns_service(family, cluster, &meta("kube-dns")),
        dns_deployment(&meta("coredns")),
    ]
}

/// Kind and name of each of these objects, all in `kube-system` but for the cluster-wide ones.
pub(crate) fn names() -> impl Iterator<Item = Addon> {
    let addon = |group: &str, kind: &str, name| Addon {
        kind: GroupVersionKind::gvk(group, "v1", kind),
        name,
    };
    [
        addon("apps", "Deployment", "coredns"),
        addon("", "Service", "kube-dns"),
        addon("", "ConfigMap", "coredns"),
        addon("", "ConfigMap", "kubeadm-config"),
        addon("", "ServiceAccount", "coredns"),
    ]
    .into_iter()
}

/// One of the objects.
pub(crate) struct Addon {
    pub(crate) kind: GroupVersionKind,
    pub(crate) name: &'static str,
}

fn dns_service(family: IpFamily, cluster: &Cluster, metadata: &Value) -> Value {
    let addresses = cluster.dns_addresses();
    let families: Vec<&str> = addresses
        .iter()
        .map(|address| if address.is_ipv4() { "IPv4" } else { "IPv6" })
        .collect();
    let policy = if family == IpFamily::Dual {
        "RequireDualStack"
    } else {
        "SingleStack"
    };
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {
            "clusterIP": addresses.first(),
            "clusterIPs": addresses,
            "ipFamilies": families,
            "ipFamilyPolicy": policy,
            "selector": {"k8s-app": "kube-dns"},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
            ],
        },
    })
}

fn dns_deployment(metadata: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"k8s-app": "kube-dns"}},
            "template": {
                "metadata": {"labels": {"k8s-app": "kube-dns"}},
                "spec": {
                    "serviceAccountName": "coredns",
                    "dnsPolicy": "Default",
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "coredns",
                        "image": "lab/coredns",
                        "ports": [
                            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
                        ],
                        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 2},
                        "securityContext": {
                            "allowPrivilegeEscalation": false,
                            "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
                        },
                    }],
                },
            },
        },
    })
}

/// What kubeadm leaves of its configuration, as far as it names prefixes.
fn cluster_configuration(cluster: &Cluster) -> String {
    let list = |prefixes: &[IpNet]| prefixes.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",");
    format!(
        "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nclusterName: {}\nnetworking:\n  dnsDomain: cluster.local\n  \
         podSubnet: {}\n  serviceSubnet: {}\n",
        cluster.name,
        list(&cluster.pod_prefixes),
        list(&cluster.service_prefixes),
    )
}

/// kubeadm's.
const COREFILE: &str = "\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30
    loop
    reload
    loadbalance
}
";

const PATIENCE: Duration = Duration::from_secs(60);

//! Reads what may tell a cluster's prefixes. What is absent, or not ours to read, tells nothing.

use k8s_openapi::api::core::v1::{ConfigMap, Node};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::{Api, ResourceExt};

use super::prefixes::{self, Source, Sources};
use crate::connect::Connection;

/// Reads everything but the flags.
///
/// # Errors
/// When the cluster does not answer.
pub async fn read(cluster: &Connection, nodes: &[Node]) -> anyhow::Result<Sources> {
    let mut sources = Sources {
        nodes: nodes.iter().map(of_node).collect(),
        service_cidrs: service_cidrs(cluster).await?,
        pools: calico_pools(cluster).await?,
        ..Sources::default()
    };
    if let Some(yaml) = config(cluster, "kubeadm-config", "ClusterConfiguration").await? {
        let (pods, services) = prefixes::from_kubeadm(&yaml);
        let origin = "ConfigMap kube-system/kubeadm-config";
        sources.configured_pods.push(Source::new(origin, pods));
        sources.configured_services.push(Source::new(origin, services));
    }
    if let Some(yaml) = config(cluster, "kube-proxy", "config.conf").await? {
        let origin = "ConfigMap kube-system/kube-proxy";
        sources
            .configured_pods
            .push(Source::new(origin, prefixes::from_kube_proxy(&yaml)));
    }
    for key in ["cluster-pool-ipv4-cidr", "cluster-pool-ipv6-cidr"] {
        if let Some(text) = config(cluster, "cilium-config", key).await? {
            let origin = format!("ConfigMap kube-system/cilium-config, {key}");
            sources.pools.push(Source::new(origin, prefixes::split(&text)));
        }
    }
    Ok(sources)
}

fn of_node(node: &Node) -> Source {
    let spec = node.spec.clone().unwrap_or_default();
    let mut cidrs = spec.pod_cidrs.unwrap_or_default();
    cidrs.extend(spec.pod_cidr);
    Source::new(format!("node {}", node.name_any()), cidrs)
}

async fn service_cidrs(cluster: &Connection) -> anyhow::Result<Vec<Source>> {
    let api: Api<ServiceCIDR> = Api::all(cluster.client.clone());
    let objects = if_there(api.list(&ListParams::default()).await).map_err(cluster.failed("list ServiceCIDRs"))?;
    let objects = objects.map(|list| list.items).unwrap_or_default();
    Ok(objects
        .into_iter()
        .map(|object| {
            let cidrs = object
                .spec
                .as_ref()
                .and_then(|spec| spec.cidrs.clone())
                .unwrap_or_default();
            Source::new(format!("ServiceCIDR {}", object.name_any()), cidrs)
        })
        .collect())
}

async fn calico_pools(cluster: &Connection) -> anyhow::Result<Vec<Source>> {
    let kind = GroupVersionKind::gvk("crd.projectcalico.org", "v1", "IPPool");
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &ApiResource::from_gvk(&kind));
    let pools = if_there(api.list(&ListParams::default()).await).map_err(cluster.failed("list Calico IPPools"))?;
    let pools = pools.map(|list| list.items).unwrap_or_default();
    Ok(pools
        .iter()
        .filter(|pool| pool.data["spec"]["disabled"] != true)
        .filter_map(|pool| {
            let cidr = pool.data["spec"]["cidr"].as_str()?;
            Some(Source::new(format!("Calico IPPool {}", pool.name_any()), [cidr]))
        })
        .collect())
}

async fn config(cluster: &Connection, name: &str, key: &str) -> anyhow::Result<Option<String>> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-system");
    let object = if_there(api.get(name).await).map_err(cluster.failed(format!("read ConfigMap kube-system/{name}")))?;
    Ok(object.and_then(|object| object.data?.remove(key)))
}

/// None for what does not exist, and for what may not be read.
fn if_there<T>(result: kube::Result<T>) -> kube::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => Ok(None),
        Err(error) => Err(error),
    }
}

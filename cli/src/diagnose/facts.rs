//! What is read before anything is judged.

use anyhow::{anyhow, bail};
use futures::try_join;
use k8s_api::mcs::ServiceImport;
use k8s_api::{ExportedService, RouteAgent};
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_runtime::Find;
use kube::Api;
use kube::api::ListParams;
use model::names::{MCS_SERVICE_NAME_LABEL, SYSTEM_NAMESPACE};

use crate::connect::Connection;
use crate::show::world::World;

/// Everything that bears on one service.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) world: World,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Look at this exporter only.
    pub(super) from: Option<String>,
    pub(super) has_namespace: bool,
    pub(super) import: Option<ServiceImport>,
    /// The slices of the import.
    pub(super) slices: Vec<EndpointSlice>,
    pub(super) route_agents: Vec<RouteAgent>,
    /// Addresses of cluster DNS; none where it is not the usual Service.
    pub(super) cluster_dns: Vec<String>,
}

impl Facts {
    /// The exports of the service, those of other clusters than the one asked for left out.
    pub(super) fn exports(&self) -> impl Iterator<Item = &ExportedService> {
        self.world.exports.iter().filter(|export| {
            let spec = &export.spec;
            (&spec.namespace, &spec.name) == (&self.namespace, &self.name)
                && self.from.as_ref().is_none_or(|from| spec.cluster_id == *from)
        })
    }

    /// `cart.shop.svc.clusterset.local`, or one cluster's own.
    pub(super) fn dns_name(&self) -> String {
        let cluster = self.from.iter().map(|from| format!("{from}.")).collect::<String>();
        format!(
            "{cluster}{}.{}.svc.{}",
            self.name,
            self.namespace,
            model::names::CLUSTERSET_ZONE
        )
    }
}

/// Reads it.
///
/// # Errors
/// When the cluster does not answer, is no member, or there is no cluster of the name asked for.
pub(super) async fn read(cluster: &Connection, service: &super::Service, from: Option<&str>) -> anyhow::Result<Facts> {
    let world = World::read(cluster).await?;
    let super::Service { namespace, name } = service;
    if let Some(from) = from
        && !world.clusters.iter().any(|member| member.spec.cluster_id == from)
    {
        let members: Vec<&str> = world
            .clusters
            .iter()
            .map(|member| member.spec.cluster_id.as_str())
            .collect();
        bail!(
            "--from: there is no member \"{from}\"; the members are {}",
            members.join(", ")
        );
    }
    let client = &cluster.client;
    let of_service = ListParams::default().labels(&format!("{}={name}", MCS_SERVICE_NAME_LABEL));
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let imports: Api<ServiceImport> = Api::namespaced(client.clone(), namespace);
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), namespace);
    let agents: Api<RouteAgent> = Api::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let services: Api<Service> = Api::namespaced(client.clone(), "kube-system");
    let all = ListParams::default();
    let read = async {
        try_join!(
            namespaces.find(namespace),
            imports.find(name),
            slices.list(&of_service),
            agents.list(&all),
            services.find("kube-dns"),
        )
    };
    let (found, import, slices, agents, dns) = tokio::time::timeout(super::tried::PATIENCE, read)
        .await
        .map_err(|_| {
            anyhow!(
                "the cluster {} did not answer within {:?}",
                cluster.url,
                super::tried::PATIENCE
            )
        })?
        .map_err(|error| cluster.failed(format!("read what there is of {namespace}/{name}"))(error))?;
    Ok(Facts {
        world,
        namespace: namespace.clone(),
        name: name.clone(),
        from: from.map(str::to_owned),
        has_namespace: found.is_some(),
        import,
        slices: slices.items,
        route_agents: agents.items,
        cluster_dns: dns.and_then(|dns| dns.spec?.cluster_ips).unwrap_or_default(),
    })
}

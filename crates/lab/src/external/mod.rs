//! API servers that were there before the lab and take the embedded ones' place: real ones, to see that nothing leans on the
//! habits of ours.
//!
//! A server without nodes is enough. The lab's kubelets and service proxies serve it, and its controllers do unless a
//! kube-controller-manager is at work there ([`crate::controllers`]). It is reached through a [`relay`] on the host where the
//! embedded one would be, so that cutting that host and killing that process mean what they always mean. Its certificate knows
//! nothing of the lab's addresses, so kubeconfigs name the host that it does know (`tls-server-name`).
//!
//! Such a server outlives the lab. What the lab and whatever ran in it have made there is removed with the lab ([`tidy`]).

pub mod relay;
pub(crate) mod tidy;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::mirror;
use crate::topology::{IpFamily, Server};

/// The servers of a folder: `cluster1.kubeconfig` is the first cluster's, and so on. The broker has the one after the last cluster's
/// if there is one, else it shares the first cluster's.
///
/// # Errors
/// When there are too few, one does not answer, or it has no Service addresses of a family that the lab needs.
pub(crate) async fn servers(folder: &Path, clusters: usize, family: IpFamily) -> anyhow::Result<Vec<Server>> {
    let file = |number: usize| folder.join(format!("cluster{number}.kubeconfig"));
    let mut files: Vec<PathBuf> = (1..=clusters + 1).map(file).take_while(|path| path.exists()).collect();
    ensure!(
        files.len() >= clusters,
        "{} has {} of the {clusters} kubeconfigs that this lab takes; there is no {}",
        folder.display(),
        files.len(),
        file(files.len() + 1).display()
    );
    if files.len() == clusters {
        files.push(file(1));
    }
    let mut servers = Vec::new();
    for kubeconfig in files {
        let path = kubeconfig.display().to_string();
        let service_prefixes = service_prefixes(&kubeconfig, family)
            .await
            .with_context(|| format!("the API server of {path} cannot be used"))?;
        let kubeconfig = std::path::absolute(&kubeconfig).with_context(|| format!("cannot find {path}"))?;
        servers.push(Server {
            kubeconfig,
            service_prefixes,
        });
    }
    Ok(servers)
}

async fn service_prefixes(kubeconfig: &Path, family: IpFamily) -> anyhow::Result<Vec<IpNet>> {
    let client = mirror::client(Some(kubeconfig)).await?;
    let mut prefixes = told(&client).await?;
    if prefixes.is_empty() {
        prefixes = refused(&client).await?;
    }
    let wanted: &[bool] = match family {
        IpFamily::V4 => &[true],
        IpFamily::V6 => &[false],
        IpFamily::Dual => &[true, false],
    };
    let of_family = |is_v4: &bool| {
        let found = prefixes.iter().find(|prefix| prefix.addr().is_ipv4() == *is_v4);
        let name = if *is_v4 { "IPv4" } else { "IPv6" };
        found.copied().with_context(|| {
            let all: Vec<String> = prefixes.iter().map(ToString::to_string).collect();
            format!(
                "it gives Services no {name} addresses, only from {}; choose another --ip-family",
                all.join(", ")
            )
        })
    };
    wanted.iter().map(of_family).collect()
}

/// What the server says in its `ServiceCIDR` objects; nothing before Kubernetes 1.33.
async fn told(client: &Client) -> anyhow::Result<Vec<IpNet>> {
    let objects: Api<ServiceCIDR> = Api::all(client.clone());
    match objects.list(&ListParams::default()).await {
        Ok(list) => {
            let specs = list.items.into_iter().filter_map(|object| object.spec);
            let all = specs.flat_map(|spec| spec.cidrs.unwrap_or_default());
            all.map(|text| text.parse().with_context(|| format!("'{text}' is no prefix")))
                .collect()
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Vec::new()),
        Err(error) => Err(error).context("it does not list its ServiceCIDRs"),
    }
}

/// What an older server says when it is asked, for a trial, for an address that nobody has.
async fn refused(client: &Client) -> anyhow::Result<Vec<IpNet>> {
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    let trial = json!({
        "metadata": {"name": "tombolo-lab-trial"},
        "spec": {"clusterIP": "0.0.0.1", "ports": [{"port": 1}]},
    });
    let trial: Service = serde_json::from_value(trial).context("a Service is a Service")?;
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match services.create(&dry, &trial).await {
        Err(kube::Error::Api(status)) => range_in(&status.message).map(|prefix| vec![prefix]).with_context(|| {
            format!(
                "it does not say from which prefix Services have their addresses: {}",
                status.message
            )
        }),
        Err(error) => Err(error).context("it does not answer"),
        Ok(_) => bail!("it would give a Service the address 0.0.0.1"),
    }
}

fn range_in(message: &str) -> Option<IpNet> {
    let (_, rest) = message.split_once("The range of valid IPs is ")?;
    rest.split_whitespace()
        .next()?
        .trim_end_matches(['.', ','])
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_servers_refusal_tells_the_prefix() {
        let message = "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"0.0.0.1\"]: failed to allocate IP 0.0.0.1: \
                       the provided IP (0.0.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/12";
        assert_eq!(range_in(message), Some("10.96.0.0/12".parse().unwrap()));
        assert_eq!(range_in("forbidden"), None);
    }

    #[tokio::test]
    async fn too_few_kubeconfigs_are_named() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cluster1.kubeconfig"), "{}").unwrap();
        let error = servers(folder.path(), 2, IpFamily::V4).await.unwrap_err().to_string();
        assert!(
            error.contains("1 of the 2") && error.contains("cluster2.kubeconfig"),
            "{error}"
        );
    }
}

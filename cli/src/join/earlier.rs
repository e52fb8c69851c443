//! What an earlier join, or an earlier membership, left here.

use anyhow::ensure;
use k8s_api::Cluster;
use k8s_openapi::api::core::v1::Namespace;
use k8s_runtime::Find;
use kube::{Api, ResourceExt};
use model::ClusterId;
use model::names::SYSTEM_NAMESPACE;
use tokio::time::Instant;

use super::settle::{self, POLL};
use super::{Join, prefixes};
use crate::connect::{self, Connection};
use crate::progress::Progress;

impl Join {
    /// After a leave, the namespace goes when its controller gets to it; nothing can be put there before.
    pub(super) async fn await_end_of_earlier(
        &self,
        cluster: &Connection,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
        let deadline = Instant::now() + self.timeout;
        loop {
            let namespace = namespaces.find(SYSTEM_NAMESPACE).await;
            let namespace = namespace.map_err(cluster.failed(format!("read namespace {SYSTEM_NAMESPACE}")))?;
            if namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "namespace {SYSTEM_NAMESPACE} of an earlier membership is still being deleted after {}. Nothing was changed. See what \
                 holds it: kubectl get namespace {SYSTEM_NAMESPACE} -o yaml",
                crate::duration::show(self.timeout)
            );
            progress.waiting(format!(
                "the end of namespace {SYSTEM_NAMESPACE} of an earlier membership"
            ));
            tokio::time::sleep(POLL).await;
        }
    }

    /// Flags of this run, else those of an earlier one: a join that is run again without them changes nothing. Returns those of
    /// clusterset IPs.
    pub(super) async fn remember_flags(
        &self,
        cluster: &Connection,
        id: &ClusterId,
        sources: &mut prefixes::Sources,
    ) -> anyhow::Result<Vec<String>> {
        sources.pod_flags.clone_from(&self.pod_prefix);
        sources.service_flags.clone_from(&self.service_prefix);
        let claims: Api<Cluster> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
        let earlier = match claims.get(id.as_str()).await {
            Ok(earlier) => earlier,
            Err(error) if connect::is_not_found(&error) => return Ok(self.clusterset_ip_range.clone()),
            Err(error) => return Err(cluster.failed(format!("read Cluster {SYSTEM_NAMESPACE}/{id}"))(error)),
        };
        let was_flag = |annotation| {
            earlier
                .annotations()
                .get(annotation)
                .is_some_and(|origin| origin.starts_with("--"))
        };
        if sources.pod_flags.is_empty() && was_flag(settle::POD_ORIGIN) {
            sources.pod_flags.clone_from(&earlier.spec.pod_prefixes);
        }
        if sources.service_flags.is_empty() && was_flag(settle::SERVICE_ORIGIN) {
            sources.service_flags.clone_from(&earlier.spec.service_prefixes);
        }
        Ok(if self.clusterset_ip_range.is_empty() {
            earlier.spec.clusterset_ip_ranges
        } else {
            self.clusterset_ip_range.clone()
        })
    }
}

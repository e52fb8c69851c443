//! The steps of a join that change the cluster, and the wait.

use std::time::Duration;

use anyhow::{bail, ensure};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, ResourceExt};
use model::ClusterId;
use model::names::{DNS_SERVICE, SYSTEM_NAMESPACE};
use tokio::time::Instant;

use super::claim::{Claim, Standing};
use super::wait::{self, Expected, Verdict};
use super::{Findings, Join, gateways, observe, redeem};
use crate::apply::{self, Tally};
use crate::connect::Connection;
use crate::dns::corefile::Upstream;
use crate::dns::{self, Outcome};
use crate::manifests;
use crate::progress::Progress;

/// On the own `Cluster`: where its pod prefixes are from.
pub(super) const POD_ORIGIN: &str = "tombolo.dev/pod-prefix-origin";
/// On the own `Cluster`: where its service prefixes are from.
pub(super) const SERVICE_ORIGIN: &str = "tombolo.dev/service-prefix-origin";

/// Applies everything; tells whether cluster DNS knows the clusterset zone.
pub(super) async fn apply(
    join: &Join,
    findings: &Findings,
    id: &ClusterId,
    cluster: &Connection,
    tally: &mut Tally,
    progress: &mut Progress,
) -> anyhow::Result<bool> {
    apply::apply_crds(cluster, &k8s_api::crds::member(), tally).await?;
    apply::apply_mcs_crds(cluster, tally).await?;
    let name_server = join.name_server.settle(cluster, id).await?;
    let prefixes = &findings.prefixes;
    let mut claim = redeem::claim(id, &prefixes.pods.prefixes, &prefixes.services.prefixes);
    claim["metadata"]["annotations"] = serde_json::json!({
        POD_ORIGIN: prefixes.pods.origin,
        SERVICE_ORIGIN: prefixes.services.origin,
    });
    name_server.now.remember(&mut claim["metadata"]["annotations"]);
    if !findings.clusterset_range.is_empty() {
        claim["spec"]["clustersetIpRanges"] = serde_json::json!(findings.clusterset_range);
    }
    let [namespace, accounts, workloads @ ..] = manifests::MEMBER;
    for manifest in [namespace, accounts] {
        apply::apply_all(cluster, &manifests::render(manifest, &[])?, tally).await?;
    }
    tally.count(apply::apply(cluster, &claim).await?);
    label_nodes(findings, cluster, tally).await?;
    for manifest in workloads {
        let mut objects = manifests::render(manifest, &[("IMAGE", &join.image)])?;
        name_server.now.shape(&mut objects);
        apply::apply_all(cluster, &objects, tally).await?;
    }
    progress.step("daemons", format!("{tally} ({})", join.image));
    name_server.close(cluster).await?;
    edit_dns(cluster, name_server.now.zones(), tally, progress).await
}

/// Labels the gateway nodes; a label of ours on another node is taken back.
async fn label_nodes(findings: &Findings, cluster: &Connection, tally: &mut Tally) -> anyhow::Result<()> {
    for node in &findings.nodes {
        let name = node.name_any();
        let is_chosen = findings.gateways.nodes.contains(&name);
        if is_chosen || gateways::is_labelled(node) {
            tally.count(apply::apply(cluster, &gateways::label(&name, is_chosen)).await?);
        }
    }
    Ok(())
}

async fn edit_dns(
    cluster: &Connection,
    zones: Vec<String>,
    tally: &mut Tally,
    progress: &mut Progress,
) -> anyhow::Result<bool> {
    let services: Api<Service> = Api::namespaced(cluster.client.clone(), SYSTEM_NAMESPACE);
    let service = services
        .get(DNS_SERVICE)
        .await
        .map_err(cluster.failed(format!("read Service {SYSTEM_NAMESPACE}/{DNS_SERVICE}")))?;
    let spec = service.spec.unwrap_or_default();
    let ips = spec
        .cluster_ips
        .or(spec.cluster_ip.map(|ip| vec![ip]))
        .unwrap_or_default();
    ensure!(
        !ips.is_empty(),
        "Service {SYSTEM_NAMESPACE}/{DNS_SERVICE} has no ClusterIP, so cluster DNS cannot ask it"
    );
    let upstream = Upstream { zones, ips };
    let edits = dns::put_in(cluster, &upstream).await?;
    if edits.is_empty() {
        progress.warn(format!(
            "no configuration of cluster DNS was found that is known. Names under clusterset.local resolve once it asks {} for \
             them; for CoreDNS that is:\n{}",
            upstream.ips.join(", "),
            dns::stanza_for_a_person(&upstream)
        ));
        return Ok(false);
    }
    let mut is_told = true;
    for edit in edits {
        let object = edit.object;
        match edit.outcome {
            Outcome::Done(change) => {
                tally.count(change);
                let asked = upstream.ips.join(", ");
                progress.step(
                    "dns",
                    format!("cluster DNS asks {asked} for clusterset.local ({object})"),
                );
            }
            Outcome::LeftAlone { why, text } => {
                is_told = false;
                progress.warn(format!(
                    "{object} was left alone: {why}. Names under clusterset.local resolve once you add this to it:\n{text}"
                ));
            }
        }
    }
    Ok(is_told)
}

/// Waits for the proof: the clusters that are connected, and those that are dead. A new claim has to stand, besides.
pub(super) async fn wait(
    cluster: &Connection,
    gateway_nodes: &[String],
    mut expected: Expected,
    mut claim: Option<Claim>,
    timeout: Duration,
    progress: &mut Progress,
) -> anyhow::Result<(Vec<ClusterId>, Vec<ClusterId>)> {
    let deadline = Instant::now() + timeout;
    let mut ready_since: Option<Instant> = None;
    loop {
        let observed = observe::read(cluster, gateway_nodes).await?;
        if wait::own_side(&observed, &expected).is_empty() {
            ready_since.get_or_insert_with(Instant::now);
        }
        let open = match look(&mut claim).await? {
            Standing::Open(what) => vec![what.to_owned()],
            Standing::Lost(why) => bail!(refusal(&expected.own, &why)),
            Standing::Stands(peers) => {
                claim = None;
                expected.peers.extend(peers);
                vec![]
            }
        };
        let missing = match wait::judge(&observed, &expected, ready_since.map(|since| since.elapsed())) {
            Verdict::Refused(why) => bail!(refusal(&expected.own, &why)),
            Verdict::Done { connected, dead } if open.is_empty() => {
                report(&connected, &dead, progress);
                return Ok((connected, dead.into_iter().map(|(id, _)| id).collect()));
            }
            Verdict::Done { .. } => open,
            Verdict::Waiting(missing) => missing,
        };
        let missing = missing.join(", ");
        ensure!(
            Instant::now() < deadline,
            "everything is applied, but after {} still waiting for: {missing}. See `tombolo show gateways` and \
             `kubectl -n {SYSTEM_NAMESPACE} get pods`; join again to go on waiting",
            crate::duration::show(timeout)
        );
        progress.waiting(&missing);
        tokio::time::sleep(POLL).await;
    }
}

async fn look(claim: &mut Option<Claim>) -> anyhow::Result<Standing> {
    match claim {
        Some(claim) => claim.look().await,
        None => Ok(Standing::Stands(vec![])),
    }
}

fn refusal(own: &ClusterId, why: &str) -> String {
    format!(
        "\"{own}\" was refused: {why}. What overlaps is routed by nobody. Run `tombolo leave`, give the cluster other prefixes, and \
         join again"
    )
}

fn report(connected: &[ClusterId], dead: &[(ClusterId, String)], progress: &mut Progress) {
    if connected.is_empty() && dead.is_empty() {
        progress.step("ready", "no peers yet: this is the only member");
    }
    for id in connected {
        progress.step("connected", id.as_str());
    }
    for (id, why) in dead {
        progress.warn(format!("\"{id}\" does not answer and is not waited for: {why}"));
    }
}

/// How often is looked again.
pub(super) const POLL: Duration = Duration::from_millis(100);

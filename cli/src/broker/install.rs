use clap::Args;
use k8s_runtime::Find;
use kube::Api;
use serde_json::json;

use crate::apply::{self, Change, Tally};
use crate::connect::{Connection, KubeTarget, ca_fingerprint};
use crate::manifests;

/// Makes a broker of any Kubernetes cluster: our kinds, what members may read, and the Broker object. Run again, it changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo broker install --kubeconfig broker.kubeconfig
  tombolo broker install --context management")]
pub struct Install {}

impl Install {
    pub(super) async fn run(&self, target: &KubeTarget) -> anyhow::Result<()> {
        let broker = target.connect("broker").await?;
        let tally = install(&broker).await?;
        if tally.is_unchanged() {
            println!("The broker at {} is installed already: unchanged.", broker.url);
        } else {
            println!("The broker at {} is ready ({tally}).", broker.url);
        }
        println!("Let a cluster in with: tombolo broker invite <cluster-id>");
        Ok(())
    }
}

/// Installs what a broker needs.
///
/// # Errors
/// When the server refuses, or already is the broker of a newer Tombolo.
pub async fn install(broker: &Connection) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let level = level(broker).await?;
    anyhow::ensure!(
        level.is_none_or(|level| level <= model::names::API_LEVEL),
        "the broker at {} is at API level {}, and this tombolo knows level {}: use the `tombolo` that installed it, or a newer one",
        broker.url,
        level.unwrap_or_default(),
        model::names::API_LEVEL
    );
    apply::apply_crds(broker, &k8s_api::crds::broker(), &mut tally).await?;
    apply::apply_all(broker, &manifests::render(manifests::BROKER, &[])?, &mut tally).await?;
    if level.is_none() {
        // The incarnation is drawn once: a new one tells members that the broker was restored.
        let object = json!({
            "apiVersion": "tombolo.dev/v1alpha1",
            "kind": "Broker",
            "metadata": { "name": model::names::BROKER_NAME },
            "spec": {
                "apiLevel": model::names::API_LEVEL,
                "incarnation": uuid::Uuid::new_v4().to_string(),
                "caFingerprint": ca_fingerprint(&broker.ca),
            },
        });
        tally.count(apply::apply(broker, &object).await?);
    } else {
        tally.count(Change::Unchanged);
    }
    Ok(tally)
}

/// The API level of the broker, or none where there is no broker yet.
async fn level(broker: &Connection) -> anyhow::Result<Option<u32>> {
    let api: Api<k8s_api::Broker> = Api::all(broker.client.clone());
    let object = api
        .find(model::names::BROKER_NAME)
        .await
        .map_err(broker.failed("read the Broker object"))?;
    Ok(object.map(|object| object.spec.api_level))
}

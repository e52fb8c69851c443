use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use futures::AsyncReadExt;

use super::serve::write_private;
use crate::connect::{Connection, KubeTarget, is_not_found};

/// Copies everything that an embedded broker holds into one file, while it serves.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo broker backup --to broker.backup --kubeconfig /var/lib/tombolo-broker/admin.kubeconfig

The file holds credentials; only its owner may read it. The broker's certificates and the administrator's token are not
in it: keep ca.crt, ca.key and admin.token of the data folder too, they never change.")]
pub struct Backup {
    /// File to write; one that is there is replaced when the backup is whole
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl Backup {
    pub(super) async fn run(&self, target: &KubeTarget) -> anyhow::Result<()> {
        let broker = target.connect("broker").await?;
        let text = download(&broker).await?;
        let backup = apiserver::Backup::read(&*text)
            .with_context(|| format!("what the broker at {} sent is no whole backup; try again", broker.url))?;
        write_private(&self.to, &text)?;
        println!(
            "The broker at {} is saved in {}: {} objects.",
            broker.url,
            self.to.display(),
            backup.len()
        );
        Ok(())
    }
}

async fn download(broker: &Connection) -> anyhow::Result<Vec<u8>> {
    let request = http::Request::get("/backup").body(Vec::new())?;
    let stream = broker.client.request_stream(request).await.map_err(|error| {
        if is_not_found(&error) {
            anyhow::anyhow!(
                "the broker at {} is not one of `tombolo broker serve`; save it as every Kubernetes is saved, by a snapshot of etcd",
                broker.url
            )
        } else {
            broker.failed("read the backup")(error)
        }
    })?;
    let mut text = Vec::new();
    std::pin::pin!(stream)
        .read_to_end(&mut text)
        .await
        .with_context(|| format!("the broker at {} broke the backup off", broker.url))?;
    Ok(text)
}

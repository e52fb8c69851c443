//! Writes objects to a cluster as they come, and says when it sent each: how benches know the beginning of what they measure.
//!
//! Objects come on standard input as JSON, one a line, and are applied as they come, several at a time. For each a line says
//! `namespace/name` and the moment before it was sent, in microseconds since 1970; the line comes when the server has taken the
//! object.

use std::path::PathBuf;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt, stream};
use kube::Discovery;
use serde_json::Value;

use crate::apply::apply;
use crate::mirror;
use crate::workload::{input, micros};

/// How to reach the cluster.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Kubeconfig of an administrator of the cluster.
    #[arg(long, env = "KUBECONFIG")]
    pub kubeconfig: PathBuf,
    /// How many objects may be under way at once.
    #[arg(long, default_value_t = 32)]
    pub parallel: usize,
}

/// Writes until standard input ends.
///
/// # Errors
/// When an object is malformed or refused.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = mirror::client(Some(&args.kubeconfig)).await?;
    let discovery = Discovery::new(client.clone())
        .run()
        .await
        .context("cannot ask the API server for its kinds")?;
    let lines = stream::unfold(input::lines(), async |mut lines| Some((lines.recv().await?, lines)));
    let (client, discovery) = (&client, &discovery);
    let writes = lines.map(|line| async move {
        let line = line.context("cannot read standard input")?;
        let object: Value = serde_json::from_str(&line).context("a line that is no JSON")?;
        let sent = micros();
        let namespace = apply(client, discovery, &object).await?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        println!("{namespace}/{name} {sent}");
        anyhow::Ok(())
    });
    writes.buffer_unordered(args.parallel.max(1)).try_collect().await
}

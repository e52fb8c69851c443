//! The role that stands where an embedded API server would and passes bytes to the external one.
//!
//! It lives in the machine's own network, from where that server is reached, and listens within the lab.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::process::replace_file;
use crate::state::Lab;
use crate::topology::{Host, LabName, Server};

/// For whom to stand.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The lab.
    #[arg(long)]
    pub name: LabName,
    /// The cluster; without one, the broker.
    #[arg(long)]
    pub cluster: Option<String>,
}

/// Relays until the process is asked to end, or its lab is gone.
///
/// # Errors
/// When the lab has no such cluster, the kubeconfig cannot be used, or the port is taken.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let lab = Lab::open(&args.name)?;
    let (name, host, server) = place(&lab, args.cluster.as_deref())?;
    let kubeconfig = Kubeconfig::read_from(&server.kubeconfig)
        .with_context(|| format!("cannot read the kubeconfig {}", server.kubeconfig.display()))?;
    let target = target(&kubeconfig).await?;

    let listener = lab.namespace(&host.name).inside(listen)??;
    listener.set_nonblocking(true).context("cannot wait for connections")?;
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot wait for connections")?;
    // Last, because whoever waits for it takes it for a sign that there is a server.
    let inside = within_the_lab(&kubeconfig, SocketAddr::new(host.address(), PORT), &target.0)?;
    write(&lab.directory().kubeconfig(name), &inside)?;
    tracing::info!(name, server = target.0, "API server is relayed");
    tokio::select! {
        result = relay(&listener, &target) => result,
        () = daemon::shutdown() => Ok(()),
        () = lab_ends(&args.name) => Ok(()),
    }
}

fn place<'a>(lab: &'a Lab, cluster: Option<&'a str>) -> anyhow::Result<(&'a str, &'a Host, &'a Server)> {
    let topology = lab.topology();
    let (name, host, server) = match cluster {
        Some(name) => {
            let cluster = lab.cluster(name)?;
            (cluster.name.as_str(), &cluster.api, &cluster.server)
        }
        None => ("broker", &topology.broker, &topology.broker_server),
    };
    let server = server
        .as_ref()
        .with_context(|| format!("the API server of '{name}' is the lab's own"))?;
    Ok((name, host, server))
}

/// Host and port of the server.
async fn target(kubeconfig: &Kubeconfig) -> anyhow::Result<(String, u16)> {
    let config = kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default())
        .await
        .context("the kubeconfig names no usable cluster")?;
    let url = config.cluster_url;
    let host = url.host().context("the server's URL has no host")?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, url.port_u16().unwrap_or(443)))
}

fn listen() -> anyhow::Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
        .with_context(|| {
            format!("cannot listen on TCP port {PORT} within the lab; does another relay of this host run?")
        })
}

/// The same credentials for the same server, by its address within the lab.
fn within_the_lab(kubeconfig: &Kubeconfig, address: SocketAddr, known_as: &str) -> anyhow::Result<Value> {
    let context = match &kubeconfig.current_context {
        Some(name) => kubeconfig.contexts.iter().find(|context| context.name == *name),
        None => kubeconfig.contexts.first(),
    };
    let context = context.and_then(|context| context.context.as_ref());
    let context = context.context("the kubeconfig has no current context")?;
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.clone());
    let mut cluster = cluster.with_context(|| format!("the kubeconfig has no cluster '{}'", context.cluster))?;
    cluster.server = Some(format!("https://{address}"));
    cluster.tls_server_name.get_or_insert_with(|| known_as.to_owned());
    cluster.proxy_url = None;
    let user = context.user.as_deref().unwrap_or_default();
    let Some(user) = kubeconfig.auth_infos.iter().find(|info| info.name == user) else {
        bail!("the kubeconfig has no user '{user}'");
    };
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "lab", "user": user.auth_info}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    }))
}

fn write(path: &Path, kubeconfig: &Value) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(kubeconfig).context("cannot write the kubeconfig")?;
    replace_file(path, &text).with_context(|| format!("cannot write {}", path.display()))
}

async fn relay(listener: &tokio::net::TcpListener, target: &(String, u16)) -> anyhow::Result<()> {
    loop {
        let (mut inside, _) = listener.accept().await.context("cannot accept connections")?;
        let target = target.clone();
        tokio::spawn(async move {
            // Whatever goes wrong, both ends see their connection closed, and both try again.
            if let Ok(mut outside) = TcpStream::connect(target).await {
                let _ = outside.set_nodelay(true);
                let _ = inside.set_nodelay(true);
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            }
        });
    }
}

/// No name of a namespace leads `down` to this process, should the record of it be lost.
async fn lab_ends(name: &LabName) {
    while Lab::open(name).is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

pub(crate) const PORT: u16 = 6443;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_uses_the_same_credentials_at_another_address() {
        let outside: Kubeconfig = serde_json::from_value(json!({
            "clusters": [
                {"name": "other", "cluster": {"server": "https://198.51.100.1"}},
                {"name": "real", "cluster": {"server": "https://real.example:7443", "certificate-authority-data": "Q0E="}},
            ],
            "users": [{"name": "admin", "user": {"token": "secret", "client-key-data": "S0VZ"}}],
            "contexts": [{"name": "here", "context": {"cluster": "real", "user": "admin"}}],
            "current-context": "here",
        }))
        .unwrap();
        let inside = within_the_lab(&outside, "192.0.2.18:6443".parse().unwrap(), "real.example").unwrap();
        let inside: Kubeconfig = serde_json::from_value(inside).unwrap();
        let cluster = inside.clusters[0].cluster.clone().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://192.0.2.18:6443"));
        assert_eq!(cluster.tls_server_name.as_deref(), Some("real.example"));
        assert_eq!(cluster.certificate_authority_data.as_deref(), Some("Q0E="));
        let user = serde_json::to_value(&inside.auth_infos[0].auth_info).unwrap();
        assert_eq!(user, json!({"token": "secret", "client-key-data": "S0VZ"}));
    }
}

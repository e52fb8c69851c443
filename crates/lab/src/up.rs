//! Brings a lab up: first what it is on disk, then its network, then its processes.
//!
//! The state file comes before everything else, and every namespace carries the lab's name, so that `down` can undo a lab that
//! was killed at any point of this.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use futures::future::{try_join, try_join_all};
use kube::Client;

use crate::addons;
use crate::down;
use crate::external::{self, relay::PORT};
use crate::mirror;
use crate::namespace::{self, Namespace};
use crate::process::{Launch, program};
use crate::state::{Lab, Lock};
use crate::topology::{Cluster, Host, Topology};
use crate::wiring::wiring;

/// Makes the lab. `tell` is told of every step; `with_kubernetes` says whether more than the network is wanted.
///
/// # Errors
/// When the machine lacks something, or a step fails. What was made by then stays, to be looked at; `down` removes it.
pub async fn up(topology: Topology, with_kubernetes: bool, tell: impl Fn(&str)) -> anyhow::Result<Lab> {
    check_machine()?;
    let lock = Lock::take(&topology.lab).await?;
    if down::is_left(&topology.lab)? {
        tell(&format!("removing what is left of an earlier lab '{}'", topology.lab));
        down::demolish(&topology.lab).await?;
    }
    let lab = Lab::begin(topology)?;
    connect(&lab, &lock).await?;
    let count = lab.topology().host_names().len();
    tell(&format!(
        "{count} network namespaces are connected (seed {})",
        lab.topology().seed
    ));
    if with_kubernetes {
        external::tidy::begin(lab.topology()).await?;
        try_join_all(
            lab.topology()
                .clusters
                .iter()
                .map(|cluster| start_cluster(&lab, cluster, &lock)),
        )
        .await?;
        if lab.topology().broker_server.is_some() {
            let relay = role_argv("relay", &["--name", lab.name().as_str()])?;
            start_outside(&lab, &lock, "broker", &lab.topology().broker, relay).await?;
            await_file(&lab.directory().kubeconfig("broker"), "the broker's API server").await?;
        }
        tell(&format!("{} clusters are ready", lab.topology().clusters.len()));
    }
    Ok(lab)
}

impl Lab {
    /// Runs `work` with an administrator's client, within the network of a cluster's API server.
    ///
    /// The work has a thread and a runtime of its own; this waits for it without holding up the caller's.
    ///
    /// # Errors
    /// When there is no such cluster, its kubeconfig is not there, or the work fails.
    pub async fn with_client<T, F>(
        &self,
        cluster: &str,
        work: impl FnOnce(Client) -> F + Send + 'static,
    ) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = anyhow::Result<T>>,
    {
        let cluster = self.cluster(cluster)?;
        let namespace = self.namespace(&cluster.api.name);
        let kubeconfig = self.directory().kubeconfig(&cluster.name);
        let inside = move || {
            namespace.inside(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.context("cannot start a runtime")?;
                runtime.block_on(async { work(mirror::client(Some(&kubeconfig)).await?).await })
            })?
        };
        tokio::task::spawn_blocking(inside)
            .await
            .context("the work within the lab panicked")?
    }
}

/// Makes the namespaces and the links.
async fn connect(lab: &Lab, lock: &Lock) -> anyhow::Result<()> {
    let wiring = wiring(lab.topology(), |host| lab.namespace(host).name().to_owned());
    let namespaces: Vec<Namespace> = wiring.hosts.iter().map(|setup| lab.namespace(&setup.host)).collect();
    namespace::create(&namespaces, lock)
        .await
        .context("cannot make the network namespaces")?;
    for (setup, namespace) in wiring.hosts.iter().zip(&namespaces) {
        namespace.sysctls(setup.sysctls.iter().copied())?;
    }
    namespace::connect(&wiring.links, lock)
        .await
        .context("cannot make the links")?;
    let batches = wiring.hosts.iter().zip(&namespaces);
    try_join_all(batches.map(|(setup, namespace)| namespace.connect(&setup.batch, lock))).await?;
    Ok(())
}

async fn start_cluster(lab: &Lab, cluster: &Cluster, lock: &Lock) -> anyhow::Result<()> {
    let name = &cluster.name;
    let kubeconfig = lab.directory().kubeconfig(name);
    let role = |role: &str, arguments: &[&str]| role_argv(role, arguments);
    let lab_arguments = ["--name", lab.name().as_str(), "--cluster", name];
    let api = format!("{name}/api");
    let is_external = cluster.server.is_some();
    if is_external {
        start_outside(lab, lock, &api, &cluster.api, role("relay", &lab_arguments)?).await?;
    } else {
        start(lab, lock, &api, &cluster.api, role("apiserver", &lab_arguments)?).await?;
    }
    await_file(&kubeconfig, &format!("the API server of '{name}'")).await?;

    let kubeconfig = kubeconfig
        .to_str()
        .context("the lab's directory has a name that is no text")?;
    start(
        lab,
        lock,
        &format!("{name}/controllers"),
        &cluster.api,
        role(
            "controllers",
            &[
                &["--kubeconfig", kubeconfig][..],
                is_external.then_some("--external").as_slice(),
            ]
            .concat(),
        )?,
    )
    .await?;
    let prefixes: Vec<String> = cluster.pod_prefixes.iter().map(ToString::to_string).collect();
    let mut proxy = role(
        "proxy",
        &["--kubeconfig", kubeconfig, "--pod-prefix", &prefixes.join(",")],
    )?;
    if is_external {
        let addresses = cluster
            .api
            .addresses
            .iter()
            .map(|address| SocketAddr::new(address.addr(), PORT));
        proxy.extend(addresses.map(|address| format!("--api-endpoint={address}")));
    }
    for node in &cluster.nodes {
        let host = &node.host;
        let node_arguments = [&lab_arguments[..], &["--node", &host.name, "--kubeconfig", kubeconfig]].concat();
        let kubelet = role("kubelet", &node_arguments)?;
        try_join(
            start(lab, lock, &format!("{name}/{}/kubelet", host.name), host, kubelet),
            start(lab, lock, &format!("{name}/{}/proxy", host.name), host, proxy.clone()),
        )
        .await?;
    }
    let (topology, cluster) = (lab.topology().clone(), cluster.clone());
    lab.with_client(name, move |client| async move {
        addons::install(client, &topology, &cluster).await
    })
    .await
}

fn role_argv(role: &str, arguments: &[&str]) -> anyhow::Result<Vec<String>> {
    let program = program()?;
    let program = program
        .to_str()
        .context("the lab's program has a name that is no text")?;
    Ok([program, "lab", role]
        .into_iter()
        .chain(arguments.iter().copied())
        .map(str::to_owned)
        .collect())
}

async fn start(lab: &Lab, lock: &Lock, name: &str, host: &Host, argv: Vec<String>) -> anyhow::Result<()> {
    lab.start(name, launch(lab, name, host, argv, false), Some(lock)).await
}

async fn start_outside(lab: &Lab, lock: &Lock, name: &str, host: &Host, argv: Vec<String>) -> anyhow::Result<()> {
    lab.start(name, launch(lab, name, host, argv, true), Some(lock)).await
}

fn launch(lab: &Lab, name: &str, host: &Host, argv: Vec<String>, is_outside: bool) -> Launch {
    Launch {
        namespace: lab.namespace(&host.name).name().to_owned(),
        is_outside,
        argv,
        environment: BTreeMap::new(),
        log: lab.directory().log(name),
    }
}

async fn await_file(path: &Path, whose: &str) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !path.exists() {
        if tokio::time::Instant::now() > deadline {
            bail!("{whose} has not started after {PATIENCE:?}; see `tombolo lab logs`");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Everything that would fail later, and worse.
fn check_machine() -> anyhow::Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "a lab is made of network namespaces, which takes root; run it with sudo"
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (tool, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        let is_there = std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
        ensure!(
            is_there,
            "the lab needs the program '{tool}', which is not in PATH; install the package {package}"
        );
    }
    Ok(())
}

const PATIENCE: Duration = Duration::from_secs(30);

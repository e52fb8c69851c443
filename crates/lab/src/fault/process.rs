//! Cut links and killed, stopped or started processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;

use crate::kubelet;
use crate::process::{self, Launch, ProcessId};
use crate::state::Lab;
use crate::target::Target;
use crate::wiring::{Port, port_to};

impl Lab {
    /// Takes a host off its network, or, given a cluster, the cluster off the internet.
    ///
    /// # Errors
    /// When there is no such host, or its link cannot be changed.
    pub async fn cut(&self, host: &str) -> anyhow::Result<()> {
        let port = self.port(host)?;
        self.namespace(&port.switch).ip(&port.cut).await
    }

    /// Undoes a cut.
    ///
    /// # Errors
    /// As for the cut.
    pub async fn heal(&self, host: &str) -> anyhow::Result<()> {
        let port = self.port(host)?;
        self.namespace(&port.switch).ip(&port.heal).await
    }

    /// Kills, without warning, what a name means: a process of the lab (`east/api`, `east/gw1/kubelet`), a container on a node
    /// (`east/gw1/gateway-agent`), or everything on a host that is no node (`broker`). Returns how many processes that were.
    ///
    /// # Errors
    /// When nothing of the name runs.
    pub async fn kill(&self, name: &str) -> anyhow::Result<usize> {
        let processes = self.running(name)?;
        processes.iter().for_each(|process| process.signal(Signal::SIGKILL));
        if !process::ended(&processes, PATIENCE).await {
            bail!("'{name}' does not end within {PATIENCE:?}");
        }
        Ok(processes.len())
    }

    /// Stops what a name means, as for [`kill`](Self::kill), or lets it go on. It keeps its sockets, and answers nothing.
    ///
    /// # Errors
    /// When nothing of the name runs.
    pub(crate) fn freeze(&self, name: &str, is_frozen: bool) -> anyhow::Result<usize> {
        let signal = if is_frozen { Signal::SIGSTOP } else { Signal::SIGCONT };
        let processes = self.running(name)?;
        processes.iter().for_each(|process| process.signal(signal));
        Ok(processes.len())
    }

    /// Starts what was killed again, as it was started before; or, given a command, something new on a host. False when it
    /// runs already.
    ///
    /// # Errors
    /// When nothing of the name was ever started, or it cannot be started now.
    pub async fn restart(&self, name: &str, argv: Vec<String>) -> anyhow::Result<bool> {
        let name = self.process_name(name);
        let known = self
            .processes()?
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, record)| record);
        if known.as_ref().is_some_and(|record| record.id.is_alive()) {
            return Ok(false);
        }
        let launch = match known {
            Some(record) if argv.is_empty() => record.launch,
            _ if !argv.is_empty() => self.new_launch(&name, argv)?,
            _ => {
                let names: Vec<String> = self.processes()?.into_iter().map(|(name, _)| name).collect();
                bail!(
                    "nothing called '{name}' was ever started; there are {}",
                    names.join(", ")
                );
            }
        };
        self.start(&name, launch, None).await?;
        Ok(true)
    }

    /// The whole name of a process: a node may be meant by the part behind the cluster's name.
    pub(crate) fn process_name(&self, name: &str) -> String {
        let [cluster, node, process] = name.split('/').collect::<Vec<_>>()[..] else {
            return name.to_owned();
        };
        let host = self
            .topology()
            .cluster(cluster)
            .and_then(|cluster| self.node(cluster, node));
        host.map_or_else(|| name.to_owned(), |host| format!("{cluster}/{}/{process}", host.name))
    }

    fn new_launch(&self, name: &str, argv: Vec<String>) -> anyhow::Result<Launch> {
        let target = Target::find(self, name, None)?;
        let (host, environment) = match &target {
            Target::Host(host) | Target::Node { host, .. } => (host.clone(), BTreeMap::new()),
            Target::Api(cluster) => {
                let kubeconfig = self.directory().kubeconfig(cluster).display().to_string();
                (
                    format!("{cluster}-api"),
                    BTreeMap::from([("KUBECONFIG".to_owned(), kubeconfig)]),
                )
            }
            Target::Container { .. } => bail!("'{name}' is a pod; what runs in pods is up to Kubernetes"),
        };
        Ok(Launch {
            namespace: self.namespace(&host).name().to_owned(),
            is_outside: false,
            argv,
            environment,
            log: self.directory().log(name),
        })
    }

    pub(super) fn port(&self, host: &str) -> anyhow::Result<Port> {
        let name = match self.topology().cluster(host) {
            Some(cluster) => cluster.network.switch.clone(),
            None => match Target::find(self, host, None)? {
                Target::Host(host) | Target::Node { host, .. } => host,
                Target::Api(cluster) => format!("{cluster}-api"),
                Target::Container { .. } => bail!("'{host}' is a pod; links are cut between a host and its switch"),
            },
        };
        port_to(self.topology(), &name).with_context(|| format!("'{name}' has no link to a switch"))
    }

    fn running(&self, name: &str) -> anyhow::Result<Vec<ProcessId>> {
        let whole = self.process_name(name);
        let known = self.processes()?;
        let mut found: Vec<ProcessId> = known
            .iter()
            .filter(|(known, _)| *known == whole)
            .map(|(_, record)| record.id)
            .collect();
        if let [cluster, node, container] = name.split('/').collect::<Vec<_>>()[..] {
            found.extend(self.containers(cluster, node, container)?);
        } else if let Ok(Target::Host(host)) = Target::find(self, name, None) {
            let namespace = self
                .namespace(&host)
                .identity()
                .with_context(|| format!("there is no host '{host}'"))?;
            found.extend(process::living_in(&BTreeSet::from([namespace])).context("cannot look for processes")?);
        }
        found.retain(|process| process.is_alive());
        if found.is_empty() {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            bail!(
                "nothing called '{name}' runs; there are {}, and containers on nodes",
                names.join(", ")
            );
        }
        Ok(found)
    }

    /// A container may be meant without the product's name in front: `gateway-agent` for `tombolo-gateway-agent`.
    fn containers(&self, cluster: &str, node: &str, name: &str) -> anyhow::Result<Vec<ProcessId>> {
        let cluster = self.cluster(cluster)?;
        let Some(host) = self.node(cluster, node) else {
            return Ok(Vec::new());
        };
        let pods = kubelet::record::all(&self.directory().node(&host.name))?;
        let containers = pods.into_iter().flat_map(|pod| pod.containers);
        let is_meant = |container: &str| container == name || container.strip_prefix("tombolo-") == Some(name);
        Ok(containers
            .filter(|(container, _)| is_meant(container))
            .filter_map(|(_, state)| state.process)
            .collect())
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

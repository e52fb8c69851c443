//! The names by which a person means a place in a lab.

use std::fmt;
use std::process::Command;

use anyhow::{Context, bail};

use crate::kubelet;
use crate::process::{self, ProcessId};
use crate::state::Lab;

/// A place where a program can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A host that is no node: the broker's, a switch, the internet.
    Host(String),
    /// The host of a cluster's API server, with an administrator's kubeconfig.
    Api(String),
    /// A node.
    Node {
        /// The cluster.
        cluster: String,
        /// The host.
        host: String,
    },
    /// A running container of a pod.
    Container {
        /// Its cluster.
        cluster: String,
        /// `namespace/pod`.
        pod: String,
        /// Its process.
        process: ProcessId,
    },
}

impl Target {
    /// Finds a place: `broker`, `east`, `east/gw1`, `east/shop/cart-6f…` (a pod by name or by the beginning of it).
    ///
    /// # Errors
    /// When there is no such place, or several; the text names what there is.
    pub fn find(lab: &Lab, text: &str, container: Option<&str>) -> anyhow::Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [name] if lab.topology().cluster(name).is_some() => Ok(Self::Api(name.to_owned())),
            [name] => match lab.topology().host_names().into_iter().find(|host| host == name) {
                Some(host) => Ok(Self::of_host(lab, host)),
                None => bail!(
                    "the lab '{}' has no '{name}'; it has {}",
                    lab.name(),
                    lab.topology().host_names().join(", ")
                ),
            },
            [cluster, "api"] => Ok(Self::Api(lab.cluster(cluster)?.name.clone())),
            [cluster, node] => {
                let cluster = lab.cluster(cluster)?;
                let host = lab.node(cluster, node).with_context(|| {
                    let names: Vec<&str> = cluster.nodes.iter().map(|node| node.host.name.as_str()).collect();
                    format!(
                        "the cluster '{}' has no node '{node}', only {}",
                        cluster.name,
                        names.join(", ")
                    )
                })?;
                Ok(Self::Node {
                    cluster: cluster.name.clone(),
                    host: host.name.clone(),
                })
            }
            [cluster, namespace, pod] => Self::find_pod(lab, cluster, namespace, pod, container),
            _ => bail!("'{text}' is no place in a lab; use broker, CLUSTER, CLUSTER/NODE or CLUSTER/NAMESPACE/POD"),
        }
    }

    /// The arguments that bring the lab's own program there.
    pub fn entrance(&self, lab: &Lab) -> Vec<String> {
        let host = match self {
            Self::Container { process, .. } => return vec!["--process".to_owned(), process.pid.to_string()],
            Self::Host(host) | Self::Node { host, .. } => host.clone(),
            Self::Api(cluster) => format!("{cluster}-api"),
        };
        vec!["--namespace".to_owned(), lab.namespace(&host).name().to_owned()]
    }

    fn of_host(lab: &Lab, host: String) -> Self {
        for cluster in &lab.topology().clusters {
            if cluster.api.name == host {
                return Self::Api(cluster.name.clone());
            }
            if cluster.nodes.iter().any(|node| node.host.name == host) {
                return Self::Node {
                    cluster: cluster.name.clone(),
                    host,
                };
            }
        }
        Self::Host(host)
    }

    fn find_pod(
        lab: &Lab,
        cluster: &str,
        namespace: &str,
        name: &str,
        container: Option<&str>,
    ) -> anyhow::Result<Self> {
        let cluster = lab.cluster(cluster)?;
        let mut pods = Vec::new();
        for node in &cluster.nodes {
            pods.extend(kubelet::record::all(&lab.directory().node(&node.host.name))?);
        }
        pods.retain(|pod| pod.namespace == namespace);
        let exact: Vec<_> = pods.iter().filter(|pod| pod.name == name).collect();
        let matching = if exact.is_empty() {
            pods.iter().filter(|pod| pod.name.starts_with(name)).collect()
        } else {
            exact
        };
        let names = |pods: &[&kubelet::record::Pod]| {
            let names: Vec<&str> = pods.iter().map(|pod| pod.name.as_str()).collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        let pod = match matching[..] {
            [pod] => pod,
            [] => bail!(
                "no pod '{name}' runs in namespace '{namespace}' of '{}'; there: {}",
                cluster.name,
                names(&pods.iter().collect::<Vec<_>>())
            ),
            _ => bail!(
                "'{name}' is the beginning of several pods: {}; give more of the name",
                names(&matching)
            ),
        };
        let running = pod
            .containers
            .iter()
            .filter(|(_, state)| state.process.is_some_and(ProcessId::is_alive));
        let mut running = running.filter(|(name, _)| container.is_none_or(|wanted| wanted == name.as_str()));
        let process = running.next().and_then(|(_, state)| state.process);
        let process = process.with_context(|| {
            let known: Vec<&str> = pod.containers.keys().map(String::as_str).collect();
            format!(
                "no such container of the pod '{}' runs now; it has {}",
                pod.name,
                known.join(", ")
            )
        })?;
        Ok(Self::Container {
            cluster: cluster.name.clone(),
            pod: format!("{namespace}/{}", pod.name),
            process,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => f.write_str(host),
            Self::Api(cluster) => f.write_str(cluster),
            Self::Node { cluster, host } => write!(f, "{cluster}/{host}"),
            Self::Container { cluster, pod, .. } => write!(f, "{cluster}/{pod}"),
        }
    }
}

impl Lab {
    /// A command that runs `argv` at a place of the lab. At an API server's host, `KUBECONFIG` is set.
    ///
    /// # Errors
    /// When the lab's own program cannot be found.
    pub fn command(&self, target: &Target, argv: &[String]) -> anyhow::Result<Command> {
        let mut command = Command::new(process::program()?);
        command
            .args(["lab", "enter"])
            .args(target.entrance(self))
            .arg("--")
            .args(argv);
        match target {
            Target::Api(cluster) => {
                command.env("KUBECONFIG", self.directory().kubeconfig(cluster));
            }
            // The machine's own would lead to some other cluster.
            _ => {
                command.env_remove("KUBECONFIG");
            }
        }
        Ok(command)
    }
}

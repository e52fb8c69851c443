//! What there is of a lab, read from its own records: it answers also when no API server does.

use std::fmt::{self, Write};

use ipnet::IpNet;
use serde::Serialize;

use crate::kubelet;
use crate::process::ProcessId;
use crate::state::Lab;
use crate::topology::{IpFamily, LabName};

/// A lab at a glance.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The lab.
    pub name: LabName,
    /// What repeats it.
    pub seed: u64,
    /// Its families.
    pub ip_family: IpFamily,
    /// The MTU of its links.
    pub underlay_mtu: u16,
    /// Its clusters.
    pub clusters: Vec<ClusterStatus>,
    /// The broker's host.
    pub broker: HostStatus,
}

/// A cluster.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its name.
    pub name: String,
    /// An administrator's kubeconfig, for use within the lab.
    pub kubeconfig: String,
    /// Its pod prefixes.
    pub pod_prefixes: Vec<IpNet>,
    /// Its service prefixes.
    pub service_prefixes: Vec<IpNet>,
    /// The API server's host, then the nodes.
    pub hosts: Vec<HostStatus>,
}

/// A host.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStatus {
    /// Its name.
    pub name: String,
    /// Its network namespace.
    pub namespace: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The lab's processes on it.
    pub processes: Vec<ProcessStatus>,
    /// The pods on it.
    pub pods: Vec<PodStatus>,
}

/// A process or a container.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// Its name.
    pub name: String,
    /// It runs as this; none when it does not run.
    pub pid: Option<i32>,
}

/// A pod.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// `namespace/name`.
    pub name: String,
    /// Its network namespace.
    pub namespace: String,
    /// Its containers.
    pub containers: Vec<ProcessStatus>,
}

impl Lab {
    /// Looks at everything.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub fn status(&self) -> anyhow::Result<Status> {
        let topology = self.topology();
        let mut clusters = Vec::new();
        for cluster in &topology.clusters {
            let hosts: anyhow::Result<Vec<HostStatus>> = cluster
                .hosts()
                .map(|host| self.host_status(&host.name, &host.addresses))
                .collect();
            clusters.push(ClusterStatus {
                name: cluster.name.clone(),
                kubeconfig: self.directory().kubeconfig(&cluster.name).display().to_string(),
                pod_prefixes: cluster.pod_prefixes.clone(),
                service_prefixes: cluster.service_prefixes.clone(),
                hosts: hosts?,
            });
        }
        Ok(Status {
            name: topology.lab.clone(),
            seed: topology.seed,
            ip_family: topology.ip_family,
            underlay_mtu: topology.underlay_mtu,
            clusters,
            broker: self.host_status(&topology.broker.name, &topology.broker.addresses)?,
        })
    }

    fn host_status(&self, name: &str, addresses: &[IpNet]) -> anyhow::Result<HostStatus> {
        let namespace = self.namespace(name);
        let processes = self
            .processes()?
            .into_iter()
            .filter(|(_, record)| record.launch.namespace == namespace.name());
        let mut pods = Vec::new();
        for pod in kubelet::record::all(&self.directory().node(name))? {
            let of_pod = pod.number.map(|number| format!("{}-p{number}", namespace.name()));
            let containers = pod
                .containers
                .into_iter()
                .map(|(name, state)| process_status(name, state.process));
            pods.push(PodStatus {
                name: format!("{}/{}", pod.namespace, pod.name),
                namespace: of_pod.unwrap_or_else(|| namespace.name().to_owned()),
                containers: containers.collect(),
            });
        }
        pods.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(HostStatus {
            name: name.to_owned(),
            namespace: namespace.name().to_owned(),
            addresses: addresses.to_vec(),
            processes: processes
                .map(|(name, record)| process_status(name, Some(record.id)))
                .collect(),
            pods,
        })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "lab {}  seed {}  underlay MTU {}",
            self.name, self.seed, self.underlay_mtu
        )?;
        for cluster in &self.clusters {
            writeln!(
                f,
                "\ncluster {}  pods {}  services {}",
                cluster.name,
                list(&cluster.pod_prefixes),
                list(&cluster.service_prefixes)
            )?;
            cluster.hosts.iter().try_for_each(|host| write_host(f, host))?;
        }
        writeln!(f, "\nbroker")?;
        write_host(f, &self.broker)
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &HostStatus) -> fmt::Result {
    writeln!(f, "  {:20} {}", host.name, list(&host.addresses))?;
    for process in &host.processes {
        writeln!(f, "    {:40} {}", process.name, run(process))?;
    }
    for pod in &host.pods {
        let mut containers = String::new();
        for container in &pod.containers {
            write!(containers, "{} {}  ", container.name, run(container))?;
        }
        writeln!(f, "    pod {:36} {}", pod.name, containers.trim_end())?;
    }
    Ok(())
}

fn run(process: &ProcessStatus) -> String {
    process
        .pid
        .map_or_else(|| "not running".to_owned(), |pid| format!("pid {pid}"))
}

fn list(prefixes: &[IpNet]) -> String {
    prefixes.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",")
}

fn process_status(name: String, process: Option<ProcessId>) -> ProcessStatus {
    ProcessStatus {
        name,
        pid: process.filter(|process| process.is_alive()).map(|process| process.pid),
    }
}

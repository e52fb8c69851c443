//! Where a lab keeps what it knows: `/run/tombolo-lab/<lab>/`.
//!
//! ```text
//! state.json             the topology, written before anything else is made
//! processes/             one record a process: how it was started, and as what
//! faults/                one a place where something is wrong on purpose, and settings for relays
//! logs/                  one file a process, and one a container
//! kubeconfigs/           an administrator's for each cluster
//! api/<cluster>/         the API server's data
//! nodes/<node>/root/     what pods see of the node's file system (hostPath volumes)
//! nodes/<node>/kubelet/  what the kubelet knows of its pods
//! ```
//!
//! One file that names a lab is locked while a command changes the lab, so that two never do at once.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::namespace::Namespace;
use crate::process::{Launch, Record, replace_file};
use crate::topology::{Cluster, Host, LabName, Topology};

/// A lab that is up, or was begun.
#[derive(Debug, Clone)]
pub struct Lab {
    topology: Topology,
    directory: Directory,
}

/// The files of a lab.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

/// Held while a command changes a lab, and by whatever it started until that has ended, even when the command was killed.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lab {
    /// The lab of this name.
    ///
    /// # Errors
    /// When there is none, or its state cannot be read.
    pub fn open(name: &LabName) -> anyhow::Result<Self> {
        let directory = Directory::of(name);
        let path = directory.state();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("there is no lab '{name}'; `tombolo lab up --name {name}` makes one")
            }
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let topology = serde_json::from_str(&text).with_context(|| {
            format!(
                "{} is damaged; `tombolo lab down --name {name}` removes the lab",
                path.display()
            )
        })?;
        Ok(Self { topology, directory })
    }

    /// Begins a lab: makes its directory and writes its state down.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub(crate) fn begin(topology: Topology) -> anyhow::Result<Self> {
        let directory = Directory::of(&topology.lab);
        for part in ["processes", "faults", "logs", "kubeconfigs", "api", "nodes"] {
            let path = directory.0.join(part);
            std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let text = serde_json::to_vec_pretty(&topology).context("cannot write the topology as JSON")?;
        replace_file(&directory.state(), &text)
            .with_context(|| format!("cannot write {}", directory.state().display()))?;
        Ok(Self { topology, directory })
    }

    /// Its name.
    pub fn name(&self) -> &LabName {
        &self.topology.lab
    }

    /// What it consists of.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Its files.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The namespace of one of its hosts.
    pub fn namespace(&self, host: &str) -> Namespace {
        Namespace::of(self.name(), host)
    }

    /// A cluster by name.
    ///
    /// # Errors
    /// When there is none; the text names those that there are.
    pub fn cluster(&self, name: &str) -> anyhow::Result<&Cluster> {
        self.topology.cluster(name).with_context(|| {
            let names: Vec<&str> = self
                .topology
                .clusters
                .iter()
                .map(|cluster| cluster.name.as_str())
                .collect();
            format!(
                "the lab '{}' has no cluster '{name}', only {}",
                self.name(),
                names.join(", ")
            )
        })
    }

    /// A node of a cluster: its whole name (`east-gw1`) or the part behind the cluster's (`gw1`).
    pub fn node<'a>(&self, cluster: &'a Cluster, name: &str) -> Option<&'a Host> {
        let matches = |host: &str| host == name || host.strip_prefix(&format!("{}-", cluster.name)) == Some(name);
        cluster
            .nodes
            .iter()
            .map(|node| &node.host)
            .find(|host| matches(&host.name))
    }

    /// Starts a process and remembers it under a name such as `east/api`.
    ///
    /// # Errors
    /// When it cannot be started or remembered.
    pub(crate) async fn start(&self, name: &str, launch: Launch, lock: Option<&Lock>) -> anyhow::Result<()> {
        let prepared = launch.prepare(lock).with_context(|| format!("cannot start '{name}'"))?;
        let id = prepared.id;
        let text = serde_json::to_vec_pretty(&Record { launch, id }).context("cannot write the record as JSON")?;
        let path = self.directory.record(name);
        replace_file(&path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        let log = self.directory.log(name);
        let ended = || format!("'{name}' ended at once; see {}", log.display());
        prepared.go().await.with_context(ended)
    }

    /// Forgets a process that has ended and is not to be started again.
    ///
    /// # Errors
    /// When its record cannot be removed.
    pub(crate) fn forget(&self, name: &str) -> anyhow::Result<()> {
        let path = self.directory.record(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Every process that was ever started, by name.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn processes(&self) -> anyhow::Result<Vec<(String, Record)>> {
        self.directory.processes()
    }
}

impl Directory {
    /// Of the lab of this name.
    pub fn of(name: &LabName) -> Self {
        Self(Path::new(BASE).join(name.as_str()))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// An administrator's kubeconfig. Its address is one within the lab.
    pub fn kubeconfig(&self, cluster: &str) -> PathBuf {
        self.0.join("kubeconfigs").join(format!("{cluster}.yaml"))
    }

    /// The log of a process or a container, by name.
    pub fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{}.log", flat(name)))
    }

    /// What is wrong on purpose, one file a place.
    pub(crate) fn faults(&self) -> PathBuf {
        self.0.join("faults")
    }

    /// What the API server of a cluster keeps.
    pub fn api(&self, cluster: &str) -> PathBuf {
        self.0.join("api").join(cluster)
    }

    /// What belongs to a node.
    pub fn node(&self, node: &str) -> PathBuf {
        self.0.join("nodes").join(node)
    }

    pub(crate) fn processes(&self) -> anyhow::Result<Vec<(String, Record)>> {
        let directory = self.0.join("processes");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
        };
        let mut records = Vec::new();
        for entry in entries {
            let path = entry
                .with_context(|| format!("cannot read {}", directory.display()))?
                .path();
            let name = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .map(|stem| stem.replace('_', "/"));
            let is_record = path.extension().is_some_and(|extension| extension == "json");
            if let Some(name) = name.filter(|_| is_record) {
                let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let record = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
                records.push((name, record));
            }
        }
        records.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(records)
    }

    fn state(&self) -> PathBuf {
        self.0.join("state.json")
    }

    fn record(&self, name: &str) -> PathBuf {
        self.0.join("processes").join(format!("{}.json", flat(name)))
    }
}

impl Lock {
    /// Takes the lock of a lab, for which it waits a while: a command that was killed may have left a child at work.
    ///
    /// # Errors
    /// When another command keeps it.
    pub async fn take(name: &LabName) -> anyhow::Result<Self> {
        std::fs::create_dir_all(BASE).with_context(|| format!("cannot make {BASE}; the lab needs root"))?;
        let path = Path::new(BASE).join(format!("{name}.lock"));
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .with_context(|| format!("cannot open {}", path.display()))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                Err(TryLockError::WouldBlock) => {
                    bail!("another command is at work on the lab '{name}'; wait for it to end, or end it")
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            // The holder before may have removed the file between our opening and our locking it.
            let is_current =
                std::fs::metadata(&path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()));
            if is_current {
                return Ok(Self { file, path });
            }
        }
    }

    /// A standard output for a child that prints nothing: until the child has ended, the lock is held.
    ///
    /// # Errors
    /// When there are too many open files.
    pub(crate) fn share(&self) -> io::Result<Stdio> {
        self.file.try_clone().map(Stdio::from)
    }

    /// Gives the lock up and removes its file, and the directory above when this was the last lab.
    pub fn remove(self) {
        // What stays behind when this fails is an empty file, which the next lab of the name takes over.
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_dir(BASE);
    }
}

/// A file name for `east/east-gw1/kubelet`. Names have no underscore, so it can be undone.
pub(crate) fn flat(name: &str) -> String {
    name.replace('/', "_")
}

const BASE: &str = "/run/tombolo-lab";
const PATIENCE: Duration = Duration::from_secs(10);

//! What the kubelet remembers of its pods on disk, so that another one after it, or after a kill, finds them again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::process::{ProcessId, replace_file};

/// A pod that has been begun on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Its namespace in Kubernetes.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from an earlier pod of the name.
    pub uid: String,
    /// The number of its address and its link; none on the host's network.
    pub number: Option<u8>,
    /// When it was begun.
    pub started_at: Timestamp,
    /// Its containers.
    pub containers: BTreeMap<String, Container>,
}

/// A container, started or not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Its process, as long as nobody has seen it end.
    pub process: Option<ProcessId>,
    /// When that was started.
    pub started_at: Option<Timestamp>,
    /// How often it was started again.
    pub restarts: i32,
}

impl Pod {
    /// Writes the record down.
    ///
    /// # Errors
    /// When the node's directory cannot be written to.
    pub(super) fn save(&self, node: &Path) -> anyhow::Result<()> {
        let directory = directory(node, &self.uid);
        let path = directory.join(RECORD);
        let text = serde_json::to_vec_pretty(self).context("cannot write the record as JSON")?;
        std::fs::create_dir_all(&directory)
            .and_then(|()| replace_file(&path, &text))
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Every pod remembered for a node. A record that a kill left half made is passed over: nothing was started from it yet.
///
/// # Errors
/// When the node's directory cannot be read.
pub fn all(node: &Path) -> anyhow::Result<Vec<Pod>> {
    let directory = node.join(PODS);
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
    };
    let texts = entries
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join(RECORD)).ok());
    Ok(texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect())
}

/// What belongs to a pod on a node.
pub(super) fn directory(node: &Path, uid: &str) -> PathBuf {
    node.join(PODS).join(uid)
}

const PODS: &str = "kubelet/pods";
const RECORD: &str = "record.json";

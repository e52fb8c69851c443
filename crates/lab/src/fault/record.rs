//! What is wrong at which place, as files.

use std::fmt;
use std::io;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::impair::Settings;
use crate::process::replace_file;
use crate::state::{Lab, flat};

/// All that is wrong at one place.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fault {
    /// As a person names the place.
    pub(crate) target: String,
    /// Its link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) link: Option<Settings>,
    /// The node does not forward.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_not_forwarding: bool,
    /// The node forwards nothing that is larger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) drops_larger: Option<u16>,
    /// The node receives nothing from or to this UDP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) drops_port: Option<u16>,
    /// The node forwards nothing that connection tracking does not know.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) drops_untracked: bool,
    /// The process is stopped.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_frozen: bool,
}

impl Lab {
    /// Everything that is wrong on purpose, by place.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub(crate) fn faults(&self) -> anyhow::Result<Vec<Fault>> {
        let directory = self.directory().faults();
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", directory.display())),
        };
        let mut faults = Vec::new();
        for entry in entries {
            let path = entry
                .with_context(|| format!("cannot read {}", directory.display()))?
                .path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                let fault: Fault =
                    serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
                faults.push(fault);
            }
        }
        faults.sort_by(|one, other| one.target.cmp(&other.target));
        Ok(faults)
    }

    /// What is wrong at a place; nothing, if nothing is known.
    pub(super) fn fault(&self, target: &str) -> anyhow::Result<Fault> {
        let known = self.faults()?.into_iter().find(|fault| fault.target == target);
        Ok(known.unwrap_or_else(|| Fault {
            target: target.to_owned(),
            ..Fault::default()
        }))
    }

    pub(super) fn remember_fault(&self, fault: &Fault) -> anyhow::Result<()> {
        let path = self.fault_path(&fault.target);
        let text = serde_json::to_vec_pretty(fault).context("cannot write the fault as JSON")?;
        std::fs::create_dir_all(self.directory().faults())
            .and_then(|()| replace_file(&path, &text))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn forget_fault(&self, target: &str) -> anyhow::Result<()> {
        let path = self.fault_path(target);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    fn fault_path(&self, target: &str) -> std::path::PathBuf {
        self.directory().faults().join(format!("{}.json", flat(target)))
    }
}

impl Fault {
    /// Whether the node drops some packets.
    pub(super) fn drops(&self) -> bool {
        self.drops_larger.is_some() || self.drops_port.is_some() || self.drops_untracked
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.link.iter().map(ToString::to_string).collect();
        parts.extend(self.is_not_forwarding.then(|| "does not forward".to_owned()));
        parts.extend(
            self.drops_larger
                .map(|bytes| format!("forwards nothing above {bytes} bytes")),
        );
        parts.extend(
            self.drops_port
                .map(|port| format!("receives nothing from or to UDP port {port}")),
        );
        parts.extend(self.drops_untracked.then(|| "forwards nothing untracked".to_owned()));
        parts.extend(self.is_frozen.then(|| "frozen".to_owned()));
        write!(f, "{:28} {}", self.target, parts.join("; "))
    }
}

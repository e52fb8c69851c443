//! Kernel settings below `/proc/sys/net`, with a memory of what they were before us.
//!
//! The memory is one small file: key → (value before, value of ours). It is written before the setting, so that a crash between
//! the two forgets nothing. Giving back touches a setting only while it still has our value: if somebody set it since, it
//! is theirs. Settings of our own links are not remembered; they go with the link.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hostnet::{SysctlKey, tags};
use serde::{Deserialize, Serialize};

use crate::error::OpError;

#[derive(Debug)]
pub(crate) struct Sysctls {
    memory: PathBuf,
    /// `/proc/sys/net`, or where it is writable.
    net: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    before: String,
    ours: String,
}

type Memory = BTreeMap<SysctlKey, Change>;

impl Sysctls {
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self {
            memory: state_dir.join("sysctls.json"),
            net: PathBuf::from("/proc/sys/net"),
        }
    }

    pub(crate) fn set_root(&mut self, net: &Path) {
        self.net = net.to_owned();
    }

    /// The values of those keys that this kernel has.
    pub(crate) fn read_all(&self, keys: &[SysctlKey]) -> BTreeMap<SysctlKey, String> {
        keys.iter()
            .filter_map(|key| Some((key.clone(), self.read(key).ok()?)))
            .collect()
    }

    pub(crate) fn set(&self, key: &SysctlKey, value: &str) -> Result<(), OpError> {
        let fails = |source| OpError::Sysctl {
            path: key.path().to_owned(),
            source,
        };
        let before = self.read(key).map_err(fails)?;
        if before == value {
            return Ok(());
        }
        if !matches!(key.device(), Some(tags::VXLAN_LINK | tags::TUN_LINK)) {
            self.remember(key, &before, value).map_err(|source| OpError::Memory {
                path: self.memory.display().to_string(),
                source,
            })?;
        }
        fs::write(self.path(key), value).map_err(fails)
    }

    /// Sets back what we changed, and forgets it. Returns what was set back, and what could not be.
    pub(crate) fn give_back(&self) -> (Vec<String>, Vec<String>) {
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        let mut left = Memory::new();
        let memory = match self.load() {
            Ok(memory) => memory,
            Err(error) => return (done, vec![format!("cannot read {}: {error}", self.memory.display())]),
        };
        for (key, change) in memory {
            match self.read(&key) {
                Ok(now) if now == change.ours => match fs::write(self.path(&key), &change.before) {
                    Ok(()) => done.push(format!("{key} = {}", change.before)),
                    Err(error) => {
                        failed.push(format!("cannot set {key} back to {}: {error}", change.before));
                        left.insert(key, change);
                    }
                },
                // Somebody else's value now, or its link is gone.
                Ok(_) | Err(_) => {}
            }
        }
        let kept = if left.is_empty() {
            remove(&self.memory)
        } else {
            self.store(&left)
        };
        failed.extend(
            kept.err()
                .map(|error| format!("cannot update {}: {error}", self.memory.display())),
        );
        (done, failed)
    }

    fn remember(&self, key: &SysctlKey, before: &str, ours: &str) -> io::Result<()> {
        let mut memory = self.load()?;
        memory
            .entry(key.clone())
            // A value that is not our last one was set by somebody since: that is what to give back.
            .and_modify(|change| {
                if before != change.ours {
                    before.clone_into(&mut change.before);
                }
                ours.clone_into(&mut change.ours);
            })
            .or_insert_with(|| Change {
                before: before.to_owned(),
                ours: ours.to_owned(),
            });
        self.store(&memory)
    }

    fn load(&self) -> io::Result<Memory> {
        match fs::read(&self.memory) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Memory::new()),
            Err(error) => Err(error),
        }
    }

    fn read(&self, key: &SysctlKey) -> io::Result<String> {
        fs::read_to_string(self.path(key)).map(|text| text.trim().to_owned())
    }

    fn path(&self, key: &SysctlKey) -> PathBuf {
        let below_net = key.path().strip_prefix("net/").unwrap_or(key.path());
        self.net.join(below_net)
    }

    fn store(&self, memory: &Memory) -> io::Result<()> {
        if let Some(folder) = self.memory.parent() {
            fs::create_dir_all(folder)?;
        }
        let new = self.memory.with_extension("json.new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec_pretty(memory)?)?;
        file.sync_all()?;
        fs::rename(new, &self.memory)
    }
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

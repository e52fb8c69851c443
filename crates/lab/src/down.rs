//! Takes a lab down, whatever is left of it.
//!
//! It believes names more than records: every namespace called after the lab goes, with all that lives in it, whether or not
//! anybody wrote it down. Records only add processes that a kill caught on their way into a namespace. What cannot be
//! removed does not stop the rest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, bail};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;

use crate::external::tidy;
use crate::namespace::{Identity, Namespace};
use crate::process::{self, ProcessId};
use crate::state::{Directory, Lab, Lock};
use crate::topology::LabName;

/// Removes a lab. False when there was nothing to remove.
///
/// # Errors
/// When another command is at work on the lab, or something cannot be removed; the text names all of it.
pub async fn down(name: &LabName) -> anyhow::Result<bool> {
    let lock = Lock::take(name).await?;
    let is_left = is_left(name)?;
    if is_left {
        demolish(name).await?;
    }
    lock.remove();
    Ok(is_left)
}

/// Whether there is anything of the lab.
pub(crate) fn is_left(name: &LabName) -> anyhow::Result<bool> {
    let namespaces = Namespace::all_of(name).context("cannot look for network namespaces")?;
    Ok(!namespaces.is_empty() || Directory::of(name).path().exists())
}

/// Removes everything of the lab but its lock, which the caller holds.
pub(crate) async fn demolish(name: &LabName) -> anyhow::Result<()> {
    let directory = Directory::of(name);
    let mut failures = Vec::new();
    // Needs the servers, not the lab; done first, while controllers can still let go of what is deleted.
    if let Ok(lab) = Lab::open(name)
        && let Err(error) = tidy::end(lab.topology()).await
    {
        failures.push(format!("{error:#}"));
    }
    // A damaged record costs nothing here: its process has a namespace to be found by.
    let records = directory.processes().unwrap_or_default();
    let recorded: Vec<ProcessId> = records.into_iter().map(|(_, record)| record.id).collect();
    let mut identities = BTreeSet::new();
    if let Err(error) = kill_all(name, &mut identities, &recorded).await {
        failures.push(format!("{error:#}"));
    }
    for namespace in &Namespace::all_of(name).context("cannot look for network namespaces")? {
        if let Err(error) = namespace.remove() {
            failures.push(format!("the network namespace '{}': {error}", namespace.name()));
        }
    }
    // Nothing can enter now; what had just entered while the others were killed is found here.
    if let Err(error) = kill_all(name, &mut identities, &[]).await {
        failures.push(format!("{error:#}"));
    }
    for mount in mounts_below(directory.path()) {
        if let Err(error) = umount2(&mount, MntFlags::MNT_DETACH) {
            failures.push(format!("the mount {}: {error}", mount.display()));
        }
    }
    match fs::remove_dir_all(directory.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            failures.push(format!("{}: {error}", directory.path().display()));
        }
        _ => {}
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "something of the lab '{name}' could not be removed: {}",
        failures.join("; ")
    )
}

/// Kills until nothing lives: what is killed may have started something in the meantime, in a namespace of its own, too.
/// `namespaces` are those that the lab has, and had.
async fn kill_all(name: &LabName, namespaces: &mut BTreeSet<Identity>, recorded: &[ProcessId]) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let own = std::process::id().cast_signed();
    loop {
        let named = Namespace::all_of(name).context("cannot look for network namespaces")?;
        namespaces.extend(named.iter().filter_map(|namespace| namespace.identity().ok()));
        let mut living = process::living_in(namespaces).context("cannot look for processes")?;
        living.extend(recorded.iter().filter(|process| process.is_alive()));
        living.retain(|process| process.pid != own && process.is_alive());
        if living.is_empty() {
            return Ok(());
        }
        living.iter().for_each(|process| process.signal(Signal::SIGKILL));
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !process::ended(&living, left).await {
            let pids: Vec<String> = living
                .iter()
                .filter(|p| p.is_alive())
                .map(|p| p.pid.to_string())
                .collect();
            bail!("the processes {} do not end", pids.join(", "));
        }
    }
}

/// Deepest first. The kernel writes blanks and the like as octal numbers, which no path of the lab has.
fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(PathBuf::from);
    let mut mounts: Vec<PathBuf> = points.filter(|point| point.starts_with(directory)).collect();
    mounts.sort_by(|one, other| other.cmp(one));
    mounts
}

const PATIENCE: Duration = Duration::from_secs(10);

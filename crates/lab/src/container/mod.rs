//! The role that becomes a container: it takes away what a container does not have, then turns into the container's program.
//!
//! ```text
//! own session ─▶ pod's network ─▶ own mounts and host name ─▶ a new root (root) ─▶ fewer privileges (privileges) ─▶ exec
//! ```
//!
//! There is no process in between: the pid that the kubelet started is the container's. What a container is follows the runtimes'
//! defaults (OCI runtime specification; containerd's for the capabilities). Left out: images, cgroups, seccomp, and pid and user namespaces.

mod privileges;
mod root;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{sethostname, setsid};
use serde::{Deserialize, Serialize};

use crate::namespace::Namespace;

/// Where the specification is.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The container's specification, as the kubelet wrote it.
    #[arg(long)]
    pub spec: PathBuf,
}

/// All that a container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The network namespace's name.
    pub network_namespace: String,
    /// A host name of its own; none shares the machine's.
    pub hostname: Option<String>,
    /// An empty directory, on which the root is put together.
    pub root: PathBuf,
    /// Programs of the image: where they are, and where they appear.
    pub programs: Vec<(PathBuf, PathBuf)>,
    /// Everything else that appears.
    pub mounts: Vec<Mount>,
    /// Nothing outside the mounts can be written.
    pub is_root_read_only: bool,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// All its variables.
    pub environment: BTreeMap<String, String>,
    /// Where it starts.
    pub working_directory: PathBuf,
    /// What it may.
    pub privileges: Privileges,
}

/// A file or directory that appears in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it is on the machine.
    pub source: PathBuf,
    /// Where it appears.
    pub target: PathBuf,
    /// It cannot be written.
    pub is_read_only: bool,
}

/// Who a container's process is and what it may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Privileges {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Further group ids.
    pub supplementary_groups: Vec<u32>,
    /// Names without `CAP_`. Those the machine itself lacks are left out.
    pub capabilities: Vec<String>,
    /// No program can ever give it more.
    pub is_final: bool,
    /// Every capability and device, and writable `/proc/sys` and `/sys`.
    pub is_privileged: bool,
}

/// Becomes the container.
///
/// # Errors
/// When a step fails. The process is in no defined state then and must end.
pub fn run(args: &Args) -> anyhow::Result<Infallible> {
    let text = std::fs::read(&args.spec).with_context(|| format!("cannot read {}", args.spec.display()))?;
    let spec: Spec = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", args.spec.display()))?;

    // It fails only for a leader of a group, which has a session that serves as well.
    let _ = setsid();
    Namespace::named(&spec.network_namespace).enter()?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).context("cannot have mounts of its own")?;
    if let Some(hostname) = &spec.hostname {
        sethostname(hostname).with_context(|| format!("cannot be called '{hostname}'"))?;
    }
    root::build(&spec)?;
    std::env::set_current_dir(&spec.working_directory)
        .with_context(|| format!("there is no working directory {}", spec.working_directory.display()))?;
    privileges::reduce(&spec.privileges)?;
    Err(exec(&spec))
}

/// Returns only when there is no such program.
fn exec(spec: &Spec) -> anyhow::Error {
    let Some((program, arguments)) = spec.argv.split_first() else {
        return anyhow::anyhow!("the container has neither command nor args");
    };
    // The program is looked up in the container's PATH, which is not this process's.
    let path = spec.environment.get("PATH").map_or(DEFAULT_PATH, String::as_str);
    let found = if program.contains('/') {
        Some(PathBuf::from(program))
    } else {
        look_up(program, path)
    };
    let Some(found) = found else {
        return anyhow::anyhow!("there is no program '{program}' in the container's PATH {path}");
    };
    let error = Command::new(&found)
        .arg0(program)
        .args(arguments)
        .env_clear()
        .envs(&spec.environment)
        .exec();
    anyhow::Error::new(error).context(format!("cannot run {}", found.display()))
}

fn look_up(program: &str, path: &str) -> Option<PathBuf> {
    path.split(':')
        .map(|directory| PathBuf::from(directory).join(program))
        .find(|candidate| candidate.is_file())
}

/// What the common base images set.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

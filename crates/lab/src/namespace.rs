//! Network namespaces: named as `ip netns` names them, so that a person can look into a lab with the tools at hand.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, setns};
use tokio::io::AsyncWriteExt;

use crate::state::Lock;
use crate::topology::LabName;

/// A named network namespace, there or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Namespace(String);

/// What tells one namespace from another, whatever it is called: device and inode of its file, also of `/proc/<pid>/ns/net`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(u64, u64);

impl Identity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }
}

impl Namespace {
    /// The namespace of a lab's host.
    pub fn of(lab: &LabName, host: &str) -> Self {
        Self(format!("{}{host}", prefix(lab)))
    }

    /// A namespace by its whole name.
    pub fn named(name: impl Into<String>) -> Self {
        Self(name.into())
    }

    /// Every namespace of a lab that there is.
    ///
    /// # Errors
    /// When the directory of namespaces cannot be read.
    pub fn all_of(lab: &LabName) -> io::Result<Vec<Self>> {
        let entries = match std::fs::read_dir(DIRECTORY) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let prefix = prefix(lab);
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            found.extend(
                name.to_str()
                    .filter(|name| name.starts_with(&prefix))
                    .map(|name| Self(name.to_owned())),
            );
        }
        found.sort();
        Ok(found)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.0)
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.path().exists()
    }

    /// What tells it from other namespaces.
    ///
    /// # Errors
    /// When it is not there.
    pub fn identity(&self) -> io::Result<Identity> {
        std::fs::metadata(self.path()).map(|metadata| Identity::of(&metadata))
    }

    /// Moves the calling thread, and what it starts from now on, into the namespace.
    ///
    /// # Errors
    /// When it is not there, or the process may not.
    pub fn enter(&self) -> anyhow::Result<()> {
        let file = File::open(self.path()).with_context(|| format!("there is no network namespace '{}'", self.0))?;
        setns(file, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("cannot enter the network namespace '{}'", self.0))
    }

    /// Runs `work` inside, on a thread of its own.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    ///
    /// # Panics
    /// When `work` does.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` with a batch of commands inside.
    ///
    /// # Errors
    /// When one of the commands fails; the ones before it stay done.
    pub async fn ip(&self, batch: &str) -> anyhow::Result<()> {
        self.run_ip(batch, Stdio::null()).await
    }

    /// Runs `ip` with a batch of commands inside, of which any may fail.
    ///
    /// # Errors
    /// When `ip` cannot be started.
    pub(crate) async fn ip_as_far_as_possible(&self, batch: &str) -> anyhow::Result<()> {
        for command in batch.lines() {
            let mut ip = tokio::process::Command::new("ip");
            ip.args(["-n", &self.0]).args(command.split(' '));
            ip.output()
                .await
                .context("cannot start ip; the lab needs the package iproute2")?;
        }
        Ok(())
    }

    /// Whether a link inside is up and somebody is at its other end.
    ///
    /// # Errors
    /// When there is no such link.
    pub(crate) async fn has_carrier(&self, link: &str) -> anyhow::Result<bool> {
        let mut ip = tokio::process::Command::new("ip");
        ip.args(["-n", &self.0, "-o", "link", "show", "dev", link]);
        let output = ip
            .output()
            .await
            .context("cannot start ip; the lab needs the package iproute2")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("in the network namespace '{}': {}", self.0, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).contains("LOWER_UP"))
    }

    /// Runs `ip` with a batch of commands inside, and has it hold the lock as well.
    ///
    /// # Errors
    /// When one of the commands fails; the ones before it stay done.
    pub(crate) async fn connect(&self, batch: &str, lock: &Lock) -> anyhow::Result<()> {
        self.run_ip(batch, lock.share()?).await
    }

    async fn run_ip(&self, batch: &str, output: Stdio) -> anyhow::Result<()> {
        run_ip(&["-n", &self.0], batch, output)
            .await
            .with_context(|| format!("in the network namespace '{}'", self.0))
    }

    /// Sets sysctls below `/proc/sys/net` inside.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn sysctls<'a>(&self, settings: impl IntoIterator<Item = (&'a str, &'a str)> + Send) -> anyhow::Result<()> {
        self.inside(|| write_sysctls(settings))?
    }

    /// Removes the name. The namespace itself ends with the last process in it.
    ///
    /// # Errors
    /// When the name cannot be removed; that it is not there is none.
    pub fn remove(&self) -> io::Result<()> {
        // EINVAL: not a mount point, which is what a kill between the two steps of `ip netns add` leaves.
        match umount2(&self.path(), MntFlags::MNT_DETACH) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match std::fs::remove_file(self.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Creates namespaces, in one batch that holds the lock as well.
///
/// # Errors
/// When one is there already, or the process may not.
pub(crate) async fn create(namespaces: &[Namespace], lock: &Lock) -> anyhow::Result<()> {
    let lines: Vec<String> = namespaces
        .iter()
        .map(|namespace| format!("netns add {}\n", namespace.0))
        .collect();
    connect(&lines.concat(), lock).await
}

/// Runs `ip` with a batch of commands on whole namespaces, and has it hold the lock as well.
///
/// # Errors
/// When one of the commands fails; the ones before it stay done.
pub(crate) async fn connect(batch: &str, lock: &Lock) -> anyhow::Result<()> {
    run_ip(&[], batch, lock.share()?).await
}

/// Runs `ip` with a batch of commands in the namespace of this process.
///
/// # Errors
/// When one of the commands fails; the ones before it stay done.
pub async fn ip(batch: &str) -> anyhow::Result<()> {
    run_ip(&[], batch, Stdio::null()).await
}

/// Writes sysctls below `/proc/sys/net`, which are those of the calling thread's namespace.
///
/// # Errors
/// When one cannot be written.
pub fn write_sysctls<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> anyhow::Result<()> {
    for (name, value) in settings {
        let path = format!("/proc/sys/net/{name}");
        std::fs::write(&path, value).with_context(|| format!("cannot write '{value}' to {path}"))?;
    }
    Ok(())
}

async fn run_ip(options: &[&str], batch: &str, output: Stdio) -> anyhow::Result<()> {
    feed("ip", &[options, &["-batch", "-"]].concat(), batch, output).await
}

/// Runs a program of the distribution with a text as its input, and a place for what it prints.
///
/// # Errors
/// When it cannot be started or ends with an error; what it said is in the text.
pub(crate) async fn feed(program: &str, arguments: &[&str], input: &str, output: Stdio) -> anyhow::Result<()> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {program}; the lab needs the packages iproute2 and nftables"))?;
    let mut stdin = child.stdin.take().context("the child has no standard input")?;
    // It may end at the first bad line, before it has read them all; its own words say more than the broken pipe.
    let written = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = child
        .wait_with_output()
        .await
        .with_context(|| format!("{program} did not end"))?;
    if !output.status.success() {
        bail!("{program} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    written.with_context(|| format!("{program} stopped reading"))
}

fn prefix(lab: &LabName) -> String {
    format!("tl-{lab}-")
}

/// Where iproute2 keeps the names.
const DIRECTORY: &str = "/run/netns";

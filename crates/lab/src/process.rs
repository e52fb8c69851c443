//! The lab's processes: detached from whoever started them, and known again by pid and start time.
//!
//! A pid alone may belong to a stranger by the time somebody wants to kill it. Together with the time the kernel says the process
//! started at, it cannot. Records of what runs lie in files, one each, and hold all that it takes to start the process again.
//!
//! A process becomes its program only when its record is there. Should the command that starts it be killed before, it ends,
//! and holds the lab's lock until it has: nobody takes the lab down or makes it again while a process is on its way.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::ChildStdin;

use crate::namespace::Identity;
use crate::state::Lock;

/// A process that is, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    /// The number that others may have later.
    pub pid: i32,
    /// Clock ticks between the machine's start and the process's.
    pub start_time: u64,
}

/// How to start a process of the lab.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// The namespace's name.
    pub namespace: String,
    /// It stays in the machine's own network, and serves the namespace from there.
    #[serde(default)]
    pub is_outside: bool,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables beside those of the lab itself.
    pub environment: BTreeMap<String, String>,
    /// Where its output goes, appended.
    pub log: PathBuf,
}

/// A process of the lab, running or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// How it was started.
    #[serde(flatten)]
    pub launch: Launch,
    /// The last process started so.
    #[serde(flatten)]
    pub id: ProcessId,
}

impl ProcessId {
    /// The process that has this pid now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: i32) -> io::Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, start_time) =
            parse_stat(&stat).ok_or_else(|| io::Error::other(format!("unreadable /proc/{pid}/stat")))?;
        Ok(Self { pid, start_time })
    }

    /// It runs: there is a process with this pid, it started then, and it is no zombie.
    pub fn is_alive(self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid));
        let parsed = stat.ok().as_deref().and_then(parse_stat);
        parsed.is_some_and(|(state, start_time)| start_time == self.start_time && !matches!(state, 'Z' | 'X'))
    }

    /// Sends a signal, if it still is that process.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end in between, which is as good.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Sends a signal to the session that it leads, or to it alone.
    pub fn signal_session(self, signal: Signal) {
        if self.is_alive() && kill(Pid::from_raw(-self.pid), signal).is_err() {
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// A process of the lab that is there, and becomes its program when it is told to. Dropped, it ends.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) id: ProcessId,
    word: ChildStdin,
}

impl Prepared {
    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) async fn go(mut self) -> io::Result<()> {
        self.word.write_all(GO).await
    }
}

impl Launch {
    /// Makes the process, in a session of its own. Until it goes on or has ended, it holds `lock`.
    ///
    /// # Errors
    /// When the log cannot be opened or the process not be made.
    pub(crate) fn prepare(&self, lock: Option<&Lock>) -> anyhow::Result<Prepared> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot write the log {}", self.log.display()))?;
        let own = program()?;
        let mut command = tokio::process::Command::new(&own);
        command
            .args(["lab", "enter", "--detach"])
            .args((!self.is_outside).then(|| format!("--namespace={}", self.namespace)))
            .arg("--")
            .args(&self.argv)
            .envs(&self.environment)
            .stdin(Stdio::piped())
            .stdout(match lock {
                Some(lock) => lock.share().context("cannot share the lock")?,
                None => Stdio::null(),
            })
            .stderr(log)
            .current_dir("/");
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", own.display()))?;
        let word = child.stdin.take().context("the process has no standard input")?;
        let pid = child.id().context("the process ended at once")?;
        // The handle goes; should this process live on, the runtime still reaps the child.
        let pid = i32::try_from(pid).context("the kernel gave an impossible pid")?;
        let id = ProcessId::of(pid)
            .with_context(|| format!("{} ended at once; see {}", self.argv.join(" "), self.log.display()))?;
        Ok(Prepared { id, word })
    }
}

/// The program that plays the lab's roles: this one, or the one that `TOMBOLO_LAB_PROGRAM` names.
///
/// # Errors
/// When the kernel does not say which program this is.
pub fn program() -> anyhow::Result<PathBuf> {
    match std::env::var_os("TOMBOLO_LAB_PROGRAM") {
        Some(path) => Ok(PathBuf::from(path)),
        None => std::env::current_exe().context("cannot find the lab's own program"),
    }
}

/// Every process in one of the network namespaces that have these identities.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn living_in(namespaces: &BTreeSet<Identity>) -> io::Result<Vec<ProcessId>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // Processes come and go while we look, and kernel threads have no namespace to show.
        let Ok(namespace) = std::fs::metadata(format!("/proc/{pid}/ns/net")) else {
            continue;
        };
        if namespaces.contains(&Identity::of(&namespace)) {
            found.extend(ProcessId::of(pid).ok());
        }
    }
    Ok(found)
}

/// Waits until none of them lives; false when some still do after `patience`.
pub async fn ended(processes: &[ProcessId], patience: Duration) -> bool {
    let deadline = tokio::time::Instant::now() + patience;
    while processes.iter().any(|process| process.is_alive()) {
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    true
}

/// Replaces a file as a whole: a reader sees the old text or the new one, also after a kill in between.
///
/// # Errors
/// When the directory cannot be written to.
pub(crate) fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let draft = path.with_extension(format!("draft-{}", std::process::id()));
    std::fs::write(&draft, contents)?;
    std::fs::rename(&draft, path)
}

/// What a prepared process reads when it may go on.
pub(crate) const GO: &[u8] = b"go";

/// State letter and start time, of proc(5)'s `stat`. The name in brackets may hold anything, brackets too.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    // State is field 3, the start time field 22.
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = "42 (a) R (b) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9876 1 2 3";
        assert_eq!(parse_stat(stat), Some(('S', 9876)));
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[test]
    fn a_pid_that_was_given_away_is_not_ours() {
        let own = ProcessId::of(std::process::id().cast_signed()).unwrap();
        assert!(own.is_alive());
        assert!(
            !ProcessId {
                start_time: own.start_time + 1,
                ..own
            }
            .is_alive()
        );
    }

    #[tokio::test]
    async fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let id = ProcessId::of(child.id().cast_signed()).unwrap();
        assert!(
            ended(&[id], Duration::from_secs(10)).await,
            "it ended, though nobody has waited for it"
        );
        child.wait().unwrap();
    }
}

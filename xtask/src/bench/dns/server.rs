//! The servers: installed, configured, started on one core, and ended with us.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::zone::Material;
use crate::bench::dataplane::ground::{Ground, Place};
use crate::bench::proc::cpu_seconds;
use crate::repository;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    Ours,
    Nsd,
    Knot,
    Bind,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Nsd => "nsd",
            Self::Knot => "knot",
            Self::Bind => "bind",
        }
    }

    fn program(self) -> PathBuf {
        match self {
            Self::Ours => repository::target_directory().join("release/tombolo-lighthouse-dns"),
            Self::Nsd => "/usr/sbin/nsd".into(),
            Self::Knot => "/usr/sbin/knotd".into(),
            Self::Bind => "/usr/sbin/named".into(),
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Bind => "bind9",
            other => other.name(),
        }
    }

    pub(super) fn is_installed(self) -> bool {
        self.program().exists()
    }

    /// The command that serves the zone in the foreground, with one worker; ours from the cluster of a kubeconfig, if that is given.
    fn command(
        self,
        ground: &Ground,
        material: &Material,
        kubeconfig: Option<&Path>,
        folder: &Path,
    ) -> anyhow::Result<Command> {
        let config = folder.join("server.conf");
        let (dir, zone) = (folder.display(), material.zone.display());
        let text = match self {
            Self::Ours => String::new(),
            Self::Nsd => format!(
                "server:\n  server-count: 1\n  ip-address: {ADDRESS}@{PORT}\n  username: \"\"\n  chroot: \"\"\n  database: \"\"\n  \
                 zonesdir: \"{dir}\"\n  pidfile: \"{dir}/pid\"\n  xfrdfile: \"{dir}/xfrd\"\n  zonelistfile: \"{dir}/zones\"\n  \
                 minimal-responses: yes\n  rrl-ratelimit: 0\nremote-control:\n  control-enable: no\n\
                 zone:\n  name: clusterset.local\n  zonefile: \"{zone}\"\n"
            ),
            Self::Knot => format!(
                "server:\n  rundir: {dir}\n  listen: {ADDRESS}@{PORT}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n\
                 database:\n  storage: {dir}\nlog:\n  - target: stderr\n    any: error\n\
                 zone:\n  - domain: clusterset.local\n    file: {zone}\n    zonefile-load: whole\n    journal-content: none\n"
            ),
            Self::Bind => format!(
                "options {{ directory \"{dir}\"; pid-file \"{dir}/pid\"; session-keyfile \"{dir}/key\"; listen-on port {PORT} {{ {ADDRESS}; }};\n\
                 listen-on-v6 {{ none; }}; recursion no; minimal-responses yes; dnssec-validation no; }};\ncontrols {{ }};\n\
                 zone \"clusterset.local\" {{ type primary; file \"{zone}\"; }};\n"
            ),
        };
        fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = ground.command(Place::East, "taskset", &["-c", "0"]);
        command.arg(self.program());
        match self {
            Self::Ours => {
                command
                    .args("--udp-threads 1 --rate-limit 0 --admin 127.0.0.1:0 --state-dir".split(' '))
                    .arg(folder)
                    .arg(format!("--listen={ADDRESS}:{PORT}"));
                match kubeconfig {
                    Some(kubeconfig) => command.arg("--kubeconfig").arg(kubeconfig),
                    None => command.arg("--snapshot").arg(&material.snapshot),
                }
            }
            Self::Nsd => command.arg("-d").arg("-c").arg(&config),
            Self::Knot => command.arg("-c").arg(&config),
            Self::Bind => command.args(["-f", "-n", "1", "-U", "1", "-c"]).arg(&config),
        };
        Ok(command)
    }
}

/// Installs the server, if it is Debian's and missing.
pub(super) fn require(kind: Kind) -> anyhow::Result<()> {
    if !kind.is_installed() && kind != Kind::Ours {
        install(kind.package())?;
    }
    ensure!(kind.is_installed(), "there is no {}", kind.program().display());
    Ok(())
}

/// Installs a package of Debian without starting what is in it.
pub(super) fn install(package: &str) -> anyhow::Result<()> {
    eprintln!("  installing {package}");
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let is_ours = !policy.exists();
    if is_ours {
        // Debian's way to say that no service is to be started.
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("cannot keep services from being started")?;
        repository::run(Command::new("chmod").arg("755").arg(policy))?;
    }
    let mut apt = Command::new("apt-get");
    apt.args(["install", "-y", "-qq", "--no-install-recommends", package]);
    let installed = repository::run(apt.env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null()));
    if is_ours {
        fs::remove_file(policy).with_context(|| format!("cannot remove {}", policy.display()))?;
    }
    installed
}

/// A server that answers.
pub(super) struct Server {
    process: Child,
}

impl Server {
    pub(super) fn start(kind: Kind, ground: &Ground, material: &Material, folder: &Path) -> anyhow::Result<Self> {
        Self::run(kind, ground, kind.command(ground, material, None, folder)?, folder)
    }

    /// Ours, for the cluster of a kubeconfig that has the services of `material`.
    pub(super) fn watching(
        kubeconfig: &Path,
        ground: &Ground,
        material: &Material,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let command = Kind::Ours.command(ground, material, Some(kubeconfig), folder)?;
        Self::run(Kind::Ours, ground, command, folder)
    }

    fn run(kind: Kind, ground: &Ground, mut command: Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("log");
        let file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let process = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn();
        let process = process.with_context(|| format!("cannot start {}", kind.name()))?;
        let mut server = Self { process };
        let asking = in_the_west(ground, || {
            let asking = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            asking.connect((ADDRESS, PORT))?;
            Ok(asking)
        })?;
        asking.set_read_timeout(Some(Duration::from_millis(100)))?;
        let deadline = Instant::now() + PATIENCE;
        let mut response = [0; 512];
        loop {
            let said = || fs::read_to_string(&log).unwrap_or_default();
            ensure!(
                server.process.try_wait()?.is_none(),
                "{} ended: {}",
                kind.name(),
                said()
            );
            ensure!(
                Instant::now() < deadline,
                "{} does not answer in {PATIENCE:?}: {}",
                kind.name(),
                said()
            );
            // Until it listens, the kernel refuses.
            let _ = asking.send(QUERY);
            if let Ok(length) = asking.recv(&mut response)
                && length > 12
                && response[3] & 0x0f == 0
                && response[7] > 0
            {
                return Ok(server);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// User and system time of its processes.
    pub(super) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.processes()?.into_iter().map(cpu_seconds).sum()
    }

    /// Resident memory of its largest process; what processes share is not counted twice.
    pub(super) fn rss_mb(&self) -> anyhow::Result<f64> {
        let mut largest = 0.0_f64;
        for pid in self.processes()? {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kilobytes = line
                .and_then(|line| line.split_whitespace().next())
                .context("no VmRSS")?;
            largest = largest.max(kilobytes.parse::<f64>()? / 1024.0);
        }
        Ok(largest)
    }

    /// The process that we started, and its descendants.
    fn processes(&self) -> anyhow::Result<Vec<u32>> {
        let mut parents = BTreeMap::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit_once(") ")
                .and_then(|(_, after)| after.split(' ').nth(1)?.parse::<u32>().ok());
            if let (Some(pid), Some(parent)) = (pid, parent) {
                parents.insert(pid, parent);
            }
        }
        let mut found = vec![self.process.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
            next += 1;
        }
        Ok(found)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.process.id().cast_signed());
        // TERM first: NSD ends its children by that.
        let _ = kill(pid, Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a thread does that has entered the namespace of those who ask. A socket stays in the one that it was made in.
fn in_the_west<T: Send>(ground: &Ground, work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    thread::scope(|scope| {
        let there = scope.spawn(|| {
            ground.enter(Place::West)?;
            work()
        });
        there.join().expect("it does not panic")
    })
}

/// Where servers listen.
pub(super) const ADDRESS: &str = "192.0.2.2";
pub(super) const PORT: u16 = 53;
const PATIENCE: Duration = Duration::from_secs(60);
/// For the first service, A: a server that has not read its zone yet does not answer it well.
const QUERY: &[u8] = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\
    \x09service-0\x04shop\x03svc\x0aclusterset\x05local\x00\x00\x01\x00\x01";

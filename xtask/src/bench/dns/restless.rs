//! A cluster whose exported services change while ours answers for them: `lighthouse-dns/examples/restless.rs`, beside who asks.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bench::dataplane::ground::{Ground, Place, Running};
use crate::repository;

pub(super) struct Restless {
    /// For the name server.
    pub(super) kubeconfig: PathBuf,
    log: PathBuf,
    /// Ended when dropped.
    _process: Running,
}

impl Restless {
    /// Returns when all services are there.
    pub(super) fn start(ground: &Ground, folder: &Path, services: u32, changes: u32) -> anyhow::Result<Self> {
        let kubeconfig = folder.join("kubeconfig");
        let log = folder.join("restless.log");
        let output = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = ground.command(Place::East, "taskset", &["-c", "1"]);
        command
            .arg(repository::target_directory().join("release/examples/restless"))
            .arg(folder)
            .args([services, changes].map(|number| number.to_string()))
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let process = Running::new(&mut command)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
            if said.contains("serving on") {
                break;
            }
            ensure!(Instant::now() < deadline, "restless does not serve: {said}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Self {
            kubeconfig,
            log,
            _process: process,
        })
    }

    /// How many changes it has made.
    pub(super) fn changed(&self) -> anyhow::Result<f64> {
        let said = fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        let last = said.lines().rev().find_map(|line| line.strip_suffix(" changes"));
        last.map_or(Ok(0.0), |number| {
            number.parse().with_context(|| format!("restless says '{number}'"))
        })
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

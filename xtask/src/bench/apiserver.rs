//! The embedded API server under load, beside a real one where there is one.
//!
//! The server and its clients are processes of their own (`crates/apiserver/examples`), so the server's memory is its own. Figures of
//! the real server carry the prefix `kube_`; its memory and its restart are not ours to measure.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::report::{Report, Step};
use crate::repository;

#[derive(Debug, Args)]
#[command(after_help = "\
Set TOMBOLO_KUBECONFIG_DIR to a folder with cluster1.kubeconfig to measure that API server in the same run.")]
pub(super) struct ApiServer {
    /// How often ten thousand objects are made, listed and watched
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many objects the large store holds
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10_000..))]
    objects: u32,
    /// How many watchers see each change
    #[arg(long, default_value_t = 1000)]
    watchers: u32,
    /// How often the server is killed under write load
    #[arg(long, default_value_t = 200)]
    kills: u32,
}

impl ApiServer {
    pub(super) fn run(&self) -> Report {
        let mut report = Report::new("bench apiserver");
        report.ok = true;
        report.rounds(self.rounds);
        step(&mut report, "build", |_| build());
        if !report.ok {
            return report;
        }
        let real = std::env::var_os("TOMBOLO_KUBECONFIG_DIR").map(|dir| Path::new(&dir).join("cluster1.kubeconfig"));
        for _ in 0..self.rounds {
            step(&mut report, "ten thousand objects, embedded", |report| {
                self.embedded(report)
            });
            if let Some(kubeconfig) = &real {
                step(&mut report, "ten thousand objects, real", |report| {
                    let outcome = self.small(report, kubeconfig, "kube_");
                    load(kubeconfig, &["clean"]).and(outcome)
                });
            }
        }
        step(&mut report, "the large store", |report| self.large(report));
        step(&mut report, "kills", |report| self.kills(report));
        for name in ["creates_per_s", "list_10k_ms"] {
            report.ratio(&format!("{name}_vs_kube"), name, &format!("kube_{name}"));
        }
        report.aim_above("creates_per_s_vs_kube", 1.0);
        report.aim_below("restart_100k_ms", 1000.0);
        report.aim_below("kill_lost_writes", 0.0);
        report
    }

    fn embedded(&self, report: &mut Report) -> anyhow::Result<()> {
        let dir = tempfile::tempdir().context("cannot make a folder for the server")?;
        let server = Server::start(dir.path())?;
        self.small(report, &server.kubeconfig, "")?;
        report.figure("rss_10k_mb", "MB", &[server.rss_mb()?]);
        Ok(())
    }

    fn large(&self, report: &mut Report) -> anyhow::Result<()> {
        let dir = tempfile::tempdir().context("cannot make a folder for the server")?;
        let server = Server::start(dir.path())?;
        load(&server.kubeconfig, &["creates", "0", &self.objects.to_string()])?;
        report.figure("rss_100k_mb", "MB", &[server.rss_mb()?]);
        drop(server);
        for _ in 0..3 {
            let start = Instant::now();
            let server = Server::start(dir.path())?;
            report.figure("restart_100k_ms", "ms", &[start.elapsed().as_secs_f64() * 1000.0]);
            report.figure("rss_100k_restarted_mb", "MB", &[server.rss_mb()?]);
        }
        Ok(())
    }

    /// What is measured with ten thousand objects.
    fn small(&self, report: &mut Report, kubeconfig: &Path, prefix: &str) -> anyhow::Result<()> {
        for measured in load(kubeconfig, &["creates", "0", "10000"])? {
            report.figure(&format!("{prefix}creates_per_s"), "1/s", &measured.samples);
        }
        for measured in load(kubeconfig, &["list"])? {
            report.figure(&format!("{prefix}list_10k_ms"), "ms", &measured.samples);
        }
        let watchers = self.watchers;
        for measured in load(kubeconfig, &["fanout", &watchers.to_string()])? {
            let name = format!("{prefix}fanout_{watchers}_ms");
            report.distribution(&name, "ms", &measured.samples);
            let mut samples = measured.samples;
            samples.sort_by(f64::total_cmp);
            if let Some(p99) = samples.get((samples.len() * 99).div_ceil(100).saturating_sub(1)) {
                report.figure(&format!("{prefix}fanout_{watchers}_p99_ms"), "ms", &[*p99]);
            }
        }
        Ok(())
    }

    fn kills(&self, report: &mut Report) -> anyhow::Result<()> {
        let output = Command::new("cargo")
            .args([
                "test",
                "--quiet",
                "-p",
                "apiserver",
                "--test",
                "durability",
                "--",
                "--nocapture",
            ])
            .env("TOMBOLO_KILLS", self.kills.to_string())
            .current_dir(repository::root())
            .output()
            .context("cannot run cargo")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|line| line.contains(" kills, "));
        let line = line.with_context(|| format!("the kill test did not get to its end: {text}"))?;
        // The test harness may have written to the same line before.
        let line = line.trim_start_matches(|c: char| !c.is_ascii_digit());
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [runs, writes, lost] = numbers[..] else {
            bail!("the kill test says {line:?}");
        };
        report.figure("kill_runs", "kills", &[runs]);
        report.figure("kill_acknowledged_writes", "writes", &[writes]);
        report.figure("kill_lost_writes", "writes", &[lost]);
        Ok(())
    }
}

/// Runs a part. What could not be measured is a step that is not ok, and the run goes on.
fn step(report: &mut Report, name: &str, part: impl FnOnce(&mut Report) -> anyhow::Result<()>) {
    println!("{name} …");
    let start = Instant::now();
    let outcome = part(report);
    report.steps.push(Step {
        name: name.to_owned(),
        ok: outcome.is_ok(),
        millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        detail: outcome
            .as_ref()
            .err()
            .map_or_else(String::new, |error| format!("{error:#}")),
    });
    report.ok &= outcome.is_ok();
}

/// What one line of the example `load` says.
#[derive(Debug, Deserialize)]
struct Measured {
    samples: Vec<f64>,
}

fn load(kubeconfig: &Path, what: &[&str]) -> anyhow::Result<Vec<Measured>> {
    let output = example("load")
        .arg(kubeconfig)
        .args(what)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run the load")?;
    ensure!(output.status.success(), "the load {what:?} failed: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .context("the load printed something else than figures")
}

/// An example of the crate, with room for as many connections as there are watchers.
fn example(name: &str) -> Command {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository::root().join("target"), PathBuf::from);
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 8192; exec \"$0\" \"$@\""])
        .arg(target.join("release/examples").join(name));
    command
}

fn build() -> anyhow::Result<()> {
    let build = Command::new("cargo")
        .args([
            "build",
            "--release",
            "-p",
            "apiserver",
            "--example",
            "serve",
            "--example",
            "load",
        ])
        .current_dir(repository::root())
        .status();
    ensure!(
        build.context("cannot run cargo")?.success(),
        "the examples of apiserver cannot be built"
    );
    Ok(())
}

/// The example `serve`; dropping it kills it.
struct Server {
    child: Child,
    kubeconfig: PathBuf,
    _output: BufReader<ChildStdout>,
}

impl Server {
    /// Returns once it serves.
    fn start(dir: &Path) -> anyhow::Result<Self> {
        let mut child = example("serve")
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the server")?;
        let mut output = BufReader::new(child.stdout.take().context("the server has no output")?);
        let mut line = String::new();
        output
            .read_line(&mut line)
            .context("cannot read what the server says")?;
        ensure!(line.starts_with("serving"), "the server says {line:?}");
        Ok(Self {
            child,
            kubeconfig: dir.join("kubeconfig"),
            _output: output,
        })
    }

    fn rss_mb(&self) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: f64 = line
            .and_then(|line| line.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("{path} has no VmRSS"))?;
        Ok(kilobytes / 1024.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        if let Err(error) = killed {
            eprintln!("cannot end the server: {error}");
        }
    }
}

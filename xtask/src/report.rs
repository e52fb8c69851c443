//! What `--json` writes, so that figures can be compared across versions.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;
use serde::Serialize;

/// One run of the demo or of a bench.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    tool: String,
    version: String,
    machine: Machine,
    rounds: u32,
    /// Whether it ran honestly to the end.
    pub(crate) ok: bool,
    pub(crate) steps: Vec<Step>,
    pub(crate) figures: BTreeMap<String, Figure>,
    ratios: BTreeMap<String, f64>,
    pub(crate) targets: Vec<Target>,
    #[serde(skip)]
    samples: BTreeMap<String, Vec<f64>>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cores: usize,
    kernel: String,
    cpu: String,
}

/// One thing that was done.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) name: String,
    pub(crate) ok: bool,
    pub(crate) millis: u64,
    pub(crate) detail: String,
}

/// One thing that was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    min: f64,
    median: f64,
    max: f64,
    unit: &'static str,
}

/// What a figure should be.
#[derive(Debug, Serialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) want: String,
    pub(crate) got: f64,
    pub(crate) met: bool,
}

impl Report {
    pub(crate) fn new(tool: &str) -> Self {
        Self {
            tool: tool.to_owned(),
            version: version(),
            machine: machine(),
            rounds: 1,
            ok: false,
            steps: Vec::new(),
            figures: BTreeMap::new(),
            ratios: BTreeMap::new(),
            targets: Vec::new(),
            samples: BTreeMap::new(),
        }
    }

    /// Adds samples to a figure; without samples there is no figure.
    pub(crate) fn figure(&mut self, name: &str, unit: &'static str, samples: &[f64]) {
        let all = self.samples.entry(name.to_owned()).or_default();
        all.extend(samples);
        all.sort_by(f64::total_cmp);
        if let (Some(min), Some(max)) = (all.first(), all.last()) {
            let figure = Figure {
                min: *min,
                median: all[all.len() / 2],
                max: *max,
                unit,
            };
            self.figures.insert(name.to_owned(), figure);
        }
    }

    /// Compares a figure with an upper bound. A missed aim does not make the run a failure: machines are noisy.
    pub(crate) fn aim_below(&mut self, name: &str, bound: f64) {
        if let Some(figure) = self.figures.get(name) {
            let got = figure.median;
            self.targets.push(Target {
                name: name.to_owned(),
                want: format!("<= {bound}"),
                got,
                met: got <= bound,
            });
        }
    }

    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("a report is JSON")?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Figure {
    pub(crate) fn median(&self) -> f64 {
        self.median
    }

    pub(crate) fn unit(&self) -> &'static str {
        self.unit
    }
}

fn version() -> String {
    let commit = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(crate::repository::root())
        .output();
    let commit = commit.ok().filter(|output| output.status.success());
    let commit = commit
        .map(|output| format!("+g{}", String::from_utf8_lossy(&output.stdout).trim()))
        .unwrap_or_default();
    format!("{}{commit}", env!("CARGO_PKG_VERSION"))
}

fn machine() -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or_default();
    Machine {
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpu: cpu.trim_start_matches([' ', '\t', ':']).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_min_median_and_max() {
        let mut report = Report::new("test");
        report.figure("x_ms", "ms", &[3.0, 1.0]);
        report.figure("x_ms", "ms", &[2.0]);
        report.figure("nothing", "ms", &[]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            json["figures"]["x_ms"],
            serde_json::json!({"min": 1.0, "median": 2.0, "max": 3.0, "unit": "ms"})
        );
        assert!(json["figures"].get("nothing").is_none());
    }
}

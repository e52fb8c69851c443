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
    /// Of a conformance run only.
    #[serde(flatten)]
    conformance: Option<Conformance>,
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
    /// Where the tail matters: the nearest-rank percentiles.
    #[serde(flatten)]
    tail: Option<Tail>,
    unit: &'static str,
}

#[derive(Debug, Clone, Serialize)]
struct Tail {
    p50: f64,
    p99: f64,
}

/// How many exchanges were answered as recorded, in all and by group.
#[derive(Debug, Serialize)]
struct Conformance {
    #[serde(flatten)]
    all: Group,
    groups: BTreeMap<String, Group>,
}

/// Exchanges that were replayed.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Group {
    pub(crate) matched: usize,
    pub(crate) total: usize,
    /// Differ, and stand in the allow-list.
    pub(crate) allowed: usize,
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
            conformance: None,
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
                tail: None,
                unit,
            };
            self.figures.insert(name.to_owned(), figure);
        }
    }

    /// Adds samples to a figure whose p50 and p99 are wanted too.
    pub(crate) fn distribution(&mut self, name: &str, unit: &'static str, samples: &[f64]) {
        self.figure(name, unit, samples);
        let all = self.samples.get(name).map(Vec::as_slice).unwrap_or_default();
        let rank = |percent: usize| all.get((all.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        if let (Some(figure), Some(p50), Some(p99)) = (self.figures.get_mut(name), rank(50), rank(99)) {
            figure.tail = Some(Tail { p50, p99 });
        }
    }

    /// Notes something that could not be measured, and why.
    pub(crate) fn not_measured(&mut self, name: &str, reason: String) {
        eprintln!("  {name}: {reason}");
        self.steps.push(Step {
            name: name.to_owned(),
            ok: false,
            millis: 0,
            detail: reason,
        });
    }

    /// What a conformance run found.
    pub(crate) fn conformance(&mut self, groups: BTreeMap<String, Group>) {
        let all = groups.values().fold(Group::default(), |sum, group| Group {
            matched: sum.matched + group.matched,
            total: sum.total + group.total,
            allowed: sum.allowed + group.allowed,
        });
        self.conformance = Some(Conformance { all, groups });
    }

    /// All groups of a conformance run, then their sum.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, Group)> {
        let found = self.conformance.iter();
        found.flat_map(|found| {
            let groups = found.groups.iter().map(|(name, group)| (name.as_str(), *group));
            groups.chain([("all", found.all)])
        })
    }

    /// How many interleaved rounds the medians are of.
    pub(crate) fn rounds(&mut self, rounds: u32) {
        self.rounds = rounds;
    }

    /// The ratio of two medians; nothing when one of them was not measured.
    pub(crate) fn ratio(&mut self, name: &str, of: &str, to: &str) {
        if let (Some(of), Some(to)) = (self.figures.get(of), self.figures.get(to)) {
            self.ratios.insert(name.to_owned(), of.median / to.median);
        }
    }

    /// Throughput with so many lanes, as a share of so many times the throughput with one.
    pub(crate) fn scaling(&mut self, lanes: u32) {
        let median = |lanes| self.figures.get(&format!("lanes{lanes}_tcp_gbps")).map(Figure::median);
        if let (Some(many), Some(one)) = (median(lanes), median(1)) {
            self.ratios
                .insert(format!("scaling_{lanes}"), many / f64::from(lanes) / one);
        }
    }

    /// Compares a median, or a ratio, with an upper bound. A missed aim does not make the run a failure: machines are noisy.
    pub(crate) fn aim_below(&mut self, name: &str, bound: f64) {
        if let Some(got) = self.value(name) {
            self.target(name, format!("<= {bound}"), got, got <= bound);
        }
    }

    /// Compares the p99 of a distribution with an upper bound.
    pub(crate) fn aim_p99_below(&mut self, name: &str, bound: f64) {
        let tail = self.figures.get(name).and_then(|figure| figure.tail.as_ref());
        if let Some(got) = tail.map(|tail| tail.p99) {
            self.target(&format!("{name}.p99"), format!("<= {bound}"), got, got <= bound);
        }
    }

    /// Compares a median, or a ratio, with a lower bound.
    pub(crate) fn aim_above(&mut self, name: &str, bound: f64) {
        if let Some(got) = self.value(name) {
            self.target(name, format!(">= {bound}"), got, got >= bound);
        }
    }

    fn value(&self, name: &str) -> Option<f64> {
        let figure = self.figures.get(name).map(|figure| figure.median);
        figure.or_else(|| self.ratios.get(name).copied())
    }

    fn target(&mut self, name: &str, want: String, got: f64, met: bool) {
        let name = name.to_owned();
        self.targets.push(Target { name, want, got, met });
    }

    /// Figures, ratios and aims, for a person.
    pub(crate) fn print(&self) {
        for (name, figure) in &self.figures {
            let Figure {
                min,
                median,
                max,
                tail,
                unit,
            } = figure;
            let tail = tail.as_ref().map_or_else(String::new, |tail| {
                format!("  p50 {:.3}  p99 {:.3}", tail.p50, tail.p99)
            });
            println!("  {name:40} {median:>12.3} {unit:8} ({min:.3} to {max:.3}){tail}");
        }
        for (name, ratio) in &self.ratios {
            println!("  {name:40} {ratio:>12.2}");
        }
        for target in &self.targets {
            let verdict = if target.met { "met" } else { "missed" };
            println!("  {verdict:6} {} {}: {:.3}", target.name, target.want, target.got);
        }
        for step in self.steps.iter().filter(|step| !step.ok) {
            println!("  not measured: {}: {}", step.name, step.detail);
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

    #[test]
    fn a_distribution_has_percentiles_and_ratios_are_of_medians() {
        let mut report = Report::new("test");
        report.rounds(2);
        let samples: Vec<f64> = (1..=200).map(f64::from).collect();
        report.distribution("ours_ms", "ms", &samples);
        report.figure("peer_ms", "ms", &[202.0]);
        report.ratio("ours_vs_peer", "ours_ms", "peer_ms");
        report.ratio("ours_vs_nobody", "ours_ms", "nobody_ms");
        report.aim_below("ours_vs_peer", 0.4);
        report.aim_above("ours_ms", 100.0);
        report.aim_above("ours_vs_nobody", 1.0);
        report.aim_p99_below("ours_ms", 198.0);
        report.aim_p99_below("peer_ms", 1.0);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["rounds"], 2);
        let ours = &json["figures"]["ours_ms"];
        assert_eq!(
            (&ours["p50"], &ours["p99"], &ours["max"]),
            (&100.0.into(), &198.0.into(), &200.0.into())
        );
        assert_eq!(json["ratios"], serde_json::json!({"ours_vs_peer": 0.5}));
        let met: Vec<_> = report.targets.iter().map(|target| target.met).collect();
        assert_eq!(met, [false, true, true]);
    }
}

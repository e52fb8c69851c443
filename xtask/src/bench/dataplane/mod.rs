//! `cargo xtask bench dataplane`: who carries how much, over the same links, in turns.
//!
//! In each round every engine is started afresh, measured in every profile, and ended, so that a change of the machine's mood
//! meets all of them. Profiles: `veth`, local traffic over links with every offload; `nic`, the same without segmentation on
//! sending; `fwd`, traffic that the gateways forward. Figures are named as in the first line of the table; those of `nic` and
//! `fwd` have that before their name.

pub(crate) mod engine;
pub(crate) mod ground;
pub(crate) mod load;
mod plot;
pub(crate) mod tools;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::report::{Report, Step};
use crate::repository;
use engine::{Engine, Keys, Pair};
use ground::{Ground, Place};

/// Measures the data plane beside its peers.
#[derive(Debug, Args)]
pub(crate) struct Dataplane {
    /// How often every engine has its turn
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds of each load
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Only these loads
    #[arg(long, value_delimiter = ',')]
    only: Vec<Measurement>,
    /// Only these engines
    #[arg(long, value_delimiter = ',', default_value = "plain,ours,wireguard_go,boringtun_cli")]
    engines: Vec<Engine>,
    /// Only these profiles
    #[arg(long, value_delimiter = ',', default_value = "veth,nic,fwd")]
    profiles: Vec<Profile>,
    /// Lanes of our engine, if it is not to choose
    #[arg(long)]
    lanes: Option<u32>,
    /// Draw the throughput to this file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Veth,
    Nic,
    Fwd,
}

/// What is measured in one go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Measurement {
    Tcp1,
    Tcp4,
    Tcp8,
    Bidir,
    Udp64,
    Udp200,
    RttIdle,
    RttLoad,
}

impl Profile {
    fn prefix(self) -> &'static str {
        match self {
            Self::Veth => "",
            Self::Nic => "nic_",
            Self::Fwd => "fwd_",
        }
    }

    fn ends(self) -> [Place; 2] {
        match self {
            Self::Veth | Self::Nic => [Place::West, Place::East],
            Self::Fwd => [Place::Client, Place::Server],
        }
    }
}

impl Dataplane {
    pub(crate) fn run(self) -> anyhow::Result<Report> {
        let mut report = Report::new("bench dataplane");
        report.rounds(self.rounds);
        let ours = Engine::Ours.program().context("cannot build our own engine")?;
        let engines = self.find_engines(&mut report, &ours);
        let ground = Ground::build()?;
        let folder = repository::target_directory().join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let keys = Keys::make(&folder, &ours)?;
        let servers: Vec<_> = [Place::East, Place::Server]
            .into_iter()
            .map(|place| load::serve(&ground, place))
            .collect::<anyhow::Result<_>>()?;
        let ethtool = self.find_ethtool(&mut report);
        report.ok = true;
        for round in 1..=self.rounds {
            for (engine, program) in &engines {
                let begin = Instant::now();
                let turn = Turn {
                    bench: &self,
                    ground: &ground,
                    engine: *engine,
                    ethtool: ethtool.as_deref(),
                };
                let result = Pair::start(&ground, *engine, program, &keys, self.lanes)
                    .and_then(|pair| turn.measure(&pair, &mut report));
                let name = format!("round {round}, {}", engine.name());
                match result {
                    Ok(()) => report.steps.push(Step {
                        name,
                        ok: true,
                        millis: u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX),
                        detail: String::new(),
                    }),
                    Err(error) => {
                        report.not_measured(&name, format!("{error:#}"));
                        report.ok = false;
                    }
                }
            }
        }
        drop(servers);
        fs::remove_dir_all(&folder)?;
        compare(&mut report);
        if let Some(path) = &self.plot {
            fs::write(path, plot::throughput(&report)).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(report)
    }

    fn find_engines(&self, report: &mut Report, ours: &str) -> Vec<(Engine, String)> {
        let mut found = Vec::new();
        for engine in &self.engines {
            let program = if *engine == Engine::Ours {
                Ok(ours.to_owned())
            } else {
                engine.program()
            };
            match program {
                Ok(program) => found.push((*engine, program)),
                Err(error) => report.not_measured(engine.name(), format!("{error:#}")),
            }
        }
        found
    }

    fn find_ethtool(&self, report: &mut Report) -> Option<String> {
        if !self.profiles.contains(&Profile::Nic) {
            return None;
        }
        tools::ethtool()
            .map_err(|error| report.not_measured("nic profile", format!("ethtool cannot be had: {error:#}")))
            .ok()
    }

    fn wants(&self, load: Measurement) -> bool {
        self.only.is_empty() || self.only.contains(&load)
    }
}

/// One engine's turn in one round.
struct Turn<'a> {
    bench: &'a Dataplane,
    ground: &'a Ground,
    engine: Engine,
    ethtool: Option<&'a str>,
}

impl Turn<'_> {
    fn measure(&self, pair: &Pair, report: &mut Report) -> anyhow::Result<()> {
        for profile in &self.bench.profiles {
            match (profile, self.ethtool) {
                (Profile::Nic, None) => continue,
                (Profile::Nic, Some(ethtool)) => {
                    self.ground.set_offloads(ethtool, false)?;
                    let result = self.measure_profile(*profile, pair, report);
                    self.ground.set_offloads(ethtool, true)?;
                    result?;
                }
                _ => self.measure_profile(*profile, pair, report)?,
            }
        }
        if let Some(peak) = pair.peak_rss_mb()? {
            report.figure(&format!("{}.rss_mb", self.engine.name()), "MB", &[peak]);
        }
        Ok(())
    }

    fn measure_profile(&self, profile: Profile, pair: &Pair, report: &mut Report) -> anyhow::Result<()> {
        let length = Duration::from_secs(self.bench.seconds.into());
        let figure = |name: &str| format!("{}.{}{name}", self.engine.name(), profile.prefix());
        if self.bench.wants(Measurement::RttIdle) {
            for (name, pause) in [("rtt_idle", load::PAUSE), ("rtt_back_to_back", Duration::ZERO)] {
                let samples = load::round_trips(self.ground, profile.ends(), length, pause)?;
                percentiles(report, &figure(name), samples);
            }
        }
        for (load, name, flags) in THROUGHPUT {
            if !self.bench.wants(load) {
                continue;
            }
            let before = pair.cpu_seconds()?;
            let outcome = load::iperf(self.ground, profile.ends(), flags, self.bench.seconds)?;
            let used = pair.cpu_seconds()? - before;
            report.figure(
                &figure(&format!("{name}_gbps")),
                "Gbit/s",
                &[outcome.bits_per_second / 1e9],
            );
            if load == Measurement::Tcp1 && self.engine != Engine::Plain && outcome.bytes > 0.0 {
                report.figure(&figure("cpu_s_per_gb"), "s/GB", &[used / (outcome.bytes / 1e9)]);
            }
        }
        for (load, name, size) in [
            (Measurement::Udp64, "udp64_pps", "64"),
            (Measurement::Udp200, "udp200_pps", "200"),
        ] {
            if self.bench.wants(load) {
                let flags = ["-u", "-b", "0", "-l", size];
                let outcome = load::iperf(self.ground, profile.ends(), &flags, self.bench.seconds)?;
                report.figure(&figure(name), "1/s", &[outcome.packets_per_second]);
            }
        }
        if self.bench.wants(Measurement::RttLoad) {
            // The load lasts a second longer, so that every round trip is under it.
            let (samples, outcome) = std::thread::scope(|scope| {
                let busy = scope.spawn(|| load::iperf(self.ground, profile.ends(), &[], self.bench.seconds + 1));
                let samples = load::round_trips(self.ground, profile.ends(), length, load::PAUSE);
                (samples, busy.join().expect("a load does not panic"))
            });
            outcome?;
            percentiles(report, &figure("rtt_load"), samples?);
        }
        Ok(())
    }
}

/// A round's p50 and p99 are one sample each; the round trips of all rounds together are a figure of their own.
fn percentiles(report: &mut Report, name: &str, mut samples: Vec<f64>) {
    report.distribution(&format!("{name}_us"), "us", &samples);
    samples.sort_by(f64::total_cmp);
    for (percent, suffix) in [(50, "p50_us"), (99, "p99_us")] {
        let rank = (samples.len() * percent).div_ceil(100).saturating_sub(1);
        if let Some(sample) = samples.get(rank) {
            report.figure(&format!("{name}_{suffix}"), "us", &[*sample]);
        }
    }
}

fn compare(report: &mut Report) {
    for (name, figure) in [
        ("tcp1", "tcp1_gbps"),
        ("tcp8", "tcp8_gbps"),
        ("udp64", "udp64_pps"),
        ("cpu", "cpu_s_per_gb"),
        ("rtt_idle", "rtt_idle_p50_us"),
        ("rtt_back_to_back", "rtt_back_to_back_p50_us"),
        ("rtt_load", "rtt_load_p50_us"),
        ("nic_tcp1", "nic_tcp1_gbps"),
        ("fwd_tcp1", "fwd_tcp1_gbps"),
    ] {
        for peer in ["wireguard_go", "boringtun_cli", "plain"] {
            report.ratio(
                &format!("{name}_vs_{peer}"),
                &format!("ours.{figure}"),
                &format!("{peer}.{figure}"),
            );
        }
    }
    for (name, bound) in [
        ("tcp1_vs_wireguard_go", 1.9),
        ("tcp8_vs_wireguard_go", 2.4),
        ("udp64_vs_wireguard_go", 2.5),
        ("nic_tcp1_vs_wireguard_go", 1.7),
        ("tcp1_vs_boringtun_cli", 9.0),
    ] {
        report.aim_above(name, bound);
    }
    for (name, bound) in [
        ("cpu_vs_wireguard_go", 0.5),
        ("rtt_idle_vs_wireguard_go", 0.4),
        ("rtt_load_vs_wireguard_go", 0.5),
        ("ours.rss_mb", 15.0),
    ] {
        report.aim_below(name, bound);
    }
}

/// iperf3's flags for each load of TCP.
const THROUGHPUT: [(Measurement, &str, &[&str]); 4] = [
    (Measurement::Tcp1, "tcp1", &[]),
    (Measurement::Tcp4, "tcp4", &["-P", "4"]),
    (Measurement::Tcp8, "tcp8", &["-P", "8"]),
    (Measurement::Bidir, "bidir", &["--bidir"]),
];

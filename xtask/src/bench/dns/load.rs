//! dnsperf, and what it says.

use std::io::{Read, Seek};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::server;

/// What was answered under full load.
#[derive(Debug, PartialEq)]
pub(super) struct Full {
    pub(super) per_second: f64,
    pub(super) answered: f64,
}

/// Microseconds from a query to its answer.
#[derive(Debug, PartialEq)]
pub(super) struct Latencies {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// Installs dnsperf, if it is missing.
pub(super) fn require() -> anyhow::Result<()> {
    if !Path::new("/usr/bin/dnsperf").exists() {
        server::install("dnsperf")?;
    }
    Ok(())
}

/// Many clients with many queries under way.
pub(super) fn as_fast_as_it_goes(port: u16, queries: &Path, seconds: u32) -> anyhow::Result<Full> {
    full(&dnsperf(port, queries, seconds, &["-c", "16", "-q", "500"])?)
}

/// 10,000 queries a second, whether or not answers come: a server that stops for a while is seen.
pub(super) fn at_a_steady_rate(port: u16, queries: &Path, seconds: u32) -> anyhow::Result<Latencies> {
    latencies(&dnsperf(
        port,
        queries,
        seconds,
        &["-c", "4", "-q", "10000", "-Q", "10000", "-v"],
    )?)
}

fn dnsperf(port: u16, queries: &Path, seconds: u32, options: &[&str]) -> anyhow::Result<String> {
    // To a file, because who reads a pipe takes its time from one of the two cores, a line for each answer.
    let mut output = tempfile::tempfile().context("cannot make a file for what dnsperf says")?;
    let ended = Command::new("taskset")
        .args(["-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", &port.to_string(), "-d"])
        .arg(queries)
        .args(["-l", &seconds.to_string(), "-t", "2"])
        .args(options)
        .stdout(output.try_clone().context("cannot share a file with dnsperf")?)
        .status()
        .context("cannot run dnsperf")?;
    ensure!(ended.success(), "dnsperf failed; it says why above");
    let mut text = String::new();
    output.rewind()?;
    output
        .read_to_string(&mut text)
        .context("cannot read what dnsperf said")?;
    Ok(text)
}

fn full(text: &str) -> anyhow::Result<Full> {
    let number = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        let word = line.and_then(|line| line.split_whitespace().next());
        let number: Option<f64> = word.and_then(|word| word.parse().ok());
        number.with_context(|| format!("dnsperf does not say \"{label}\": {text}"))
    };
    let answered = number("Queries completed:")?;
    let codes = text
        .lines()
        .find(|line| line.contains("Response codes:"))
        .unwrap_or_default();
    ensure!(
        codes.contains("NOERROR") && !codes.contains(','),
        "not everything was answered well: {codes}"
    );
    Ok(Full {
        per_second: number("Queries per second:")?,
        answered,
    })
}

fn latencies(text: &str) -> anyhow::Result<Latencies> {
    // > NOERROR service-1.shop.svc.clusterset.local A 0.000042
    let lines = text.lines().filter_map(|line| line.strip_prefix("> NOERROR "));
    let seconds = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    let mut all: Vec<f64> = seconds.map(|seconds| seconds * 1e6).collect();
    ensure!(all.len() >= 100, "dnsperf reports {} answers only", all.len());
    all.sort_by(f64::total_cmp);
    let rank = |percent: usize| all[(all.len() * percent).div_ceil(100) - 1];
    Ok(Latencies {
        p50: rank(50),
        p99: rank(99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dnsperf_says_is_read() {
        let text = "Statistics:\n\n  Queries sent:         1000\n  Queries completed:    990 (99.00%)\n  Queries lost:         10 (1.00%)\n\n  \
                    Response codes:       NOERROR 990 (100.00%)\n  Run time (s):         0.5\n  Queries per second:   1980.000000\n";
        let expected = Full {
            per_second: 1980.0,
            answered: 990.0,
        };
        assert_eq!(full(text).unwrap(), expected);
        assert!(full(&text.replace("(100.00%)", "(50.00%), NXDOMAIN 495 (50.00%)")).is_err());
        assert!(full("").is_err());
    }

    #[test]
    fn latencies_are_of_every_answer() {
        let line = |number: u32| format!("> NOERROR service-{number}.shop.svc.clusterset.local A 0.{number:06}\n");
        let text: String = (1..=100).rev().map(line).collect();
        assert_eq!(latencies(&text).unwrap(), Latencies { p50: 50.0, p99: 99.0 });
        assert!(latencies("> NOERROR a A 0.000001\n").is_err());
    }
}

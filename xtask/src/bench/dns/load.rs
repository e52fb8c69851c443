//! Those who ask, and what they say: kxdpgun as fast as a server can answer, dnsperf at a steady rate.

use std::io::{Read, Seek};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::server::{self, ADDRESS, PORT};
use crate::bench::dataplane::ground::{Ground, Place};

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

/// Installs what asks, if it is missing.
pub(super) fn require() -> anyhow::Result<()> {
    for (program, package) in [("/usr/bin/dnsperf", "dnsperf"), (KXDPGUN, "knot-dnsutils")] {
        if !Path::new(program).exists() {
            server::install(package)?;
        }
    }
    Ok(())
}

/// More queries a second than it can answer. A query costs dnsperf as much as it costs a server, so that it would be the slower one;
/// kxdpgun passes the network stack by.
pub(super) fn as_fast_as_it_goes(ground: &Ground, queries: &Path, seconds: u32, offered: u32) -> anyhow::Result<Full> {
    // It pins its only thread, that of the only queue of a veth, itself.
    let options = format!("-F 1 -t {seconds} -Q {offered} -b 32 -p {PORT} -I wan-e -i");
    let mut command = ground.command(Place::West, KXDPGUN, &[]);
    command.args(options.split_whitespace()).arg(queries).arg(ADDRESS);
    let text = output_of(&mut command, "kxdpgun")?;
    full(&text, seconds)
}

/// 10,000 queries a second, whether or not answers come: a server that stops for a while is seen.
pub(super) fn at_a_steady_rate(ground: &Ground, queries: &Path, seconds: u32) -> anyhow::Result<Latencies> {
    let options = format!("-s {ADDRESS} -p {PORT} -l {seconds} -t 2 -c 4 -q 10000 -Q 10000 -v -d");
    let mut command = ground.command(Place::West, "taskset", &["-c", "1", "dnsperf"]);
    command.args(options.split_whitespace()).arg(queries);
    latencies(&output_of(&mut command, "dnsperf")?)
}

/// By a file, because who reads a pipe takes its time from one of the two cores, a line for each answer.
fn output_of(command: &mut Command, name: &str) -> anyhow::Result<String> {
    let mut output = tempfile::tempfile().with_context(|| format!("cannot make a file for what {name} says"))?;
    let share = || {
        output
            .try_clone()
            .with_context(|| format!("cannot share a file with {name}"))
    };
    let ended = command.stdout(share()?).stderr(share()?).status();
    let ended = ended.with_context(|| format!("cannot run {name}"))?;
    let mut text = String::new();
    output.rewind()?;
    output
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read what {name} said"))?;
    ensure!(ended.success(), "{name} failed: {text}");
    Ok(text)
}

fn full(text: &str, seconds: u32) -> anyhow::Result<Full> {
    let number = |label: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
        let word = line.and_then(|line| line.split_whitespace().next());
        let number: Option<f64> = word.and_then(|word| word.parse().ok());
        number.with_context(|| format!("kxdpgun does not say \"{label}\": {text}"))
    };
    let (sent, answered) = (number("total queries:")?, number("total replies:")?);
    let well = number("responded NOERROR:")?;
    ensure!(well == answered, "not everything was answered well: {text}");
    ensure!(
        answered < sent * 0.95,
        "{answered} of {sent} queries were answered: ask for more of them with --offered"
    );
    Ok(Full {
        per_second: answered / f64::from(seconds),
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

const KXDPGUN: &str = "/usr/sbin/kxdpgun";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kxdpgun_says_is_read() {
        let text = "using interface wan-e, XDP threads 1, UDP, native mode\nthread#00: sent 1200, received 600\n\
                    total queries:     1200 (400 pps)\ntotal replies:     600 (200 pps) (50%)\naverage DNS reply size: 75 B\n\
                    responded NOERROR:   600\nduration: 3 s\n";
        let expected = Full {
            per_second: 200.0,
            answered: 600.0,
        };
        assert_eq!(full(text, 3).unwrap(), expected);
        assert!(full(&text.replace("NOERROR:   600", "NOERROR:   599"), 3).is_err());
        let error = full(&text.replace("600", "1199"), 3).unwrap_err().to_string();
        assert!(error.contains("--offered"), "{error}");
        assert!(full("", 3).is_err());
    }

    #[test]
    fn latencies_are_of_every_answer() {
        let line = |number: u32| format!("> NOERROR service-{number}.shop.svc.clusterset.local A 0.{number:06}\n");
        let text: String = (1..=100).rev().map(line).collect();
        assert_eq!(latencies(&text).unwrap(), Latencies { p50: 50.0, p99: 99.0 });
        assert!(latencies("> NOERROR a A 0.000001\n").is_err());
    }
}

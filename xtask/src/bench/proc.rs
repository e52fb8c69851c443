//! What the kernel says of processes and cores (proc(5)).

use std::fs;

use anyhow::Context;

/// User and system time of a process.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid} has ended"))?;
    // The name in parentheses may hold anything; fields 14 and 15 count from behind it.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// The most memory that a process has had resident, in 10^6 bytes.
pub(crate) fn peak_rss_mb(pid: u32) -> anyhow::Result<f64> {
    let status =
        fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid} has ended"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak
        .and_then(|peak| peak.split_whitespace().next())
        .context("no VmHWM")?
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}

/// Seconds for which the cores of this machine have been busy since it started, all together.
pub(crate) fn busy_seconds() -> anyhow::Result<f64> {
    let ticks = busy_ticks(&fs::read_to_string("/proc/stat")?);
    let ticks = ticks.context("/proc/stat has no line of all cores")?;
    Ok(ticks as f64 / TICKS_PER_SECOND)
}

/// Of the line `cpu  USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ …` what is not idle, waiting, or taken by other guests (proc_stat(5)).
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, irq, softirq, ..] = ticks[..] else {
        return None;
    };
    Some(user + nice + system + irq + softirq)
}

/// `USER_HZ`, which is 100 on every architecture that Linux runs containers on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticks_of_all_cores_are_read() {
        assert_eq!(busy_ticks("cpu  10 20 30 1000 2000 40 50 60 0 0\ncpu0 1 1"), Some(150));
        assert_eq!(busy_ticks("cpu0 1 2 3 4 5 6 7"), None);
        assert_eq!(busy_ticks(""), None);
    }
}

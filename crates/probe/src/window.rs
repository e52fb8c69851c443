use std::collections::VecDeque;
use std::time::{Duration, Instant};

use model::Rtt;

use crate::rtt::MAX_PATIENCE;

/// Round-trip times over the last probes, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RttSummary {
    /// Latest.
    pub last_us: u32,
    /// Shortest.
    pub min_us: u32,
    /// Median.
    pub p50_us: u32,
    /// 95th percentile.
    pub p95_us: u32,
    /// 99th percentile.
    pub p99_us: u32,
    /// Longest.
    pub max_us: u32,
}

impl From<RttSummary> for Rtt {
    fn from(summary: RttSummary) -> Self {
        Self {
            last_us: summary.last_us,
            p50_us: summary.p50_us,
            p95_us: summary.p95_us,
            p99_us: summary.p99_us,
        }
    }
}

/// The last probes that were sent, and which of them were answered. Their numbers follow each other.
#[derive(Debug, Default)]
pub(crate) struct Window {
    probes: VecDeque<Probe>,
}

#[derive(Debug)]
struct Probe {
    sequence: u32,
    sent: Instant,
    rtt: Option<Duration>,
}

impl Window {
    pub(crate) fn record_request(&mut self, sequence: u32, now: Instant) {
        if self.probes.len() == CAPACITY {
            self.probes.pop_front();
        }
        self.probes.push_back(Probe {
            sequence,
            sent: now,
            rtt: None,
        });
    }

    /// The time that the round trip took, if the answer is the first to a probe of the window.
    pub(crate) fn record_reply(&mut self, sequence: u32, now: Instant) -> Option<Duration> {
        let first = self.probes.front()?.sequence;
        let probe = self.probes.get_mut(sequence.wrapping_sub(first) as usize)?;
        if probe.rtt.is_some() {
            return None;
        }
        let rtt = now.saturating_duration_since(probe.sent);
        probe.rtt = Some(rtt);
        Some(rtt)
    }

    /// Forgets all probes before this one, so that loss and times are those of the path since it came up.
    pub(crate) fn forget_before(&mut self, sequence: u32) {
        while self.probes.front().is_some_and(|probe| probe.sequence != sequence) {
            self.probes.pop_front();
        }
    }

    /// When the latest probes without an answer were sent, the latest first, back to `since`.
    pub(crate) fn unanswered_since(&self, since: Option<Instant>) -> impl Iterator<Item = Instant> {
        let latest = self.probes.iter().rev();
        let young = latest.take_while(move |probe| since.is_none_or(|since| probe.sent > since));
        young.filter(|probe| probe.rtt.is_none()).map(|probe| probe.sent)
    }

    pub(crate) fn rtt(&self) -> Option<RttSummary> {
        let last = self.probes.iter().rev().find_map(|probe| probe.rtt)?;
        let mut sorted: Vec<u32> = self.probes.iter().filter_map(|probe| probe.rtt).map(micros).collect();
        sorted.sort_unstable();
        // `last` is one of them, so there is at least one.
        let at = |percent: usize| sorted[(sorted.len() - 1) * percent / 100];
        Some(RttSummary {
            last_us: micros(last),
            min_us: at(0),
            p50_us: at(50),
            p95_us: at(95),
            p99_us: at(99),
            max_us: at(100),
        })
    }

    /// Lost probes in percent, of those whose fate is known.
    pub(crate) fn loss_percent(&self, now: Instant) -> Option<f64> {
        let answered = self.probes.iter().filter(|probe| probe.rtt.is_some()).count();
        let lost = self.probes.iter().filter(|probe| probe.is_lost(now)).count();
        let known = answered + lost;
        (known > 0).then(|| lost as f64 * 100.0 / known as f64)
    }
}

impl Probe {
    fn is_lost(&self, now: Instant) -> bool {
        self.rtt.is_none() && now.saturating_duration_since(self.sent) >= MAX_PATIENCE
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

const CAPACITY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_loss_are_those_of_the_last_probes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut window = Window::default();
        assert_eq!((window.rtt(), window.loss_percent(start)), (None, None));
        // Four hundred probes of which the first 144 fall out of the window; every fourth stays unanswered.
        for n in 0..400u32 {
            window.record_request(n, at(u64::from(n) * 10));
            if n % 4 != 0 {
                assert!(window.record_reply(n, at(u64::from(n) * 11)).is_some());
            }
        }
        let summary = window.rtt().unwrap();
        assert_eq!(
            (summary.min_us, summary.max_us, summary.last_us),
            (145_000, 399_000, 399_000)
        );
        assert_eq!((summary.p50_us, summary.p95_us), (271_000, 386_000));
        assert_eq!(window.loss_percent(at(9000)), Some(25.0));
    }

    #[test]
    fn an_answer_counts_once_and_only_to_a_question() {
        let now = Instant::now();
        let mut window = Window::default();
        assert_eq!(window.record_reply(7, now), None);
        window.record_request(7, now);
        assert_eq!((window.record_reply(8, now), window.record_reply(6, now)), (None, None));
        assert!(window.record_reply(7, now).is_some());
        assert_eq!(window.record_reply(7, now), None);
    }

    #[test]
    fn a_young_probe_is_not_lost_yet() {
        let now = Instant::now();
        let mut window = Window::default();
        window.record_request(1, now);
        assert_eq!(window.loss_percent(now + MAX_PATIENCE / 2), None);
        assert_eq!(window.loss_percent(now + MAX_PATIENCE), Some(100.0));
    }
}

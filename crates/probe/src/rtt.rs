use std::time::Duration;

/// Smoothed round-trip time and its variation (RFC 6298 §2), and how long an answer may take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RttEstimate {
    smoothed: Option<(Duration, Duration)>,
    /// All there is, is of probes that may have waited for the path.
    is_preliminary: bool,
}

impl RttEstimate {
    pub(crate) fn take(&mut self, sample: Duration) {
        let is_preliminary = std::mem::take(&mut self.is_preliminary);
        self.smoothed = Some(match self.smoothed.filter(|_| !is_preliminary) {
            None => (sample, sample / 2),
            Some((rtt, variation)) => ((rtt * 7 + sample) / 8, (variation * 3 + rtt.abs_diff(sample)) / 4),
        });
    }

    /// The answer to a probe that was sent before the path was up. The kernel keeps packets until it knows the neighbour, and a session
    /// until its handshake is through, so that the latest of them comes nearest the truth.
    pub(crate) fn take_early(&mut self, sample: Duration) {
        self.smoothed = Some((sample, sample / 2));
        self.is_preliminary = true;
    }

    /// When a probe without an answer is missed: the round-trip time and four times its variation.
    pub(crate) fn patience(&self) -> Duration {
        let patience = match self.smoothed {
            None => UNKNOWN,
            Some((rtt, variation)) => rtt + (variation * 4).max(MARGIN),
        };
        patience.min(MAX_PATIENCE)
    }
}

/// Before anything was measured (RFC 6298 §2.1).
const UNKNOWN: Duration = Duration::from_secs(1);
/// A busy machine takes as long to let a process have its turn.
const MARGIN: Duration = Duration::from_millis(40);
/// An answer later than this says nothing about now.
pub(crate) const MAX_PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_the_path() {
        let mut rtt = RttEstimate::default();
        assert_eq!(rtt.patience(), UNKNOWN);
        for _ in 0..50 {
            rtt.take(Duration::from_millis(600));
        }
        let patience = rtt.patience().as_millis();
        assert!((640..=650).contains(&patience), "{patience} ms");
        rtt.take(Duration::from_secs(60));
        assert_eq!(rtt.patience(), MAX_PATIENCE);
    }

    #[test]
    fn a_path_that_had_to_be_waited_for_is_not_taken_for_slow() {
        let mut rtt = RttEstimate::default();
        let ms = Duration::from_millis;
        for waited in [2000, 1750, 1500] {
            rtt.take_early(ms(waited));
        }
        assert_eq!(rtt.patience(), MAX_PATIENCE, "it may be slow, as far as is known");
        rtt.take(ms(1));
        assert!(rtt.patience() <= ms(1) + MARGIN);
    }
}

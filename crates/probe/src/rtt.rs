use std::time::Duration;

/// Smoothed round-trip time and its variation (RFC 6298 §2), and how long an answer may take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RttEstimate {
    smoothed: Option<(Duration, Duration)>,
}

impl RttEstimate {
    pub(crate) fn take(&mut self, sample: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (sample, sample / 2),
            Some((rtt, variation)) => ((rtt * 7 + sample) / 8, (variation * 3 + rtt.abs_diff(sample)) / 4),
        });
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
}

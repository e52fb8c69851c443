use std::time::Duration;

/// How often one path is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two probes of a path that is up.
    pub every: Duration,
    /// Between two confirmations of a suspicion.
    pub confirm_every: Duration,
    /// Between two probes of full size.
    pub full_every: Duration,
}

impl Pace {
    /// A path that carries traffic.
    pub const ACTIVE: Self = Self {
        every: Duration::from_millis(100),
        confirm_every: Duration::from_millis(20),
        full_every: Duration::from_secs(1),
    };
    /// A path that is kept ready.
    pub const STANDBY: Self = Self {
        every: Duration::from_secs(1),
        confirm_every: Duration::from_millis(20),
        full_every: Duration::from_secs(10),
    };

    /// The pace of one path, active or not, of an end that probes so many of each: stretched evenly, so that all paths together
    /// stay below [`MAX_PROBES_PER_SECOND`].
    pub fn of(is_active: bool, active: usize, standby: usize) -> Self {
        let pace = if is_active { Self::ACTIVE } else { Self::STANDBY };
        let load =
            Self::ACTIVE.probes_per_second() * active as f64 + Self::STANDBY.probes_per_second() * standby as f64;
        pace.stretched((load / MAX_PROBES_PER_SECOND).max(1.0))
    }

    fn probes_per_second(self) -> f64 {
        1.0 / self.every.as_secs_f64() + 1.0 / self.full_every.as_secs_f64()
    }

    fn stretched(self, factor: f64) -> Self {
        Self {
            every: self.every.mul_f64(factor),
            confirm_every: self.confirm_every.mul_f64(factor),
            full_every: self.full_every.mul_f64(factor),
        }
    }
}

/// What one end sends at most while its paths are up.
pub const MAX_PROBES_PER_SECOND: f64 = 2000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_few_paths_are_probed_at_full_pace() {
        assert_eq!(Pace::of(true, 50, 200), Pace::ACTIVE);
        assert_eq!(Pace::of(false, 1, 1800), Pace::STANDBY);
    }

    proptest! {
        #[test]
        fn the_rate_is_bounded(active in 0usize..2000, standby in 0usize..2000) {
            let rate = |is_active, count: usize| Pace::of(is_active, active, standby).probes_per_second() * count as f64;
            prop_assert!(rate(true, active) + rate(false, standby) <= MAX_PROBES_PER_SECOND + 1e-6);
        }
    }
}

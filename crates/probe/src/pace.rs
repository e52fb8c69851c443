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
        full_every: Duration::from_millis(500),
    };
    /// A path that is kept ready.
    pub const STANDBY: Self = Self {
        every: Duration::from_secs(1),
        confirm_every: Duration::from_millis(20),
        full_every: Duration::from_secs(10),
    };

    /// A path beside others that can take its flows.
    const LANE: Self = Self {
        every: Duration::from_millis(400),
        confirm_every: Duration::from_millis(20),
        full_every: Duration::from_secs(1),
    };

    /// The pace of one path, active or not, of an end that probes so many of each: stretched evenly, so that all paths together
    /// stay below [`MAX_PROBES_PER_SECOND`].
    pub fn of(is_active: bool, active: usize, standby: usize) -> Self {
        let pace = if is_active { Self::ACTIVE } else { Self::STANDBY };
        let load =
            Self::ACTIVE.probes_per_second() * active as f64 + Self::STANDBY.probes_per_second() * standby as f64;
        pace.stretched((load / MAX_PROBES_PER_SECOND).max(1.0))
    }

    /// The pace of a further lane of a cable that carries traffic: its flows have the first lane to go to, so it may take a second to
    /// find that it is dead. `all` is what [`Self::of`] counts as standby where lanes count each for itself.
    pub fn lane(all: usize) -> Self {
        let load = Self::LANE.probes_per_second() * all as f64;
        Self::LANE.stretched((load / MAX_PROBES_PER_SECOND).max(1.0))
    }

    /// The pace of one deep path, by a gateway in use or by a standby, of an end that has so many of each. They share
    /// [`MAX_DEEP_PROBES_PER_SECOND`]. Sizes are tried both ways.
    pub fn deep(is_used: bool, used: usize, standby: usize) -> Self {
        let pace = if is_used { Self::ACTIVE } else { Self::STANDBY };
        let load =
            Self::ACTIVE.both_ways_per_second() * used as f64 + Self::STANDBY.both_ways_per_second() * standby as f64;
        pace.stretched((load / MAX_DEEP_PROBES_PER_SECOND).max(1.0))
    }

    fn probes_per_second(self) -> f64 {
        1.0 / self.every.as_secs_f64() + 1.0 / self.full_every.as_secs_f64()
    }

    fn both_ways_per_second(self) -> f64 {
        self.probes_per_second() + 1.0 / self.full_every.as_secs_f64()
    }

    fn stretched(self, factor: f64) -> Self {
        Self {
            every: self.every.mul_f64(factor),
            confirm_every: self.confirm_every.mul_f64(factor),
            full_every: self.full_every.mul_f64(factor),
        }
    }
}

/// What one end sends at most to the other ends of its paths while they are up. With the deep probes that makes 2,000.
pub const MAX_PROBES_PER_SECOND: f64 = 1500.0;
/// What one end sends at most to what lies behind them.
pub const MAX_DEEP_PROBES_PER_SECOND: f64 = 500.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_few_paths_are_probed_at_full_pace() {
        assert_eq!(Pace::of(true, 50, 200), Pace::ACTIVE);
        assert_eq!(Pace::of(false, 1, 1350), Pace::STANDBY);
    }

    proptest! {
        #[test]
        fn the_rate_is_bounded(active in 0usize..2000, standby in 0usize..2000) {
            let rate = |is_active, count: usize| Pace::of(is_active, active, standby).probes_per_second() * count as f64;
            prop_assert!(rate(true, active) + rate(false, standby) <= MAX_PROBES_PER_SECOND + 1e-3);
            prop_assert!(Pace::lane(active).probes_per_second() * active as f64 <= MAX_PROBES_PER_SECOND + 1e-3);
            let deep = |is_used, count: usize| Pace::deep(is_used, active, standby).both_ways_per_second() * count as f64;
            prop_assert!(deep(true, active) + deep(false, standby) <= MAX_DEEP_PROBES_PER_SECOND + 1e-3);
        }
    }
}

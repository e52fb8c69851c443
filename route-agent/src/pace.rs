use std::time::Duration;

use tokio::time::Instant;

/// When the next round for a view may begin: a burst of exports is not worth a round for each, which would be most of what the node
/// does. Half a second of the rest that rounds call for may be owed, so that an endpoint that goes is gone at once: a round that comes
/// alone is not waited after when it took 55 ms at most, and less than before when it took up to 165.
#[derive(Debug)]
pub(crate) struct Pace {
    /// When nothing is owed any more.
    even: Instant,
}

impl Pace {
    pub(crate) fn new(now: Instant) -> Self {
        Self { even: now }
    }

    /// A round took this long.
    pub(crate) fn worked(&mut self, from: Instant, to: Instant) {
        let even = self.even.max(from) + (to - from) * (1 + REST);
        self.even = even.min(to + OWED + LONGEST_REST);
    }

    /// When the next may begin; in the past, if it may now.
    pub(crate) fn rested(&self) -> Instant {
        self.even - OWED
    }
}

/// In a row, rounds take one part of the time, and this many are left to others.
const REST: u32 = 9;
/// How much rest is owed before it is taken.
const OWED: Duration = Duration::from_millis(500);
/// As kube-proxy's `minSyncPeriod`.
const LONGEST_REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Rounds that begin as soon as they may, for so long: how many, and the longest rest.
    fn in_a_row(took: Duration, span: Duration) -> (u32, Duration) {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(start), start);
        let (mut count, mut longest) = (0, Duration::ZERO);
        while now < start + span {
            let done = now + took;
            pace.worked(now, done);
            now = pace.rested().max(done);
            longest = longest.max(now - done);
            count += 1;
        }
        (count, longest)
    }

    #[test]
    fn rounds_in_a_row_take_a_tenth_of_the_time() {
        for took in [ms(1), ms(10), ms(50), ms(100)] {
            let (count, longest) = in_a_row(took, ms(100_000));
            let share = took * count;
            assert!(share >= ms(10_000) && share <= ms(10_000) + OWED, "{took:?}: {share:?}");
            assert!(longest <= LONGEST_REST);
        }
        assert_eq!(in_a_row(ms(3_000), ms(40_000)), (10, LONGEST_REST));
    }

    #[test]
    fn one_that_comes_alone_is_not_waited_after() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for second in 0..10 {
            let from = start + ms(1_000) * second;
            assert!(pace.rested() <= from);
            pace.worked(from, from + ms(50));
            assert!(pace.rested() <= from + ms(50));
        }
    }

    #[test]
    fn rest_is_not_saved_up() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let from = start + ms(3_600_000);
        pace.worked(from, from + ms(100));
        assert_eq!(pace.rested(), from + ms(1_000) - OWED);
    }
}

use std::time::{Duration, Instant};

use crate::pace::Pace;

/// The search for the largest packet that a path takes whole (after RFC 8899, with rounds of several sizes at once).
#[derive(Debug)]
pub(crate) struct PathMtu {
    /// What the links at both ends allow.
    ceiling: u16,
    mtu: u16,
    phase: Phase,
    next_sequence: u32,
    pace: Pace,
    /// When a settled size is measured anew.
    measure_at: Instant,
    /// The latest time at which a packet of the size in use set out and arrived.
    passed_at: Option<Instant>,
}

#[derive(Debug)]
enum Phase {
    /// The path is down: nothing can be learned.
    Asleep,
    /// The size holds. It is checked now and then.
    Settled {
        check_at: Instant,
    },
    Searching(Round),
}

/// Some sizes, each tried a few times.
#[derive(Debug)]
struct Round {
    /// The largest that is known to pass, if any is.
    low: Option<u16>,
    /// The largest that may pass.
    high: u16,
    /// Ascending; the last is `high`.
    sizes: Vec<u16>,
    answered: Option<u16>,
    first_sequence: u32,
    started: Instant,
    /// Of `sizes`, the next of this try.
    next: usize,
    tries: u32,
    next_at: Instant,
}

impl PathMtu {
    pub(crate) fn new(ceiling: u16, pace: Pace, now: Instant) -> Self {
        Self {
            ceiling,
            mtu: ceiling,
            phase: Phase::Asleep,
            next_sequence: 0,
            pace,
            measure_at: now,
            passed_at: None,
        }
    }

    /// The size in use.
    pub(crate) fn mtu(&self) -> u16 {
        self.mtu
    }

    /// When a packet of this size set out and arrived, as far as is known; none if it has not since the path came up.
    pub(crate) fn passed_at(&self) -> Option<Instant> {
        self.passed_at
    }

    /// Whether it is less than the links at both ends allow.
    pub(crate) fn is_narrowed(&self) -> bool {
        self.mtu < self.ceiling
    }

    pub(crate) fn handle_pace(&mut self, pace: Pace, now: Instant) {
        self.pace = pace;
        if let Phase::Settled { check_at } = &mut self.phase {
            *check_at = (*check_at).min(now + pace.full_every);
        }
    }

    /// The links at the ends allow another size. More is believed when it was measured, less at once.
    pub(crate) fn handle_ceiling(&mut self, ceiling: u16, now: Instant) {
        if ceiling == self.ceiling {
            return;
        }
        let was_narrowed = self.is_narrowed();
        self.ceiling = ceiling;
        self.mtu = match &self.phase {
            Phase::Asleep if !was_narrowed => ceiling,
            _ => self.mtu.min(ceiling),
        };
        self.measure(now);
    }

    /// The path came up, or leads another way.
    pub(crate) fn handle_new_path(&mut self, now: Instant) {
        self.phase = Phase::Settled { check_at: now };
        self.measure(now);
    }

    /// The path is down; the size is kept.
    pub(crate) fn handle_down(&mut self) {
        self.passed_at = None;
        self.phase = Phase::Asleep;
    }

    /// The size in use may not pass (the kernel found a packet too large, or packets get lost): it is tried at once.
    pub(crate) fn handle_doubt(&mut self, now: Instant) {
        if let Phase::Settled { check_at } = &mut self.phase {
            *check_at = now;
        }
    }

    /// The next size to try, and the number of the probe.
    pub(crate) fn poll_probe(&mut self, patience: Duration, now: Instant) -> Option<(u32, u16)> {
        match self.phase {
            Phase::Settled { .. } if now >= self.measure_at && self.is_narrowed() => {
                self.measure_at = now + MEASURE_EVERY;
                self.phase = Phase::Searching(Round::single(Some(self.mtu), self.ceiling, self.next_sequence, now));
            }
            Phase::Settled { check_at } if now >= check_at => {
                self.phase = Phase::Searching(Round::single(None, self.mtu, self.next_sequence, now));
            }
            _ => {}
        }
        let Phase::Searching(round) = &mut self.phase else {
            return None;
        };
        let size = round.poll(patience, self.pace, now)?;
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        Some((sequence, size))
    }

    /// A probe of this size arrived at the other end. True if it changes the size in use.
    pub(crate) fn handle_reply(&mut self, sequence: u32, size: u16, now: Instant) -> bool {
        let Phase::Searching(round) = &mut self.phase else {
            return false;
        };
        let is_of_round =
            self.next_sequence.wrapping_sub(sequence) <= self.next_sequence.wrapping_sub(round.first_sequence);
        if !is_of_round || !round.sizes.contains(&size) {
            return false;
        }
        round.answered = round.answered.max(Some(size));
        if size == round.high {
            self.passed_at = Some(round.started);
            return self.settle(size, now);
        }
        false
    }

    /// Ends a round that has waited long enough for its answers. True if it changes the size in use.
    pub(crate) fn handle_timeout(&mut self, patience: Duration, now: Instant) -> bool {
        let Phase::Searching(round) = &self.phase else {
            return false;
        };
        if round.ends_at(patience).is_none_or(|at| now < at) {
            return false;
        }
        let low = round.answered.max(round.low);
        let first_lost = round.sizes.iter().copied().find(|size| Some(*size) > low);
        let high = first_lost.map_or(round.high, |size| size - 1);
        if low.is_none() && high < FLOOR {
            // Not even the smallest passed: this is about the path, not about sizes.
            return self.settle(self.mtu, now);
        }
        match low.filter(|low| high <= *low) {
            Some(found) => self.settle(found, now),
            None => {
                self.phase = Phase::Searching(Round::spread(low, high, self.next_sequence, now));
                false
            }
        }
    }

    pub(crate) fn poll_timeout(&self, patience: Duration) -> Option<Instant> {
        match &self.phase {
            Phase::Asleep => None,
            Phase::Settled { check_at } if self.is_narrowed() => Some((*check_at).min(self.measure_at)),
            Phase::Settled { check_at } => Some(*check_at),
            Phase::Searching(round) => Some(round.ends_at(patience).unwrap_or(round.next_at)),
        }
    }

    /// Has the size measured from the top, as soon as the path allows it.
    fn measure(&mut self, now: Instant) {
        self.measure_at = now;
        if let Phase::Searching(_) = self.phase {
            self.phase = Phase::Settled { check_at: now };
        }
    }

    fn settle(&mut self, size: u16, now: Instant) -> bool {
        if size < self.mtu {
            // It may have been a passing fault, so the first new look comes sooner.
            self.measure_at = now + MEASURE_SOON;
        }
        self.phase = Phase::Settled {
            check_at: now + self.pace.full_every,
        };
        std::mem::replace(&mut self.mtu, size) != size
    }
}

impl Round {
    /// Is this size still good?
    fn single(low: Option<u16>, size: u16, first_sequence: u32, now: Instant) -> Self {
        Self {
            low,
            high: size,
            sizes: vec![size],
            answered: None,
            first_sequence,
            started: now,
            next: 0,
            tries: 0,
            next_at: now,
        }
    }

    /// Sizes that cut the range between `low` and `high` in equal parts; where nothing is known to pass, the smallest too.
    fn spread(low: Option<u16>, high: u16, first_sequence: u32, now: Instant) -> Self {
        let start = low.unwrap_or(FLOOR).min(high);
        let range = u32::from(high - start);
        let parts = range.min(SIZES);
        let first = low.map_or(Some(start), |_| None);
        // At most `high`, which is 16 bits wide.
        let cuts = (1..=parts).map(|part| start + (range * part / parts) as u16);
        Self {
            sizes: first.into_iter().chain(cuts).collect(),
            ..Self::single(low, high, first_sequence, now)
        }
    }

    fn poll(&mut self, patience: Duration, pace: Pace, now: Instant) -> Option<u16> {
        if now < self.next_at || self.tries == TRIES {
            return None;
        }
        // What passed in an earlier try says the same of everything smaller.
        while self
            .sizes
            .get(self.next)
            .is_some_and(|size| Some(*size) <= self.answered)
        {
            self.next += 1;
        }
        let size = self.sizes.get(self.next).copied();
        self.next += 1;
        if self.next >= self.sizes.len() {
            self.next = 0;
            self.tries += 1;
            // One size alone is a check that mostly succeeds: it is repeated when the answer is late.
            let is_check = self.tries == 1 && self.sizes.len() == 1;
            self.next_at = now + if is_check { patience } else { pace.confirm_every };
        }
        size
    }

    fn ends_at(&self, patience: Duration) -> Option<Instant> {
        (self.tries == TRIES).then_some(self.next_at + patience)
    }
}

/// Below this, links are not looked for (the smallest that every IPv4 host takes, less the headers of a cable).
const FLOOR: u16 = 496;
/// Sizes in one round: three rounds find one of 500.
const SIZES: u32 = 8;
/// A size is too large if so many probes of it are lost: one that is lost by chance does not shrink the path.
const TRIES: u32 = 5;
/// A path that is narrower than its ends is tried for more this often (RFC 8899 §5.1.1, PMTU_RAISE_TIMER).
const MEASURE_EVERY: Duration = Duration::from_secs(600);
const MEASURE_SOON: Duration = Duration::from_secs(60);

//! One direction of a link: when each frame comes out, if it does. Pure: time is an argument, chance comes from a seed.
//!
//! A frame is first lost or doubled; each copy waits for the line (rate), then travels (delay and jitter). Jitter alone never lets
//! one frame overtake another; only frames chosen for reordering are held back longer than the rest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::settings::Impairment;

/// Frames on their way in one direction.
#[derive(Debug)]
pub(super) struct Pipe {
    settings: Impairment,
    rng: fastrand::Rng,
    /// By when they come out, then in the order in which they came in.
    frames: BTreeMap<(Instant, u64), Vec<u8>>,
    bytes: usize,
    serial: u64,
    /// The line is busy until then.
    busy_until: Option<Instant>,
    /// No frame in order comes out before.
    latest: Option<Instant>,
}

impl Pipe {
    pub(super) fn new(settings: Impairment, seed: u64) -> Self {
        Self {
            settings,
            rng: fastrand::Rng::with_seed(seed),
            frames: BTreeMap::new(),
            bytes: 0,
            serial: 0,
            busy_until: None,
            latest: None,
        }
    }

    /// From now on; frames under way keep their times.
    pub(super) fn set(&mut self, settings: Impairment) {
        self.settings = settings;
        // A line that has become faster does not finish the slow line's work first.
        self.busy_until = None;
    }

    pub(super) fn settings(&self) -> &Impairment {
        &self.settings
    }

    /// Takes a frame in.
    pub(super) fn handle_frame(&mut self, now: Instant, frame: Vec<u8>) {
        if self.happens(self.settings.loss) {
            return;
        }
        if self.happens(self.settings.duplicate) {
            self.schedule(now, frame.clone());
        }
        self.schedule(now, frame);
    }

    /// The next frame that is due.
    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        let entry = self.frames.first_entry().filter(|entry| entry.key().0 <= now)?;
        let frame = entry.remove();
        self.bytes -= frame.len();
        Some(frame)
    }

    /// When the next one is.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.frames.first_key_value().map(|((due, _), _)| *due)
    }

    fn schedule(&mut self, now: Instant, frame: Vec<u8>) {
        let Some(sent) = self.line(now, frame.len()) else {
            return;
        };
        if self.bytes + frame.len() > MEMORY {
            return;
        }
        let jitter = self.settings.jitter.unwrap_or_default().mul_f64(self.rng.f64());
        let mut due = sent + self.settings.delay.unwrap_or_default() + jitter;
        if self.happens(self.settings.reorder) {
            due += HOLD;
        } else {
            due = self.latest.map_or(due, |latest| due.max(latest));
            self.latest = Some(due);
        }
        self.bytes += frame.len();
        self.serial += 1;
        self.frames.insert((due, self.serial), frame);
    }

    /// When the line is done with so many bytes; none if too many wait for it already.
    fn line(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = self.settings.rate else {
            return Some(now);
        };
        let start = self.busy_until.map_or(now, |until| until.max(now));
        if start - now > BACKLOG {
            return None;
        }
        let end = start + rate.time_for(bytes);
        self.busy_until = Some(end);
        Some(end)
    }

    fn happens(&mut self, share: Option<super::Percent>) -> bool {
        share.is_some_and(|share| self.rng.f64() < share.probability())
    }
}

/// How long a frame that is reordered is held back beside its delay: several packets of a probe stream, few of a bulk transfer.
pub(super) const HOLD: Duration = Duration::from_millis(10);
/// What a line of limited rate keeps waiting, in its own time, before it drops what comes last.
pub(super) const BACKLOG: Duration = Duration::from_millis(100);
/// What is under way at once, at most.
const MEMORY: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn percent(share: f64) -> Option<super::super::Percent> {
        Some(share.to_string().parse().unwrap())
    }

    /// Sends numbered frames of `bytes`, one every `gap`, and says when each copy came out.
    fn run(settings: &Impairment, seed: u64, count: u32, gap: Duration, bytes: usize) -> Vec<(Duration, u32)> {
        let start = Instant::now();
        let mut pipe = Pipe::new(settings.clone(), seed);
        let mut out = Vec::new();
        let mut drain = |pipe: &mut Pipe, until: Option<Instant>| {
            while let Some(due) = pipe
                .poll_timeout()
                .filter(|due| until.is_none_or(|until| *due <= until))
            {
                let frame = pipe.poll_transmit(due).unwrap();
                out.push((due - start, u32::from_be_bytes(frame[..4].try_into().unwrap())));
            }
        };
        for number in 0..count {
            let now = start + gap * number;
            drain(&mut pipe, Some(now));
            let mut frame = number.to_be_bytes().to_vec();
            frame.resize(bytes, 0);
            pipe.handle_frame(now, frame);
        }
        drain(&mut pipe, None);
        assert_eq!((pipe.bytes, pipe.poll_timeout()), (0, None));
        out
    }

    #[test]
    fn shares_are_what_was_asked_for() {
        let settings = Impairment {
            loss: percent(2.0),
            duplicate: percent(10.0),
            ..Impairment::default()
        };
        let out = run(&settings, 7, 100_000, Duration::from_micros(10), 64);
        let distinct: std::collections::BTreeSet<u32> = out.iter().map(|(_, number)| *number).collect();
        let lost = 100_000 - distinct.len();
        let doubled = out.len() - distinct.len();
        assert!((1800..2200).contains(&lost), "{lost} are lost");
        assert!((9300..10_300).contains(&doubled), "{doubled} are doubled");
    }

    #[test]
    fn a_seed_repeats_everything() {
        let settings = Impairment {
            loss: percent(20.0),
            jitter: Some(Duration::from_millis(3)),
            reorder: percent(5.0),
            ..Impairment::default()
        };
        let once = |seed| run(&settings, seed, 500, Duration::from_millis(1), 64);
        assert_eq!(once(3), once(3));
        assert_ne!(once(3), once(4));
    }

    #[test]
    fn frames_under_way_keep_their_times_when_settings_change() {
        let start = Instant::now();
        let mut pipe = Pipe::new(
            Impairment {
                delay: Some(Duration::from_millis(50)),
                ..Impairment::default()
            },
            1,
        );
        pipe.handle_frame(start, vec![1]);
        pipe.set(Impairment::default());
        assert_eq!(pipe.poll_timeout(), Some(start + Duration::from_millis(50)));
    }

    proptest! {
        /// Without loss and duplication every frame comes out once, in order, and no sooner than its delay, no later than
        /// delay and jitter.
        #[test]
        fn what_is_only_late_is_conserved_and_ordered(seed: u64, delay in 0u64..200, jitter in 0u64..50, gap in 1u64..20) {
            let (delay, jitter) = (Duration::from_millis(delay), Duration::from_millis(jitter));
            let gap = Duration::from_millis(gap);
            let settings = Impairment { delay: Some(delay), jitter: Some(jitter), ..Impairment::default() };
            let out = run(&settings, seed, 200, gap, 64);
            prop_assert_eq!(out.iter().map(|(_, number)| *number).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
            for (at, number) in out {
                let travelled = at - gap * number;
                prop_assert!(travelled >= delay && travelled <= delay + jitter);
            }
        }

        /// Reordering delays the chosen ones and loses none.
        #[test]
        fn reordering_conserves(seed: u64, share in 1.0f64..60.0) {
            let settings = Impairment { reorder: percent(share), ..Impairment::default() };
            let out = run(&settings, seed, 400, Duration::from_millis(1), 64);
            let mut numbers: Vec<u32> = out.iter().map(|(_, number)| *number).collect();
            let is_ordered = numbers.is_sorted();
            numbers.sort_unstable();
            prop_assert_eq!(numbers, (0..400).collect::<Vec<_>>());
            prop_assert!(!is_ordered || share < 5.0, "nothing overtook");
            for (at, number) in out {
                let travelled = at - Duration::from_millis(1) * number;
                prop_assert!(travelled.is_zero() || travelled == HOLD);
            }
        }

        /// In no window does more come out than the rate allows, and nothing waits longer than the backlog and its own time.
        #[test]
        fn the_rate_is_a_bound(seed: u64, bytes in 64usize..1500, kbit in 100u64..10_000, gap_us in 10u64..5000) {
            let rate: super::super::Rate = format!("{kbit}kbit").parse().unwrap();
            let settings = Impairment { rate: Some(rate), ..Impairment::default() };
            let gap = Duration::from_micros(gap_us);
            let out = run(&settings, seed, 300, gap, bytes);
            prop_assert!(!out.is_empty());
            for pair in out.windows(2) {
                prop_assert!(pair[1].0 - pair[0].0 >= rate.time_for(bytes));
            }
            for (at, number) in out {
                prop_assert!(at - gap * number <= BACKLOG + rate.time_for(bytes) * 2);
            }
        }
    }
}

use std::time::{Duration, Instant};

use crate::pace::Pace;

/// Whether packets of one size pass: a probe now and then, and when it is lost, some more before that is believed.
#[derive(Debug)]
pub(super) struct FullSize {
    size: u16,
    pace: Pace,
    /// The small probes pass, so that a loss is about the size.
    is_awake: bool,
    next_sequence: u32,
    /// When this check began.
    began: Option<Instant>,
    /// The number of the first probe of this check, or of the last one.
    first: u32,
    tries: u32,
    tried_at: Instant,
    next_at: Instant,
    passes: bool,
    lost_since: Option<Instant>,
}

impl FullSize {
    pub(super) fn new(size: u16, pace: Pace, now: Instant) -> Self {
        Self {
            size,
            pace,
            is_awake: false,
            next_sequence: 0,
            began: None,
            first: 0,
            tries: 0,
            tried_at: now,
            next_at: now,
            passes: false,
            lost_since: None,
        }
    }

    pub(super) fn size(&self) -> u16 {
        self.size
    }

    /// The last check passed.
    pub(super) fn passes(&self) -> bool {
        self.passes
    }

    /// When the first check that found it does not pass sent its last probe.
    pub(super) fn lost_since(&self) -> Option<Instant> {
        self.lost_since
    }

    pub(super) fn handle_pace(&mut self, pace: Pace, now: Instant) {
        self.pace = pace;
        self.next_at = self.next_at.min(now + pace.full_every);
    }

    pub(super) fn handle_size(&mut self, size: u16, now: Instant) {
        if size != self.size {
            self.size = size;
            self.restart(now);
        }
    }

    pub(super) fn handle_new_path(&mut self, now: Instant) {
        self.is_awake = true;
        self.restart(now);
    }

    pub(super) fn handle_down(&mut self) {
        self.is_awake = false;
        (self.began, self.lost_since, self.passes) = (None, None, false);
    }

    /// An answer, be it one that comes after the verdict: it was late, then, and not lost.
    pub(super) fn handle_reply(&mut self, sequence: u32, size: u16, now: Instant) {
        let is_of_check = self.next_sequence.wrapping_sub(sequence) <= self.next_sequence.wrapping_sub(self.first);
        if size != self.size || !is_of_check || (self.began.is_none() && self.lost_since.is_none()) {
            return;
        }
        let began = self.began.unwrap_or(now);
        (self.began, self.lost_since, self.passes) = (None, None, true);
        self.next_at = (began + self.pace.full_every).max(now);
    }

    /// True if packets of the size are found to be lost now.
    pub(super) fn handle_timeout(&mut self, patience: Duration, now: Instant) -> bool {
        let is_over = self.began.is_some() && self.tries == TRIES && now >= self.verdict_at(patience);
        if is_over {
            self.passes = false;
            self.lost_since.get_or_insert(self.tried_at);
            self.began = None;
            self.next_at = now + self.pace.full_every;
        }
        is_over
    }

    /// The number and the size of the next probe.
    pub(super) fn poll(&mut self, patience: Duration, now: Instant) -> Option<(u32, u16)> {
        let is_waiting = self.began.is_some() && self.tries == TRIES;
        if !self.is_awake || is_waiting || now < self.next_at {
            return None;
        }
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        if self.began.is_none() {
            (self.began, self.first, self.tries) = (Some(now), sequence, 0);
        }
        self.tries += 1;
        self.tried_at = now;
        // The first mostly succeeds; only when it is late the others follow.
        self.next_at = now
            + if self.tries == 1 {
                patience
            } else {
                self.pace.confirm_every
            };
        Some((sequence, self.size))
    }

    pub(super) fn poll_timeout(&self, patience: Duration) -> Option<Instant> {
        let is_waiting = self.began.is_some() && self.tries == TRIES;
        let next = if is_waiting {
            self.verdict_at(patience)
        } else {
            self.next_at
        };
        self.is_awake.then_some(next)
    }

    fn restart(&mut self, now: Instant) {
        (self.began, self.lost_since, self.passes) = (None, None, false);
        self.first = self.next_sequence;
        self.next_at = now;
    }

    fn verdict_at(&self, patience: Duration) -> Instant {
        self.next_at + patience
    }
}

/// So many in a row are lost before that is about their size, as in the search for the path MTU.
const TRIES: u32 = 5;

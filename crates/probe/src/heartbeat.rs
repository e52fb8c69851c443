use std::time::{Duration, Instant};

use crate::pace::Pace;
use crate::rtt::{MAX_PATIENCE, RttEstimate};
use crate::window::{RttSummary, Window};

/// Whether the other end of a path is there: told from probes, and from whatever else of it arrives.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    pace: Pace,
    opened: Instant,
    pulse: Pulse,
    up_since: Option<Instant>,
    next_probe: Instant,
    last_probe: Option<Instant>,
    next_sequence: u32,
    window: Window,
    rtt: RttEstimate,
    /// When anything authentic of the other end arrived last.
    heard: Option<Instant>,
    /// When a probe was answered last.
    answered: Option<Instant>,
    /// When the latest of those that were answered was sent.
    passed: Option<Instant>,
    /// It went silent, and has stayed so.
    is_deaf: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pulse {
    Down,
    Up,
    /// So many confirmations were sent.
    Suspect(u32),
}

/// A probe to be sent as a [`MessageKind::Request`](crate::MessageKind::Request).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub sequence: u32,
    /// Our time, to be repeated by the answer.
    pub stamp: u64,
    /// Bytes that the whole inner packet is to have; 0 is as small as it gets.
    pub size: u16,
}

/// Why a path went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// Nothing of the other end arrives.
    Silence,
    /// It is heard, and does not hear us.
    OneWay,
    /// Its kernel says that nobody listens there.
    Refused,
}

impl Heartbeat {
    pub(crate) fn new(pace: Pace, now: Instant) -> Self {
        Self {
            pace,
            opened: now,
            pulse: Pulse::Down,
            up_since: None,
            next_probe: now,
            last_probe: None,
            next_sequence: 0,
            window: Window::default(),
            rtt: RttEstimate::default(),
            heard: None,
            answered: None,
            passed: None,
            is_deaf: false,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.pulse != Pulse::Down
    }

    pub(crate) fn is_suspect(&self) -> bool {
        matches!(self.pulse, Pulse::Suspect(_))
    }

    /// When the latest probe was sent that has been answered.
    pub(crate) fn passed(&self) -> Option<Instant> {
        self.passed
    }

    pub(crate) fn up_since(&self) -> Option<Instant> {
        self.up_since
    }

    pub(crate) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Whether we heard nothing since silence took the path down: what we tell the other end.
    pub(crate) fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    pub(crate) fn patience(&self) -> Duration {
        self.rtt.patience()
    }

    /// A faster pace holds at once.
    pub(crate) fn handle_pace(&mut self, pace: Pace, now: Instant) {
        self.pace = pace;
        if self.pulse == Pulse::Up {
            self.next_probe = self.next_probe.min(now + pace.every);
        }
    }

    /// The next probe is due now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.next_probe = now;
    }

    /// Something authentic of the other end arrived.
    pub(crate) fn handle_heard(&mut self, now: Instant) {
        self.heard = Some(now);
        self.is_deaf = false;
        if let Pulse::Suspect(_) = self.pulse {
            self.pulse = Pulse::Up;
            self.next_probe = now + self.pace.every;
        }
    }

    /// An answer. `Some(true)` if it brings the path up, `None` if nobody asked for it or it is too late to say anything.
    pub(crate) fn handle_reply(&mut self, sequence: u32, stamp: u64, now: Instant) -> Option<bool> {
        let rtt = self.window.record_reply(sequence, now)?;
        if rtt >= MAX_PATIENCE || stamp != self.stamp(now.checked_sub(rtt).unwrap_or(now)) {
            return None;
        }
        let sent = now.checked_sub(rtt);
        if self.up_since.is_some() && sent >= self.up_since {
            self.rtt.take(rtt);
        } else {
            self.rtt.take_early(rtt);
        }
        self.answered = Some(now);
        self.passed = self.passed.max(sent);
        self.handle_heard(now);
        if self.is_up() {
            return Some(false);
        }
        self.window.forget_before(sequence);
        self.pulse = Pulse::Up;
        self.up_since = Some(now);
        // The first probe that did not have to wait for the path tells how long it is.
        self.next_probe = now;
        Some(true)
    }

    /// The other end's kernel refused a probe. One such word may be of the past, two in a row are believed.
    pub(crate) fn handle_refused(&mut self, now: Instant) -> Option<Lost> {
        match self.pulse {
            Pulse::Down => None,
            Pulse::Up => {
                self.suspect(now);
                None
            }
            Pulse::Suspect(0) => None,
            Pulse::Suspect(_) => Some(self.go_down(Lost::Refused, now)),
        }
    }

    /// There is a reason to ask at once.
    pub(crate) fn handle_doubt(&mut self, now: Instant) {
        if self.pulse == Pulse::Up {
            self.suspect(now);
        }
    }

    /// The other end says that it does not hear us.
    pub(crate) fn handle_deaf_peer(&mut self, now: Instant) -> Option<Lost> {
        self.is_up().then(|| self.go_down(Lost::OneWay, now))
    }

    /// The path is given up for another reason.
    pub(crate) fn handle_closed(&mut self, now: Instant) {
        self.pulse = Pulse::Down;
        self.up_since = None;
        self.next_probe = now;
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Lost> {
        if self.is_up() && self.one_way_at().is_some_and(|at| now >= at) {
            return Some(self.go_down(Lost::OneWay, now));
        }
        if self.verdict_at().is_some_and(|at| now >= at) {
            match self.pulse {
                Pulse::Up => self.suspect(now),
                Pulse::Suspect(_) => return Some(self.go_down(Lost::Silence, now)),
                Pulse::Down => {}
            }
        }
        None
    }

    pub(crate) fn poll_probe(&mut self, now: Instant) -> Option<Request> {
        if now < self.next_probe {
            return None;
        }
        self.next_probe = now
            + match &mut self.pulse {
                Pulse::Up => self.pace.every,
                Pulse::Down => RETRY.max(self.pace.confirm_every),
                Pulse::Suspect(sent) => {
                    *sent += 1;
                    if *sent < CONFIRMATIONS {
                        self.pace.confirm_every
                    } else {
                        MAX_PATIENCE
                    }
                }
            };
        self.last_probe = Some(now);
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        self.window.record_request(sequence, now);
        Some(Request {
            sequence,
            stamp: self.stamp(now),
            size: 0,
        })
    }

    pub(crate) fn poll_timeout(&self) -> (Instant, &'static str) {
        let liveness = [self.verdict_at(), self.one_way_at().filter(|_| self.is_up())];
        let liveness = liveness.into_iter().flatten().min();
        match liveness {
            Some(at) if at < self.next_probe => (at, "liveness"),
            _ => (self.next_probe, "probe"),
        }
    }

    pub(crate) fn rtt(&self) -> Option<RttSummary> {
        self.window.rtt()
    }

    /// While the path is up, of the last probes; on one that was up, nothing has come through since.
    pub(crate) fn loss_percent(&self, now: Instant) -> Option<f64> {
        if !self.is_up() && self.answered.is_some() {
            return Some(100.0);
        }
        self.window.loss_percent(now)
    }

    pub(crate) fn stamp(&self, now: Instant) -> u64 {
        // Microseconds fill 64 bits in half a million years.
        now.saturating_duration_since(self.opened).as_micros() as u64
    }

    fn suspect(&mut self, now: Instant) {
        self.pulse = Pulse::Suspect(0);
        self.next_probe = now;
    }

    fn go_down(&mut self, why: Lost, now: Instant) -> Lost {
        self.handle_closed(now);
        // What we hear contradicts deafness; silence and a closed port are both "nothing of it arrives".
        self.is_deaf = why != Lost::OneWay;
        why
    }

    /// When the second of two probes in a row is missed, or the last confirmation.
    fn verdict_at(&self) -> Option<Instant> {
        let patience = self.rtt.patience();
        match self.pulse {
            Pulse::Down => None,
            Pulse::Up => {
                let silent: Vec<Instant> = self.window.unanswered_since(self.heard).collect();
                // The latest comes first.
                let second = silent.len().checked_sub(MISSES)?;
                Some(silent[second] + patience)
            }
            Pulse::Suspect(sent) if sent >= CONFIRMATIONS => Some(self.last_probe? + patience),
            Pulse::Suspect(_) => None,
        }
    }

    /// When hearing the other end is no longer enough.
    fn one_way_at(&self) -> Option<Instant> {
        let longest = self.pace.every * 3 + MAX_PATIENCE;
        self.answered.map(|at| at + longest)
    }
}

/// Probes in a row without an answer that make a path suspect.
const MISSES: usize = 2;
/// Probes that must all be missed, too, before it is down.
const CONFIRMATIONS: u32 = 6;
/// Between two probes of a path that is down.
const RETRY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_had_to_be_waited_for_is_given_up_as_soon_as_any() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut heartbeat = Heartbeat::new(Pace::STANDBY, start);
        // The kernel keeps all probes until it knows the neighbour.
        let mut kept = Vec::new();
        for ms in 0..2000 {
            kept.extend(heartbeat.poll_probe(at(ms)));
        }
        assert!(kept.len() > 2);
        for probe in kept {
            heartbeat.handle_reply(probe.sequence, probe.stamp, at(2000));
        }
        for ms in 2000..2500 {
            if let Some(probe) = heartbeat.poll_probe(at(ms)) {
                heartbeat.handle_reply(probe.sequence, probe.stamp, at(ms + 1));
            }
        }
        heartbeat.handle_doubt(at(2500));
        let lost = (2500..3000).find_map(|ms| {
            heartbeat.poll_probe(at(ms));
            heartbeat.handle_timeout(at(ms))
        });
        assert_eq!(lost, Some(Lost::Silence));
    }
}

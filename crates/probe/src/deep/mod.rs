mod full_size;
mod judge;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use crate::heartbeat::Heartbeat;
use crate::message::{Message, MessageKind, Says};
use crate::pace::Pace;
use full_size::FullSize;

pub use judge::{Fault, Judge};

/// The way from a gateway through one of its cables to a node behind the other end. The node only answers, and what it is asked to send
/// back at full size it does.
#[derive(Debug)]
pub struct DeepPath {
    heartbeat: Heartbeat,
    pace: Pace,
    opened: Instant,
    was_up: bool,
    was_whole: bool,
    /// Small questions to [`DeepPort::Tracked`], asked only while the others get no answer.
    tracked: Option<Heartbeat>,
    /// Large questions with small answers.
    there: FullSize,
    /// Large questions with answers as large.
    back: FullSize,
}

/// Where on a node a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeepPort {
    /// Gateways treat the probe like packets of pods: they leave it untracked.
    AsTraffic,
    /// Gateways track it, and its answer.
    Tracked,
}

/// What one node tells of the way to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Witness {
    /// Whether it answers small probes; none while it has not had the time for its first answer.
    pub is_up: Option<bool>,
    /// It has answered before.
    pub was_up: bool,
    /// Packets of full size have passed both ways before.
    pub was_whole: bool,
    /// They do now, as far as was tried.
    pub is_whole: bool,
    /// It answers what gateways track, and nothing else.
    pub is_up_if_tracked: bool,
    /// Large packets that get lost while small ones pass.
    pub lost: Option<LargeLoss>,
}

/// Large packets get lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeLoss {
    /// When the last of those was sent that were lost first.
    pub since: Instant,
    /// Their size, bytes.
    pub size: u16,
    /// On which way.
    pub direction: Direction,
}

/// One of the two ways of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Away from us.
    There,
    /// Towards us.
    Back,
}

impl DeepPath {
    /// A path that takes packets of `size` bytes, as far as is known.
    pub fn new(size: u16, pace: Pace, now: Instant) -> Self {
        Self {
            heartbeat: Heartbeat::new(pace, now),
            pace,
            opened: now,
            was_up: false,
            was_whole: false,
            tracked: None,
            there: FullSize::new(size, pace, now),
            back: FullSize::new(size, pace, now),
        }
    }

    /// How often to probe. A faster pace holds at once.
    pub fn handle_pace(&mut self, pace: Pace, now: Instant) {
        self.pace = pace;
        self.heartbeat.handle_pace(pace, now);
        if let Some(tracked) = &mut self.tracked {
            tracked.handle_pace(pace, now);
        }
        self.there.handle_pace(pace, now);
        self.back.handle_pace(pace, now);
    }

    /// What the way takes as far as is known, bytes. What was lost at another size says nothing of this one.
    pub fn handle_size(&mut self, size: u16, now: Instant) {
        self.there.handle_size(size, now);
        self.back.handle_size(size, now);
    }

    /// A message of the node, from this port.
    pub fn handle_message(&mut self, from: DeepPort, message: &Message, now: Instant) {
        if message.kind != MessageKind::Reply {
            return;
        }
        if from == DeepPort::Tracked {
            if let Some(tracked) = &mut self.tracked {
                tracked.handle_reply(message.sequence, message.stamp, now);
            }
            return;
        }
        if message.size == 0 {
            if let Some(came_up) = self.heartbeat.handle_reply(message.sequence, message.stamp, now) {
                self.was_up = true;
                if came_up {
                    self.there.handle_new_path(now);
                    self.back.handle_new_path(now);
                }
            }
            return;
        }
        self.heartbeat.handle_heard(now);
        if message.wants_size_back {
            self.back.handle_reply(message.sequence, message.size, now);
        } else {
            self.there.handle_reply(message.sequence, message.size, now);
        }
        self.was_whole |= self.there.passes() && self.back.passes();
    }

    /// Lets time have its effects.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.heartbeat.handle_timeout(now).is_some() {
            self.there.handle_down();
            self.back.handle_down();
        }
        let patience = self.heartbeat.patience();
        let sizes = [&mut self.there, &mut self.back];
        let is_news = sizes.map(|size| size.handle_timeout(patience, now)).contains(&true);
        if is_news && !self.heartbeat.is_suspect() {
            // Whether what is small still passes.
            self.heartbeat.hurry(now);
        }
        if self.heartbeat.is_up() || !self.is_known(now) {
            self.tracked = None;
        } else {
            let pace = self.pace;
            let tracked = self.tracked.get_or_insert_with(|| Heartbeat::new(pace, now));
            tracked.handle_timeout(now);
        }
    }

    /// The probe to be sent now and where to, if one is due. To be called until there is none.
    pub fn poll_probe(&mut self, now: Instant) -> Option<(DeepPort, Message)> {
        if let Some(request) = self.heartbeat.poll_probe(now) {
            let request = ask(request.sequence, request.stamp, 0, false);
            return Some((DeepPort::AsTraffic, request));
        }
        if let Some(request) = self.tracked.as_mut().and_then(|tracked| tracked.poll_probe(now)) {
            let request = ask(request.sequence, request.stamp, 0, false);
            return Some((DeepPort::Tracked, request));
        }
        let (patience, stamp) = (self.heartbeat.patience(), self.heartbeat.stamp(now));
        if let Some((sequence, size)) = self.there.poll(patience, now) {
            return Some((DeepPort::AsTraffic, ask(sequence, stamp, size, false)));
        }
        let (sequence, size) = self.back.poll(patience, now)?;
        Some((DeepPort::AsTraffic, ask(sequence, stamp, size, true)))
    }

    /// When to call again at the latest.
    pub fn poll_timeout(&self, now: Instant) -> Instant {
        let patience = self.heartbeat.patience();
        let known_at = self.opened + FIRST_ANSWER;
        let sizes = [self.there.poll_timeout(patience), self.back.poll_timeout(patience)];
        let first = (now < known_at).then_some(known_at);
        let tracked = self.tracked.as_ref().map(|tracked| tracked.poll_timeout().0);
        let all = sizes.into_iter().flatten().chain(first).chain(tracked);
        all.fold(self.heartbeat.poll_timeout().0, Instant::min)
    }

    /// Whether nothing comes back from that port, be it that nothing is asked there.
    pub fn is_silent(&self, port: DeepPort) -> bool {
        match port {
            DeepPort::AsTraffic => !self.heartbeat.is_up(),
            DeepPort::Tracked => !self.tracked.as_ref().is_some_and(Heartbeat::is_up),
        }
    }

    /// What is known of the way.
    pub fn witness(&self, now: Instant) -> Witness {
        let there = self.there.lost_since().map(|since| (since, Direction::There));
        let lost = there.or_else(|| self.back.lost_since().map(|since| (since, Direction::Back)));
        // A loss is about the size only if what is small, and was sent later, passed: otherwise all may have been lost, or be late.
        let lost = lost.filter(|(since, _)| self.heartbeat.passed() > Some(*since));
        Witness {
            is_up: self.is_known(now).then_some(self.heartbeat.is_up()),
            was_up: self.was_up,
            was_whole: self.was_whole,
            is_whole: self.there.passes() && self.back.passes(),
            is_up_if_tracked: self.is_up_if_tracked(now),
            lost: lost.map(|(since, direction)| LargeLoss {
                since,
                size: self.there.size(),
                direction,
            }),
        }
    }

    /// Tracked probes are answered, and the others have had the time to be answered too since that began.
    fn is_up_if_tracked(&self, now: Instant) -> bool {
        let up_since = self.tracked.as_ref().and_then(Heartbeat::up_since);
        up_since.is_some_and(|since| now >= since + OTHERS_TOO)
    }

    /// It answered, or has had the time for that.
    fn is_known(&self, now: Instant) -> bool {
        self.was_up || now >= self.opened + FIRST_ANSWER
    }
}

fn ask(sequence: u32, stamp: u64, size: u16, wants_size_back: bool) -> Message {
    Message {
        kind: MessageKind::Request,
        sequence,
        stamp,
        size,
        is_deaf: false,
        finds_broken: false,
        wants_size_back,
        says: Says::default(),
    }
}

/// A node that has not answered by then is not there.
const FIRST_ANSWER: Duration = Duration::from_millis(750);
/// Several probes of a path that is down.
const OTHERS_TOO: Duration = Duration::from_secs(1);

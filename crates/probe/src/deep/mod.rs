mod full_size;
mod judge;

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
    /// When the first of those that were lost was sent.
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
        self.there.handle_timeout(patience, now);
        self.back.handle_timeout(patience, now);
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
        // A loss is about the size only if what is small passed since: otherwise the rest may only not be known yet.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SIZE: u16 = 1420;

    /// A node, a firewall that lets packets up to these sizes pass there and back, and the time.
    struct World {
        path: DeepPath,
        now: Instant,
        largest: [u16; 2],
        small_passes: bool,
        tracked_passes: bool,
        tracked_asked: u32,
    }

    impl World {
        fn new() -> Self {
            let now = Instant::now();
            Self {
                path: DeepPath::new(SIZE, Pace::ACTIVE, now),
                now,
                largest: [u16::MAX; 2],
                small_passes: true,
                tracked_passes: true,
                tracked_asked: 0,
            }
        }

        fn run(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                self.path.handle_timeout(self.now);
                let mut answers = Vec::new();
                while let Some((port, request)) = self.path.poll_probe(self.now) {
                    let back = if request.wants_size_back { request.size } else { 0 };
                    self.tracked_asked += u32::from(port == DeepPort::Tracked);
                    let passes = match port {
                        DeepPort::AsTraffic => self.small_passes,
                        DeepPort::Tracked => self.tracked_passes,
                    };
                    if passes && request.size <= self.largest[0] && back <= self.largest[1] {
                        answers.push((port, request.reply(Says::default())));
                    }
                }
                self.now += Duration::from_millis(1);
                for (port, answer) in answers {
                    self.path.handle_message(port, &answer, self.now);
                }
                self.now = self.now.max(self.path.poll_timeout(self.now).min(end));
            }
            self.path.handle_timeout(self.now);
        }

        /// How long until this is told.
        fn until(&mut self, told: impl Fn(&Witness) -> bool) -> Duration {
            let start = self.now;
            while !told(&self.path.witness(self.now)) {
                self.run(Duration::from_millis(1));
                assert!(self.now < start + Duration::from_secs(10), "never told");
            }
            self.now - start
        }
    }

    #[test]
    fn a_firewall_that_drops_large_packets_is_found_soon_and_so_is_its_end() {
        for (largest, direction) in [
            ([1000, u16::MAX], Direction::There),
            ([u16::MAX, 1000], Direction::Back),
        ] {
            let mut world = World::new();
            world.run(Duration::from_secs(5));
            let sound = world.path.witness(world.now);
            assert!(sound.was_whole && sound.lost.is_none());
            (world.largest, world.small_passes) = (largest, true);
            let (began, took) = (world.now, world.until(|witness| witness.lost.is_some()));
            assert!(took < Duration::from_millis(750), "{took:?}");
            let witness = world.path.witness(world.now);
            let lost = witness.lost.unwrap();
            assert_eq!(
                (lost.size, lost.direction, witness.is_up),
                (SIZE, direction, Some(true))
            );
            assert!(lost.since >= began);
            world.largest = [u16::MAX; 2];
            let took = world.until(|witness| witness.lost.is_none());
            assert!(took < Duration::from_millis(600), "{took:?}");
        }
    }

    #[test]
    fn where_nothing_passes_sizes_say_nothing() {
        let mut world = World::new();
        world.run(Duration::from_secs(5));
        world.small_passes = false;
        let took = world.until(|witness| {
            assert_eq!(witness.lost, None);
            witness.is_up == Some(false)
        });
        assert!(took < Duration::from_millis(500), "{took:?}");
        world.run(Duration::from_secs(5));
        assert_eq!(world.path.witness(world.now).lost, None);
    }

    #[test]
    fn a_new_size_starts_with_a_clean_slate() {
        let mut world = World::new();
        world.run(Duration::from_secs(5));
        world.largest = [1300, 1300];
        world.until(|witness| witness.lost.is_some());
        world.path.handle_size(1300, world.now);
        assert_eq!(world.path.witness(world.now).lost, None);
        world.run(Duration::from_secs(5));
        assert_eq!(world.path.witness(world.now).lost, None);
    }

    #[test]
    fn a_node_that_never_answers_is_known_not_to() {
        let mut world = World::new();
        world.small_passes = false;
        assert_eq!(world.path.witness(world.now).is_up, None);
        world.run(FIRST_ANSWER);
        let witness = world.path.witness(world.now);
        assert_eq!((witness.is_up, witness.was_up), (Some(false), false));
    }

    #[test]
    fn what_passes_only_if_it_is_tracked_is_told_soon_and_asked_only_then() {
        let mut world = World::new();
        world.run(Duration::from_secs(5));
        assert_eq!(world.tracked_asked, 0, "in health it costs nothing");
        world.small_passes = false;
        let took = world.until(|witness| witness.is_up_if_tracked);
        assert!(took < OTHERS_TOO + Duration::from_millis(500), "{took:?}");
        world.small_passes = true;
        let took = world.until(|witness| witness.is_up == Some(true));
        assert!(took < Duration::from_millis(500), "{took:?}");
        let asked = world.tracked_asked;
        world.run(Duration::from_secs(5));
        assert_eq!(world.tracked_asked, asked);
    }

    proptest! {
        /// Whatever a firewall did before, three seconds after its last change it is known what it lets pass.
        #[test]
        fn what_passes_in_the_end_is_told(phases in proptest::collection::vec(any::<(bool, bool, u16)>(), 1..6)) {
            let mut world = World::new();
            for (small_passes, tracked_passes, millis) in phases {
                (world.small_passes, world.tracked_passes) = (small_passes, tracked_passes);
                world.run(Duration::from_millis(u64::from(millis % 4000)));
            }
            world.run(Duration::from_secs(3));
            let witness = world.path.witness(world.now);
            prop_assert_eq!(witness.is_up, Some(world.small_passes));
            prop_assert_eq!(witness.is_up_if_tracked, world.tracked_passes && !world.small_passes);
        }
    }
}

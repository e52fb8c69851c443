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
    /// Answers that come later, all at once.
    held: Vec<(DeepPort, Message)>,
    held_until: Instant,
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
            held: Vec::new(),
            held_until: now,
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.path.handle_timeout(self.now);
            let mut answers = std::mem::take(&mut self.held);
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
            if self.now < self.held_until {
                self.held = answers;
            } else {
                for (port, answer) in answers {
                    self.path.handle_message(port, &answer, self.now);
                }
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
fn answers_that_are_all_late_say_nothing_of_sizes() {
    for (held_for, after) in (5..60).flat_map(|held| (0..50).map(move |after| (held * 10, after * 10))) {
        let mut world = World::new();
        world.run(Duration::from_millis(5000 + after));
        world.held_until = world.now + Duration::from_millis(held_for);
        for _ in 0..held_for + 1000 {
            world.run(Duration::from_millis(1));
            let lost = world.path.witness(world.now).lost;
            assert_eq!(lost, None, "{after} ms after, held for {held_for} ms");
        }
    }
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

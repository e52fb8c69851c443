//! Two ends of a cable and a network between them, under a virtual clock.
//!
//! The network loses, delays, reorders and duplicates by chance, swallows what is too large, and can be cut each way. Whatever is not
//! such a fault is exact, so that bounds can be asserted to the millisecond.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use model::ConnectionState::{Connected, Error};
use model::ProbeMode;
use proptest::prelude::*;

use crate::heartbeat::Request;
use crate::message::{Message, MessageKind, Says};
use crate::{Cable, CableSettings, Pace};

/// What the network does to the packets of one direction.
#[derive(Debug, Clone, Copy)]
struct Way {
    delay_us: u64,
    jitter_us: u64,
    loss: f64,
    duplication: f64,
    largest: u16,
    is_cut: bool,
}

impl Way {
    fn clean(delay_us: u64) -> Self {
        Self {
            delay_us,
            jitter_us: 0,
            loss: 0.0,
            duplication: 0.0,
            largest: u16::MAX,
            is_cut: false,
        }
    }
}

enum Datagram {
    Probe(Message),
    Handshake,
    HandshakeAnswer,
}

struct World {
    start: Instant,
    now: Instant,
    ends: [Cable; 2],
    /// From end 0 to end 1, and back.
    ways: [Way; 2],
    under_way: BTreeMap<(Instant, u64), (usize, Datagram)>,
    count: u64,
    chance: u64,
    /// When an end changed between connected and not.
    changes: [Vec<(Instant, bool)>; 2],
    probes: u64,
}

impl World {
    fn new(ways: [Way; 2], pace: Pace, seed: u64) -> Self {
        let start = Instant::now();
        let end = |is_initiator| {
            let settings = CableSettings {
                candidates: vec![ADDRESS],
                mode: ProbeMode::Tombolo,
                is_initiator,
            };
            let mut cable = Cable::new(settings, CEILING, seed, start);
            cable.handle_pace(pace, start);
            cable
        };
        Self {
            start,
            now: start,
            ends: [end(true), end(false)],
            ways,
            under_way: BTreeMap::new(),
            count: 0,
            chance: seed,
            changes: [vec![], vec![]],
            probes: 0,
        }
    }

    /// Up and settled, as it is after the network was clean for a while.
    fn connected(ways: [Way; 2], pace: Pace, seed: u64) -> Self {
        let mut world = Self::new(ways.map(|way| Way::clean(way.delay_us)), pace, seed);
        world.run(Duration::from_secs(20));
        assert!(world.ends.iter().all(|end| end.state() == Connected));
        world.ways = ways;
        world.changes = [vec![], vec![]];
        world.probes = 0;
        world
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            self.turn(0);
            self.turn(1);
            let next_timer = self
                .ends
                .iter()
                .filter_map(|end| end.poll_timeout())
                .map(|(at, _)| at)
                .min();
            let next_datagram = self.under_way.keys().next().map(|(at, _)| *at);
            let Some(next) = next_timer
                .into_iter()
                .chain(next_datagram)
                .min()
                .filter(|next| *next <= until)
            else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let (to, datagram) = entry.remove();
                self.arrive(to, datagram);
            }
        }
    }

    fn turn(&mut self, end: usize) {
        let now = self.now;
        self.ends[end].handle_timeout(now);
        if self.ends[end].poll_handshake(now) {
            self.send(end, Datagram::Handshake);
        }
        while let Some(request) = self.ends[end].poll_probe(now) {
            self.probes += 1;
            let message = self.ends[end].ask(request, Says::default());
            self.send(end, Datagram::Probe(message));
        }
        let (changes, is_up) = (&mut self.changes[end], self.ends[end].state() == Connected);
        if changes.last().map_or(!is_up, |(_, was_up)| *was_up != is_up) {
            changes.push((now, is_up));
        }
    }

    fn arrive(&mut self, to: usize, datagram: Datagram) {
        let now = self.now;
        match datagram {
            Datagram::Probe(message) => {
                self.ends[to].handle_authenticated(ADDRESS, now);
                self.ends[to].handle_message(&message, now);
                if message.kind == MessageKind::Request {
                    let reply = self.ends[to].answer(&message, Says::default());
                    self.send(to, Datagram::Probe(reply));
                }
            }
            Datagram::Handshake => self.send(to, Datagram::HandshakeAnswer),
            Datagram::HandshakeAnswer => {
                self.ends[to].handle_session(ADDRESS, now);
                // The other end confirms with the first thing that it hears; nothing is lost by telling it here.
                self.ends[1 - to].handle_session(ADDRESS, now);
            }
        }
        self.turn(to);
    }

    fn send(&mut self, from: usize, datagram: Datagram) {
        let way = self.ways[from];
        let size = match &datagram {
            Datagram::Probe(message) if message.kind == MessageKind::Request => message.size,
            _ => 0,
        };
        if way.is_cut || size > way.largest || self.random() < way.loss {
            return;
        }
        let again = match &datagram {
            Datagram::Probe(message) if self.random() < way.duplication => Some(Datagram::Probe(message.clone())),
            _ => None,
        };
        for datagram in [Some(datagram), again].into_iter().flatten() {
            let jitter = (way.jitter_us as f64 * self.random()) as u64;
            let at = self.now + Duration::from_micros(way.delay_us + jitter);
            self.count += 1;
            self.under_way.insert((at, self.count), (1 - from, datagram));
        }
    }

    fn random(&mut self) -> f64 {
        self.chance = self
            .chance
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (self.chance >> 40) as f64 / (1u64 << 24) as f64
    }

    fn cut(&mut self, ways: [bool; 2]) {
        for (way, is_cut) in self.ways.iter_mut().zip(ways) {
            way.is_cut = is_cut;
        }
    }
}

const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 20)), 4510);
const CEILING: u16 = 1440;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever way is cut, the first end knows within 2.5 RTT + 380 ms (what was under way is heard for half an RTT, and two waits
    /// follow), the other by its word; and they are up again within two seconds after it is mended.
    #[test]
    fn cuts_are_found_in_bounded_time_and_heal(
        delay_us in 100u64..150_000, phase in 0u64..3000, cut in prop_oneof![Just([true, true]), Just([true, false]), Just([false, true])], seed: u64,
    ) {
        let way = Way::clean(delay_us);
        let mut world = World::connected([way, way], Pace::ACTIVE, seed);
        world.run(ms(phase));
        let rtt = Duration::from_micros(2 * delay_us);
        world.cut(cut);
        let cut_at = world.now;
        world.run(rtt * 4 + ms(850));
        for end in 0..2 {
            prop_assert_eq!(world.ends[end].state(), Error, "end {} {:?}", end, cut);
        }
        let first = world.changes.iter().flatten().map(|(at, _)| *at - cut_at).min();
        prop_assert!(first <= Some(rtt.mul_f64(2.5) + ms(381)), "{first:?}");
        world.run(ms(3000));
        for end in 0..2 {
            prop_assert_eq!(world.ends[end].state(), Error, "never up without a round trip: end {} {:?}", end, cut);
        }
        world.cut([false, false]);
        world.run(rtt * 4 + ms(1500));
        for end in 0..2 {
            prop_assert_eq!(world.ends[end].state(), Connected, "end {} {:?}", end, cut);
        }
    }

    /// Loss, reordering and duplication, as bad as they come, move no steady cable.
    #[test]
    fn ten_bad_minutes_are_no_failover(
        delay_us in 0u64..300_000, jitter_us in 0u64..60_000, duplication in 0.0..0.2, seed: u64,
    ) {
        let way = Way { delay_us, jitter_us, duplication, loss: 0.02, ..Way::clean(delay_us) };
        let mut world = World::connected([way, way], Pace::ACTIVE, seed);
        world.run(Duration::from_secs(600));
        prop_assert_eq!(&world.changes, &[vec![], vec![]]);
        prop_assert_eq!(world.ends[0].mtu(), CEILING, "and a lost probe does not shrink it");
        let loss = world.ends[0].liveness(world.now).loss_percent.unwrap();
        prop_assert!((0.0..12.0).contains(&loss), "{loss}");
    }

    /// The measured size is exact, each way by itself, and it follows the path down within three seconds.
    #[test]
    fn a_black_hole_is_measured(largest in 500u16..CEILING, delay_us in 100u64..30_000, seed: u64) {
        let narrow = Way { largest, ..Way::clean(delay_us) };
        let mut world = World::connected([narrow, Way::clean(delay_us)], Pace::ACTIVE, seed);
        world.run(ms(3000));
        prop_assert_eq!((world.ends[0].mtu(), world.ends[1].mtu()), (largest, CEILING));
        prop_assert_eq!(world.ends[0].state(), Connected);
        world.ways[0].largest = u16::MAX;
        world.run(Duration::from_secs(700));
        prop_assert_eq!(world.ends[0].mtu(), CEILING);
    }
}

#[test]
fn a_satellite_is_far_and_not_dead() {
    let way = Way {
        jitter_us: 20_000,
        ..Way::clean(290_000)
    };
    let mut world = World::connected([way, way], Pace::ACTIVE, 7);
    world.run(Duration::from_secs(120));
    assert_eq!(world.changes, [vec![], vec![]]);
    let rtt = world.ends[0].liveness(world.now).rtt.unwrap();
    assert!((580_000..=620_000).contains(&rtt.p50_us), "{rtt:?}");
}

#[test]
fn a_dead_path_is_not_taken_for_a_narrow_one() {
    for pace in [Pace::ACTIVE, Pace::STANDBY] {
        let way = Way::clean(500);
        let mut world = World::connected([way, way], pace, 3);
        world.cut([true, true]);
        world.run(Duration::from_secs(5));
        assert_eq!((world.ends[0].state(), world.ends[0].mtu()), (Error, CEILING));
    }
}

#[test]
fn a_standby_costs_a_probe_a_second_and_speeds_up_at_once() {
    let way = Way::clean(500);
    let mut world = World::connected([way, way], Pace::STANDBY, 3);
    world.run(Duration::from_secs(20));
    assert!((40..=46).contains(&world.probes), "{} of both ends", world.probes);
    let now = world.now;
    world.ends[0].handle_pace(Pace::ACTIVE, now);
    world.probes = 0;
    world.run(ms(1000));
    assert!((10..=15).contains(&world.probes), "{}", world.probes);
}

#[test]
fn an_old_word_of_deafness_is_not_believed() {
    let way = Way::clean(500);
    let mut world = World::connected([way, way], Pace::ACTIVE, 3);
    let old = Request {
        sequence: 0,
        stamp: 0,
        size: 0,
    };
    let mut deaf = world.ends[1].ask(old, Says::default());
    deaf.is_deaf = true;
    let now = world.now;
    world.ends[0].handle_message(&deaf, now);
    assert_eq!(world.ends[0].state(), Connected);
    deaf.sequence = 10_000;
    world.ends[0].handle_message(&deaf, now);
    assert_eq!(world.ends[0].state(), Error);
    assert_eq!(world.ends[0].liveness(now).reason, Some(crate::Reason::OneWay));
    assert!(world.start < now);
}

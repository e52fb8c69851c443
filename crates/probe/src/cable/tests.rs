use super::*;
use crate::reason::Reason;
use ConnectionState::{Connected, Connecting, Error};
use proptest::prelude::*;

const PEER: &str = "192.0.2.20:4510";
const ROLE: ProbeRole = ProbeRole {
    active: true,
    draining: false,
    epoch: 7,
};

fn peer() -> SocketAddr {
    PEER.parse().unwrap()
}

fn settings(mode: ProbeMode, is_initiator: bool) -> CableSettings {
    CableSettings {
        candidates: vec![peer(), "192.0.2.21:4510".parse().unwrap()],
        mode,
        is_initiator,
    }
}

fn probed(is_initiator: bool, now: Instant) -> Cable {
    Cable::new(settings(ProbeMode::Tombolo, is_initiator), 1440, 1, now)
}

fn reply(request: Request) -> Message {
    Message {
        kind: MessageKind::Reply,
        sequence: request.sequence,
        stamp: request.stamp,
        size: request.size,
        is_deaf: false,
        finds_broken: false,
        wants_size_back: false,
        says: Says {
            role: ROLE,
            ..Says::default()
        },
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs the cable's own deadlines up to `until`. Probes are answered after `rtt`, handshakes by nobody; returns when they went out.
fn run(cable: &mut Cable, from: Instant, until: Instant, rtt: Option<Duration>) -> Vec<Instant> {
    let mut handshakes = Vec::new();
    let mut now = from;
    loop {
        cable.handle_timeout(now);
        if cable.poll_handshake(now) {
            handshakes.push(now);
        }
        while let Some(request) = cable.poll_probe(now) {
            if let Some(rtt) = rtt {
                cable.handle_message(&reply(request), now + rtt);
            }
        }
        match cable.poll_timeout() {
            Some((next, reason)) if next <= until => {
                assert!(next > now, "the deadline \"{reason}\" does not move on");
                now = next;
            }
            _ => return handshakes,
        }
    }
}

#[test]
fn only_an_answered_probe_makes_it_connected() {
    let start = Instant::now();
    let mut cable = probed(true, start);
    assert!(cable.poll_handshake(start));
    cable.handle_session(peer(), start + ms(5));
    assert_eq!(cable.state(), Connecting, "a handshake alone is no round trip of ours");
    let request = cable.poll_probe(start + ms(5)).unwrap();
    assert_eq!(cable.state(), Connecting, "nor is a probe that was sent");
    assert!(cable.handle_message(&reply(request), start + ms(6)));
    assert_eq!(cable.state(), Connected);
    let liveness = cable.liveness(start + ms(6));
    assert_eq!((liveness.message.as_str(), liveness.remote_address), ("", Some(peer())));
    assert_eq!(liveness.rtt.unwrap().last_us, 1000);
    assert_eq!(liveness.loss_percent, Some(0.0));
    assert_eq!(liveness.role, Some(ROLE));
}

#[test]
fn an_answer_that_nobody_asked_for_does_not_count() {
    let start = Instant::now();
    let mut cable = probed(true, start);
    cable.handle_session(peer(), start);
    let request = cable.poll_probe(start).unwrap();
    assert!(!cable.handle_message(
        &reply(Request {
            sequence: request.sequence + 1,
            ..request
        }),
        start
    ));
    assert!(!cable.handle_message(
        &reply(Request {
            stamp: request.stamp + 1,
            ..request
        }),
        start
    ));
    assert_eq!(cable.state(), Connecting);
}

#[test]
fn an_answer_that_is_too_late_does_not_count() {
    let start = Instant::now();
    let mut cable = probed(true, start);
    cable.handle_session(peer(), start);
    let request = cable.poll_probe(start).unwrap();
    assert!(!cable.handle_message(&reply(request), start + HEAD_START));
    assert_eq!(cable.state(), Connecting);
}

#[test]
fn handshakes_are_repeated_within_a_second_and_the_reason_names_the_addresses() {
    let start = Instant::now();
    let mut cable = probed(true, start);
    let sent = run(&mut cable, start, start + Duration::from_secs(20), None);
    assert_eq!(sent[0], start);
    for pair in sent.windows(2) {
        let gap = pair[1] - pair[0];
        assert!(gap >= RETRY && gap <= RETRY * 2, "{gap:?}");
    }
    assert_eq!(cable.state(), Error);
    let message = cable.liveness(start + Duration::from_secs(20)).message;
    assert!(
        message.starts_with("no handshake answer from 192.0.2.20:4510, 192.0.2.21:4510 after 20 tries"),
        "{message}"
    );
}

#[test]
fn the_other_side_waits_three_seconds_for_the_standing_initiator() {
    let start = Instant::now();
    let mut cable = probed(false, start);
    assert_eq!(cable.liveness(start).message, "waiting for it to start the handshake");
    let sent = run(&mut cable, start, start + Duration::from_secs(5), None);
    assert_eq!(sent[0], start + HEAD_START);
}

#[test]
fn a_cable_with_no_address_waits_and_says_so() {
    let start = Instant::now();
    let without = CableSettings {
        candidates: vec![],
        ..settings(ProbeMode::Tombolo, true)
    };
    let mut cable = Cable::new(without, 1440, 1, start);
    assert_eq!(run(&mut cable, start, start + Duration::from_secs(60), None), []);
    assert!(cable.liveness(start).message.starts_with("no address is known for it"));
    cable.handle_settings(settings(ProbeMode::Tombolo, true), start + Duration::from_secs(61));
    assert!(
        cable.poll_handshake(start + Duration::from_secs(61)),
        "a new address is tried at once"
    );
}

#[test]
fn silence_takes_it_down_and_the_initiator_starts_over() {
    let start = Instant::now();
    let mut cable = probed(true, start);
    cable.handle_pace(Pace::ACTIVE, start);
    cable.handle_session(peer(), start);
    let alive_until = start + Duration::from_secs(10);
    assert_eq!(
        run(&mut cable, start, alive_until, Some(ms(2))),
        [],
        "a cable that works needs no handshake"
    );
    assert_eq!(cable.state(), Connected);

    // The last answered probe left at 10 s or up to 100 ms before; two more and six confirmations have to be missed.
    run(&mut cable, alive_until, alive_until + ms(280), None);
    assert_eq!(cable.state(), Connected);
    let sent = run(&mut cable, alive_until + ms(280), alive_until + ms(400), None);
    assert_eq!(cable.state(), Error);
    assert!(!sent.is_empty(), "it tries to come back at once");
    assert!(
        cable
            .liveness(alive_until)
            .message
            .starts_with("connection lost; no handshake answer")
    );
    assert!(cable.targets().contains(&peer()));
    assert_eq!(cable.liveness(alive_until + ms(400)).loss_percent, Some(100.0));

    let back = alive_until + Duration::from_secs(4);
    cable.handle_session(peer(), back);
    run(&mut cable, back, back + ms(600), Some(ms(2)));
    assert_eq!(cable.state(), Connected);
    assert_eq!(
        cable.liveness(back + ms(600)).loss_percent,
        Some(0.0),
        "loss is that of the time since it came up"
    );
}

#[test]
fn a_handshake_without_probe_answers_is_named_as_such() {
    let start = Instant::now();
    let mut cable = probed(false, start);
    cable.handle_session(peer(), start);
    run(&mut cable, start, start + ms(2999), None);
    assert_eq!(
        cable.liveness(start).message,
        "handshake done, waiting for the first probe reply"
    );
    let liveness = cable.liveness(start + HEAD_START);
    assert_eq!(liveness.reason, Some(Reason::NoReply));
    assert!(
        liveness
            .message
            .starts_with("handshake done but no probe reply from 192.0.2.20:4510 in 3 s: check"),
        "{}",
        liveness.message
    );
}

#[test]
fn a_stock_peer_is_connected_while_its_handshake_is_young() {
    let start = Instant::now();
    let mut cable = Cable::new(settings(ProbeMode::None, true), 1440, 1, start);
    assert!(cable.poll_handshake(start));
    assert_eq!(cable.state(), Connecting);
    cable.handle_session(peer(), start);
    assert_eq!(cable.state(), Connected);
    assert_eq!(cable.poll_probe(start + ms(1)), None);

    let sent = run(&mut cable, start, start + ms(179_999), None);
    assert_eq!(
        sent[0],
        start + REKEY_AFTER,
        "an idle session is renewed before it is too old to be called alive"
    );
    assert_eq!(cable.state(), Connected);
    cable.handle_timeout(start + SESSION_LIFE);
    assert_eq!(cable.state(), Error);
}

#[test]
fn a_cookie_is_answered_soon() {
    let start = Instant::now();
    let mut cable = probed(true, start);
    assert!(cable.poll_handshake(start));
    cable.handle_cookie(start + ms(1));
    assert!(cable.poll_handshake(start + ms(101)));
}

#[test]
fn what_the_kernel_refused_is_in_the_reason() {
    let start = Instant::now();
    let mut cable = probed(true, start);
    assert!(cable.poll_handshake(start));
    cable.handle_send_error("192.0.2.20:4510: Network is unreachable".to_owned());
    let message = cable.liveness(start).message;
    assert!(
        message.contains("after 1 try (last send: 192.0.2.20:4510: Network is unreachable)"),
        "{message}"
    );
}

#[derive(Debug, Clone)]
enum Event {
    Session,
    SessionLost,
    Cookie,
    Reply {
        sequence: u32,
        stamp: u64,
    },
    Wait(u64),
    Settings {
        mode: bool,
        initiator: bool,
        candidates: bool,
    },
}

#[test]
fn a_handshake_that_is_not_accepted_is_a_reason_until_one_is() {
    let now = Instant::now();
    let mut cable = probed(true, now);
    let reason = |cable: &Cable| cable.liveness(now).reason;
    cable.handle_unknown_key("198.51.100.9".parse().unwrap());
    assert_eq!(reason(&cable), Some(Reason::Starting), "it is nobody that we know");
    for _ in 0..3 {
        assert_eq!(
            reason(&cable),
            Some(Reason::Starting),
            "a network may repeat a datagram"
        );
        cable.handle_old_handshake();
    }
    assert_eq!(reason(&cable), Some(Reason::ClockSkew));
    cable.handle_unknown_key(peer().ip());
    assert_eq!(reason(&cable), Some(Reason::PeerKeyChanged));
    cable.handle_session(peer(), now);
    assert_eq!(reason(&cable), Some(Reason::Probing));
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Session),
        Just(Event::SessionLost),
        Just(Event::Cookie),
        (0u32..20, 0u64..5_000_000).prop_map(|(sequence, stamp)| Event::Reply { sequence, stamp }),
        (0u64..200_000).prop_map(Event::Wait),
        any::<(bool, bool, bool)>().prop_map(|(mode, initiator, candidates)| Event::Settings {
            mode,
            initiator,
            candidates
        }),
    ]
}

proptest! {
    /// Whatever happens: time moves on, a state other than connected has a reason, and nothing unanswered is called connected.
    #[test]
    fn it_never_stalls_and_always_has_a_reason(seed: u64, events in proptest::collection::vec(event(), 0..40)) {
        let mut now = Instant::now();
        let mut cable = Cable::new(settings(ProbeMode::Tombolo, true), 1440, seed, now);
        let mut session_since = None;
        for event in events {
            match event {
                Event::Session => {
                    cable.handle_session(peer(), now);
                    session_since = Some(now);
                }
                Event::SessionLost => {
                    cable.handle_session_lost(now);
                    prop_assert_ne!(cable.state(), Connected);
                }
                Event::Cookie => cable.handle_cookie(now),
                Event::Reply { sequence, stamp } => {
                    cable.handle_message(&reply(Request { sequence, stamp, size: 0 }), now);
                }
                Event::Wait(wait) => {
                    run(&mut cable, now, now + ms(wait), None);
                    now += ms(wait);
                }
                Event::Settings { mode, initiator, candidates } => {
                    let mut new = settings(if mode { ProbeMode::None } else { ProbeMode::Tombolo }, initiator);
                    new.candidates.truncate(if candidates { 2 } else { 0 });
                    cable.handle_settings(new, now);
                }
            }
            let liveness = cable.liveness(now);
            prop_assert_eq!(liveness.message.is_empty(), liveness.state == Connected);
            prop_assert!(liveness.state != Connected || session_since.is_some());
        }
    }
}

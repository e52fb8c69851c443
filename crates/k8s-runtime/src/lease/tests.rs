use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Action, Election, OnSilence, Record, Timing, Version};

const TIMING: Timing = Timing::SHORT;

/// The API server's side: one lease, and its version.
#[derive(Default)]
struct Server {
    record: Record,
    version: u64,
}

impl Server {
    fn version(&self) -> Version {
        (self.version > 0).then(|| self.version.to_string())
    }

    fn write(&mut self, record: Record, over: &Version) -> bool {
        let is_current = *over == self.version();
        if is_current {
            self.record = record;
            self.version += 1;
        }
        is_current
    }
}

/// Does what the election asks for until it waits, and tells when it wants to be woken.
fn settle(election: &mut Election, server: &mut Server, now: Instant) -> Instant {
    for _ in 0..10 {
        match election.poll(now) {
            Action::Wait(until) => return until,
            Action::Read => election.handle_read(server.record.clone(), server.version(), now),
            Action::Write(record, version) => {
                if server.write(record, &version) {
                    election.handle_written(server.record.clone(), server.version(), now, now);
                } else {
                    election.handle_conflict(now);
                }
            }
        }
    }
    panic!("it never waits: {election:?}");
}

fn candidate(name: &str, on_silence: OnSilence, now: Instant) -> Election {
    let mut election = Election::new(name, TIMING, on_silence, now);
    election.set_candidate(true, now);
    election
}

#[test]
fn the_first_candidate_leads_and_the_second_follows() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut a = candidate("a", OnSilence::Stop, now);
    let mut b = candidate("b", OnSilence::Stop, now);
    assert!(!a.standing(now).is_known);
    settle(&mut a, &mut server, now);
    settle(&mut b, &mut server, now);
    assert!(a.standing(now).leads && !b.standing(now).leads);
    assert_eq!(a.standing(now).epoch, 1);
    assert_eq!(b.standing(now).holder.as_deref(), Some("a"));
}

#[test]
fn a_silent_holder_is_succeeded_after_the_duration_and_has_stopped_before() {
    let start = Instant::now();
    let mut server = Server::default();
    let mut a = candidate("a", OnSilence::Stop, start);
    let mut b = candidate("b", OnSilence::Stop, start);
    settle(&mut a, &mut server, start);
    let mut now = start;
    loop {
        let next = settle(&mut b, &mut server, now);
        if b.standing(now).leads {
            break;
        }
        now = next;
        assert!(now < start + TIMING.duration + TIMING.look, "b never takes over");
    }
    assert!(now >= start + TIMING.duration);
    assert!(!a.standing(now).leads, "a stopped at its deadline");
    assert_eq!(b.standing(now).epoch, 2);
}

#[test]
fn who_only_looks_on_sees_a_lease_become_free() {
    let start = Instant::now();
    let mut server = Server::default();
    let mut a = candidate("a", OnSilence::Stop, start);
    let mut c = Election::new("c", TIMING, OnSilence::Stop, start);
    settle(&mut a, &mut server, start);
    settle(&mut c, &mut server, start);
    assert!(!a.standing(start).is_free && !c.standing(start).is_free);
    assert!(c.standing(start + TIMING.duration).is_free, "a is silent");

    a.set_candidate(false, start);
    settle(&mut a, &mut server, start);
    let later = start + TIMING.look;
    settle(&mut c, &mut server, later);
    assert!(c.standing(later).is_free, "a gave it back");
    assert_eq!(c.standing(later).holder, None);
}

#[test]
fn a_frozen_holder_goes_on_until_it_sees_another() {
    let start = Instant::now();
    let mut server = Server::default();
    let mut a = candidate("a", OnSilence::Freeze, start);
    settle(&mut a, &mut server, start);
    let later = start + Duration::from_secs(3600);
    a.handle_failure(later);
    let standing = a.standing(later);
    assert!(standing.leads && standing.is_frozen && standing.epoch == 1);

    server.write(
        Record {
            holder: Some("b".into()),
            transitions: 2,
            duration: Some(TIMING.duration),
        },
        &server.version(),
    );
    settle(&mut a, &mut server, later + TIMING.look);
    let standing = a.standing(later + TIMING.look);
    assert!(!standing.leads && standing.epoch == 2 && standing.holder.as_deref() == Some("b"));
}

#[test]
fn a_holder_that_restarts_keeps_its_epoch() {
    let now = Instant::now();
    let mut server = Server::default();
    settle(&mut candidate("a", OnSilence::Freeze, now), &mut server, now);
    let mut again = candidate("a", OnSilence::Freeze, now);
    settle(&mut again, &mut server, now);
    assert!(again.standing(now).leads);
    assert_eq!(again.standing(now).epoch, 1);
}

#[test]
fn a_released_lease_is_taken_at_once_with_a_new_epoch() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut a = candidate("a", OnSilence::Stop, now);
    settle(&mut a, &mut server, now);
    a.set_candidate(false, now);
    settle(&mut a, &mut server, now);
    assert!(!a.standing(now).leads);
    let mut b = candidate("b", OnSilence::Stop, now);
    settle(&mut b, &mut server, now);
    assert!(b.standing(now).leads);
    assert_eq!(b.standing(now).epoch, 2);
}

#[test]
fn the_epoch_survives_the_removal_of_the_lease() {
    let now = Instant::now();
    let mut server = Server::default();
    let mut a = candidate("a", OnSilence::Stop, now);
    settle(&mut a, &mut server, now);
    server = Server::default();
    let later = now + TIMING.renew;
    a.handle_conflict(later);
    settle(&mut a, &mut server, later);
    assert!(a.standing(later).leads);
    assert_eq!(a.standing(later).epoch, 2);
}

/// What becomes of one request.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Answered { after_ms: u64 },
    Lost,
    AnswerLost,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => (0u64..900).prop_map(|after_ms| Fate::Answered { after_ms }),
        1 => Just(Fate::Lost),
        1 => Just(Fate::AnswerLost),
    ]
}

/// An answer on its way back.
enum Answer {
    Read(Record, Version),
    Written(Record, Version, Instant),
    Conflict,
    Nothing,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn never_two_leaders_and_never_one_epoch_for_two(
        fates in proptest::collection::vec(fate(), 50..400),
        down in proptest::collection::vec((0usize..3, 0u64..60_000, 1_000u64..15_000), 0..6),
        frozen: bool,
    ) {
        let start = Instant::now();
        let on_silence = if frozen { OnSilence::Freeze } else { OnSilence::Stop };
        let mut server = Server::default();
        let mut elections: Vec<Election> = ["a", "b", "c"].iter().map(|name| candidate(name, on_silence, start)).collect();
        let mut answers: Vec<Option<(Instant, Answer)>> = vec![None, None, None];
        let mut fates = fates.iter().copied().cycle();
        let mut leaders_of_epoch = std::collections::BTreeMap::new();
        for at in (0u64..60_000).step_by(50) {
            let now = start + Duration::from_millis(at);
            for (index, election) in elections.iter_mut().enumerate() {
                if let Some((due, _)) = &answers[index] {
                    if *due > now {
                        continue;
                    }
                    match answers[index].take().expect("checked above").1 {
                        Answer::Read(record, version) => election.handle_read(record, version, now),
                        Answer::Written(record, version, sent) => election.handle_written(record, version, sent, now),
                        Answer::Conflict => election.handle_conflict(now),
                        Answer::Nothing => election.handle_failure(now),
                    }
                }
                let is_cut = down.iter().any(|(who, from, long)| *who == index && (*from..from + long).contains(&at));
                let fate = if is_cut { Fate::Lost } else { fates.next().expect("a cycle") };
                let answer = match (election.poll(now), fate) {
                    (Action::Wait(_), _) => continue,
                    (_, Fate::Lost) => Answer::Nothing,
                    (Action::Read, _) => Answer::Read(server.record.clone(), server.version()),
                    (Action::Write(record, version), _) => {
                        if server.write(record, &version) {
                            Answer::Written(server.record.clone(), server.version(), now)
                        } else {
                            Answer::Conflict
                        }
                    }
                };
                let (after_ms, answer) = match fate {
                    Fate::Answered { after_ms } => (after_ms, answer),
                    Fate::Lost | Fate::AnswerLost => (1_000, Answer::Nothing),
                };
                answers[index] = Some((now + Duration::from_millis(after_ms), answer));
            }
            let leaders: Vec<usize> = (0..3).filter(|index| elections[*index].standing(now).leads).collect();
            if !frozen {
                prop_assert!(leaders.len() <= 1, "{leaders:?} lead at {at} ms");
            }
            for leader in leaders {
                let epoch = elections[leader].standing(now).epoch;
                let first = *leaders_of_epoch.entry(epoch).or_insert(leader);
                prop_assert_eq!(first, leader, "epoch {} has two leaders", epoch);
            }
        }
    }
}

mod over_the_wire {
    use std::time::Duration;

    use kube::Client;
    use tokio::sync::watch;

    use super::super::{Campaign, CampaignOptions, OnSilence, Standing, Timing, campaign};

    fn candidate(client: &Client, identity: &str) -> (Campaign, watch::Sender<bool>) {
        let (candidacy, is_candidate) = watch::channel(true);
        let options = CampaignOptions {
            namespace: "default".into(),
            lease: "role".into(),
            identity: identity.into(),
            timing: Timing::SHORT,
            on_silence: OnSilence::Stop,
        };
        (campaign(client.clone(), options, is_candidate), candidacy)
    }

    async fn until(campaign: &Campaign, what: &str, holds: impl Fn(&Standing) -> bool) -> Standing {
        let mut standing = campaign.standing();
        let found = tokio::time::timeout(Duration::from_secs(20), standing.wait_for(|standing| holds(standing))).await;
        found
            .unwrap_or_else(|_| panic!("not within 20 s: {what}"))
            .unwrap()
            .clone()
    }

    #[tokio::test]
    async fn a_lease_goes_from_hand_to_hand() {
        let config = apiserver::Config {
            admin_token: "admin".into(),
            ..apiserver::Config::default()
        };
        let server = apiserver::ApiServer::open(config).unwrap();
        let client = Client::new(server.admin_router(), "default");
        let (a, _candidate) = candidate(&client, "a");
        assert_eq!(until(&a, "a leads", |standing| standing.leads).await.epoch, 1);
        let (b, b_stands) = candidate(&client, "b");
        until(&b, "b follows a", |standing| standing.holder.as_deref() == Some("a")).await;

        a.release().await;
        assert_eq!(until(&b, "b leads", |standing| standing.leads).await.epoch, 2);
        b_stands.send_replace(false);
        until(&b, "b gave it up", |standing| !standing.leads).await;
        let (c, _candidate) = candidate(&client, "c");
        assert_eq!(until(&c, "c leads", |standing| standing.leads).await.epoch, 3);
    }
}

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::queue::tests::{order, with};

fn waiting(capacity: usize) -> Waiting {
    Waiting::new(capacity)
}

fn take(waiting: &mut Waiting, now: Instant, pause: Duration) -> Option<(Target, Arc<Order>)> {
    match waiting.next(now, pause) {
        Next::Order(target, order) => Some((target, order)),
        Next::At(_) | Next::Idle => None,
    }
}

#[test]
fn a_newer_order_takes_the_place_of_an_older_one() {
    let (mut waiting, now) = (waiting(2), Instant::now());
    waiting.submit(order("a", "1"), now).unwrap();
    waiting.submit(order("b", "1"), now).unwrap();
    assert_eq!(waiting.submit(order("c", "1"), now), Err(QueueFull));
    waiting.submit(order("a", "2"), now).unwrap();
    let (target, first) = take(&mut waiting, now, Duration::ZERO).unwrap();
    assert_eq!(*first, order("a", "2"), "in the place of the older one");
    // While it is under way a third comes, which is not lost when the second succeeds.
    waiting.submit(order("a", "3"), now).unwrap();
    waiting.settle(&target, &first, &Outcome::Done, now);
    assert_eq!(*take(&mut waiting, now, Duration::ZERO).unwrap().1, order("a", "3"));
}

#[test]
fn what_was_just_done_is_not_repeated_but_later_it_is() {
    let (mut waiting, now) = (waiting(10), Instant::now());
    waiting.submit(order("a", "1"), now).unwrap();
    let (target, first) = take(&mut waiting, now, Duration::ZERO).unwrap();
    waiting.settle(&target, &first, &Outcome::Done, now);
    waiting.submit(order("a", "1"), now + ECHO / 2).unwrap();
    assert!(take(&mut waiting, now + ECHO / 2, Duration::ZERO).is_none());
    waiting.submit(order("a", "1"), now + ECHO).unwrap();
    assert!(take(&mut waiting, now + ECHO, Duration::ZERO).is_some());
}

#[test]
fn one_object_is_written_at_most_once_a_pause_while_others_pass() {
    let (mut waiting, now, pause) = (waiting(10), Instant::now(), Duration::from_secs(1));
    waiting.submit(order("a", "1"), now).unwrap();
    let (target, first) = take(&mut waiting, now, pause).unwrap();
    waiting.settle(&target, &first, &Outcome::Done, now);
    waiting.submit(order("a", "2"), now).unwrap();
    assert!(matches!(waiting.next(now, pause), Next::At(due) if due == now + pause));
    waiting.submit(order("b", "1"), now).unwrap();
    assert_eq!(*take(&mut waiting, now, pause).unwrap().1, order("b", "1"));
    assert_eq!(*take(&mut waiting, now + pause, pause).unwrap().1, order("a", "2"));
}

#[test]
fn a_failing_order_is_tried_again_later_and_a_refused_one_is_not() {
    let (mut waiting, now) = (waiting(10), Instant::now());
    waiting.submit(order("a", "1"), now).unwrap();
    let (target, first) = take(&mut waiting, now, Duration::ZERO).unwrap();
    waiting.settle(&target, &first, &Outcome::Later("down".into()), now);
    assert!(take(&mut waiting, now, Duration::ZERO).is_none());
    assert!(take(&mut waiting, now + LAST_RETRY, Duration::ZERO).is_some());
    waiting.settle(&target, &first, &Outcome::Refused("no".into()), now);
    assert!(waiting.is_empty());
}

#[test]
fn one_object_is_written_by_one_order_at_a_time_while_others_pass() {
    let (mut waiting, now) = (waiting(10), Instant::now());
    let status = with("a", Change::Status(serde_json::json!({})));
    for order in [order("a", "1"), status.clone(), order("b", "1")] {
        waiting.submit(order, now).unwrap();
    }
    let (target, first) = take(&mut waiting, now, Duration::ZERO).unwrap();
    assert_eq!(*first, order("a", "1"));
    assert_eq!(*take(&mut waiting, now, Duration::ZERO).unwrap().1, order("b", "1"));
    assert!(take(&mut waiting, now, Duration::ZERO).is_none());
    waiting.settle(&target, &first, &Outcome::Done, now);
    assert_eq!(*take(&mut waiting, now, Duration::ZERO).unwrap().1, status);
}

#[test]
fn what_was_done_long_ago_is_forgotten_and_what_was_done_again_is_not() {
    let (mut waiting, now) = (waiting(10), Instant::now());
    let mut write = |name: &str, at: Instant| {
        waiting.submit(order(name, "1"), at).unwrap();
        let (target, order) = take(&mut waiting, at, Duration::ZERO).unwrap();
        waiting.settle(&target, &order, &Outcome::Done, at);
        waiting.done.len()
    };
    write("a", now);
    write("b", now);
    assert_eq!(write("a", now + REMEMBER / 2), 2);
    assert_eq!(write("c", now + REMEMBER), 2, "only b was done long ago");
    assert_eq!(write("c", now + REMEMBER * 2), 1);
}

proptest! {
    /// Whatever comes and however it goes: orders are taken in the order in which their targets came, each target once, and none is left.
    #[test]
    fn every_object_has_its_turn(names in vec(0..20u8, 1..60)) {
        let (mut waiting, now) = (waiting(100), Instant::now());
        let mut first_come: Vec<String> = Vec::new();
        for (version, name) in names.iter().enumerate() {
            let name = format!("n{name}");
            waiting.submit(order(&name, &version.to_string()), now).unwrap();
            if !first_come.contains(&name) {
                first_come.push(name);
            }
        }
        let mut taken = Vec::new();
        while let Some((target, order)) = take(&mut waiting, now, Duration::ZERO) {
            taken.push(order.name.clone());
            let outcome = match taken.len() % 2 {
                0 => Outcome::Done,
                _ => Outcome::Refused("no".to_owned()),
            };
            waiting.settle(&target, &order, &outcome, now);
        }
        prop_assert_eq!(taken, first_come);
        prop_assert!(waiting.is_empty() && waiting.turns.is_empty());
    }
}

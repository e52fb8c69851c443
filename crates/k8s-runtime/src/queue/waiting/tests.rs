use super::*;
use crate::queue::tests::order;

fn waiting(capacity: usize) -> Waiting {
    Waiting::new(capacity)
}

fn take(waiting: &Waiting, now: Instant, pause: Duration) -> Option<(Target, Order)> {
    match waiting.next(now, pause) {
        Next::Order(next) => Some(*next),
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
    let (target, first) = take(&waiting, now, Duration::ZERO).unwrap();
    assert_eq!(first, order("a", "2"), "in the place of the older one");
    // While it is under way a third comes, which is not lost when the second succeeds.
    waiting.submit(order("a", "3"), now).unwrap();
    waiting.settle(&target, &first, &Outcome::Done, now);
    assert_eq!(take(&waiting, now, Duration::ZERO).unwrap().1, order("a", "3"));
}

#[test]
fn what_was_just_done_is_not_repeated_but_later_it_is() {
    let (mut waiting, now) = (waiting(10), Instant::now());
    waiting.submit(order("a", "1"), now).unwrap();
    let (target, first) = take(&waiting, now, Duration::ZERO).unwrap();
    waiting.settle(&target, &first, &Outcome::Done, now);
    waiting.submit(order("a", "1"), now + ECHO / 2).unwrap();
    assert!(take(&waiting, now + ECHO / 2, Duration::ZERO).is_none());
    waiting.submit(order("a", "1"), now + ECHO).unwrap();
    assert!(take(&waiting, now + ECHO, Duration::ZERO).is_some());
}

#[test]
fn one_object_is_written_at_most_once_a_pause_while_others_pass() {
    let (mut waiting, now, pause) = (waiting(10), Instant::now(), Duration::from_secs(1));
    waiting.submit(order("a", "1"), now).unwrap();
    let (target, first) = take(&waiting, now, pause).unwrap();
    waiting.settle(&target, &first, &Outcome::Done, now);
    waiting.submit(order("a", "2"), now).unwrap();
    assert!(matches!(waiting.next(now, pause), Next::At(due) if due == now + pause));
    waiting.submit(order("b", "1"), now).unwrap();
    assert_eq!(take(&waiting, now, pause).unwrap().1, order("b", "1"));
    assert_eq!(take(&waiting, now + pause, pause).unwrap().1, order("a", "2"));
}

#[test]
fn a_failing_order_is_tried_again_later_and_a_refused_one_is_not() {
    let (mut waiting, now) = (waiting(10), Instant::now());
    waiting.submit(order("a", "1"), now).unwrap();
    let (target, first) = take(&waiting, now, Duration::ZERO).unwrap();
    waiting.settle(&target, &first, &Outcome::Later("down".into()), now);
    assert!(take(&waiting, now, Duration::ZERO).is_none());
    assert!(take(&waiting, now + LAST_RETRY, Duration::ZERO).is_some());
    waiting.settle(&target, &first, &Outcome::Refused("no".into()), now);
    assert!(waiting.is_empty());
}

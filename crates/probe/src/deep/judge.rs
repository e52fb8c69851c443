use std::time::{Duration, Instant};

use super::{Direction, Witness};
use crate::pace::Pace;

/// What is wrong behind a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing gets through.
    Forwarding,
    /// Only what the gateway tracks gets through, and what passes between clusters it does not track.
    Untracked,
    /// Small packets get through, and those of this size, bytes, do not.
    BlackHole {
        /// Of the packets that are lost.
        size: u16,
        /// On which way.
        direction: Direction,
    },
}

/// Weighs what the nodes behind one gateway say.
#[derive(Debug, Default)]
pub struct Judge {
    suspicion: Option<Suspicion>,
    sentence: Option<Sentence>,
    /// Only the cable's word is missing.
    awaits_cable: bool,
    /// It was convicted before: it has no first answer to wait for.
    is_known: bool,
}

/// What the witnesses say.
#[derive(Debug, Clone, Copy)]
struct Suspicion {
    fault: Fault,
    since: Instant,
    /// When it is believed, if it is of all packets.
    due: Instant,
}

/// Why the gateway is avoided.
#[derive(Debug, Clone, Copy)]
struct Sentence {
    fault: Fault,
    /// When that was last certain.
    since: Instant,
    until: Instant,
}

impl Judge {
    /// Hears the witnesses. `whole` is the size of which a packet set out and arrived over the cable alone, and the latest time at
    /// which it did so.
    pub fn take(&mut self, witnesses: &[Witness], whole: Option<(u16, Instant)>, now: Instant) {
        self.weigh(witnesses, whole, CABLE_FIRST, now);
    }

    /// Hears witnesses who were asked by way of a standby, and whose answers came by the gateway in use, which is probed at this pace. They
    /// say nothing of the way back; and if it is the gateway in use that fails, that has to be known first.
    pub fn take_one_way(&mut self, witnesses: &[Witness], whole: Option<(u16, Instant)>, used: Pace, now: Instant) {
        let there: Vec<Witness> = witnesses
            .iter()
            .map(|witness| Witness {
                lost: witness.lost.filter(|lost| lost.direction == Direction::There),
                ..*witness
            })
            .collect();
        self.weigh(&there, whole, CABLE_FIRST + used.every * 5, now);
    }

    /// The gateway that took its place is avoided too, until this time: for some minutes that is no reason to go back to this one.
    pub fn prolong(&mut self, until: Instant, now: Instant) {
        if let Some(sentence) = self.sentence.as_mut().filter(|sentence| now < sentence.until) {
            // Later than the other, which is looked at again when its time is over.
            let later = (until + A_MOMENT).min(sentence.since + TRY_AGAIN);
            sentence.until = sentence.until.max(later);
        }
    }

    /// Until when the gateway is to be avoided.
    pub fn avoided_until(&self, now: Instant) -> Option<Instant> {
        self.in_force(now).map(|sentence| sentence.until)
    }

    fn in_force(&self, now: Instant) -> Option<Sentence> {
        self.sentence.filter(|sentence| now < sentence.until)
    }

    fn weigh(&mut self, witnesses: &[Witness], whole: Option<(u16, Instant)>, patience: Duration, now: Instant) {
        self.awaits_cable = false;
        let Some(fault) = self.accusation(witnesses) else {
            self.suspicion = None;
            if witnesses.iter().any(|witness| witness.is_whole) {
                self.sentence = None;
            }
            return;
        };
        let since = match self.suspicion {
            Some(known) if known.fault.is_total() == fault.is_total() => known.since,
            _ => now,
        };
        let due = since + patience;
        self.suspicion = Some(Suspicion { fault, since, due });
        if self.is_certain(fault, due, witnesses, whole, now) {
            self.is_known = true;
            self.sentence = Some(Sentence {
                fault,
                since: now,
                until: now + AVOID_FOR,
            });
        }
    }

    /// The gateway is not in use, or its cable is down: nothing is heard of what lies behind it.
    pub fn adjourn(&mut self) {
        (self.suspicion, self.awaits_cable) = (None, false);
    }

    /// Whether it takes a packet of full size over the cable alone to tell what is at fault.
    pub fn awaits_cable(&self) -> bool {
        self.awaits_cable
    }

    /// What is wrong, as far as can be told: also where that is not certain enough to avoid the gateway for it.
    pub fn fault(&self, now: Instant) -> Option<Fault> {
        self.avoided(now).or(self.suspicion.map(|suspicion| suspicion.fault))
    }

    /// Why the gateway is to be avoided now.
    pub fn avoided(&self, now: Instant) -> Option<Fault> {
        self.in_force(now).map(|sentence| sentence.fault)
    }

    /// When this may be another just because time has passed.
    pub fn reconsider_at(&self, now: Instant) -> Option<Instant> {
        let due = self.suspicion.map(|suspicion| suspicion.due);
        let over = self.sentence.map(|sentence| sentence.until);
        due.into_iter().chain(over).filter(|at| *at > now).min()
    }

    /// What the witnesses say, if they are of one mind.
    fn accusation(&self, witnesses: &[Witness]) -> Option<Fault> {
        let have_answered = |witness: &Witness| witness.was_up || self.is_known;
        if witnesses.is_empty() || witnesses.iter().any(|witness| witness.is_up.is_none()) {
            return None;
        }
        let mut up = witnesses
            .iter()
            .filter(|witness| witness.is_up == Some(true))
            .peekable();
        if up.peek().is_none() {
            let fault = if witnesses.iter().any(|witness| witness.is_up_if_tracked) {
                Fault::Untracked
            } else {
                Fault::Forwarding
            };
            return witnesses.iter().any(have_answered).then_some(fault);
        }
        let losses: Option<Vec<_>> = up.map(|witness| witness.lost).collect();
        let first = losses?.into_iter().min_by_key(|lost| lost.direction)?;
        Some(Fault::BlackHole {
            size: first.size,
            direction: first.direction,
        })
    }

    fn is_certain(
        &mut self,
        fault: Fault,
        due: Instant,
        witnesses: &[Witness],
        whole: Option<(u16, Instant)>,
        now: Instant,
    ) -> bool {
        let count = |is_one: &dyn Fn(&Witness) -> bool| witnesses.iter().filter(|witness| is_one(witness)).count();
        match fault {
            Fault::Forwarding | Fault::Untracked => {
                let have_answered = count(&|witness| witness.was_up);
                witnesses.len() >= WITNESSES && (have_answered >= WITNESSES || self.is_known) && now >= due
            }
            Fault::BlackHole { size, .. } => {
                let began = witnesses.iter().filter_map(|witness| Some(witness.lost?.since)).max();
                let cable_is_sound = whole.is_some_and(|(passed, at)| passed >= size && Some(at) > began);
                let losing = count(&|witness| witness.lost.is_some() && (witness.was_whole || self.is_known));
                self.awaits_cable = losing >= WITNESSES && !cable_is_sound;
                losing >= WITNESSES && cable_is_sound
            }
        }
    }
}

impl Fault {
    /// Whether it is all of the traffic that gets lost.
    fn is_total(self) -> bool {
        match self {
            Self::Forwarding | Self::Untracked => true,
            Self::BlackHole { .. } => false,
        }
    }
}

/// So many nodes must say so: one may itself be what is broken.
const WITNESSES: usize = 2;
/// A dead cable at the active pace is known after this, with some to spare.
const CABLE_FIRST: Duration = Duration::from_millis(400);
const AVOID_FOR: Duration = Duration::from_secs(30);
const A_MOMENT: Duration = Duration::from_secs(1);
/// A gateway that could not be tested since it was convicted may have been mended.
const TRY_AGAIN: Duration = Duration::from_secs(5 * 60);

#[cfg(test)]
mod tests {
    use super::super::LargeLoss;
    use super::*;

    fn answers(is_up: bool, was_up: bool) -> Witness {
        Witness {
            is_up: Some(is_up),
            was_up,
            was_whole: was_up,
            is_whole: is_up && was_up,
            is_up_if_tracked: false,
            lost: None,
        }
    }

    fn loses(since: Instant, direction: Direction) -> Witness {
        Witness {
            lost: Some(LargeLoss {
                since,
                size: 1420,
                direction,
            }),
            is_whole: false,
            ..answers(true, true)
        }
    }

    #[test]
    fn one_dead_node_is_no_verdict_and_two_are() {
        let now = Instant::now();
        let mut judge = Judge::default();
        let mut avoided = |witnesses: &[Witness], at| {
            judge.take(witnesses, None, at);
            judge.avoided(at) == Some(Fault::Forwarding)
        };
        let (up, dead, never) = (answers(true, true), answers(false, true), answers(false, false));
        assert!(!avoided(&[up, dead], now));
        assert!(!avoided(&[dead], now), "it may be the node");
        assert!(!avoided(&[never, never], now), "nobody there may ever have answered");
        assert!(!avoided(&[dead, Witness::default()], now), "one may still answer");
        assert!(!avoided(&[dead, dead], now), "it may be the cable");
        let found = now + CABLE_FIRST;
        assert!(avoided(&[dead, dead], found));
        assert!(avoided(&[dead, dead], found + AVOID_FOR / 2));
        let later = found + AVOID_FOR * 2;
        assert!(!avoided(&[up, never], later));
        assert!(!avoided(&[never, never], later));
        assert!(avoided(&[never, never], later + CABLE_FIRST), "it was broken before");
        assert!(!avoided(&[up, never], later + CABLE_FIRST), "it works again");
    }

    #[test]
    fn who_is_heard_one_way_only_is_believed_later() {
        let now = Instant::now();
        let at = |ms| now + Duration::from_millis(ms);
        let (up, dead) = ([answers(true, true); 2], [answers(false, true); 2]);
        let mut judge = Judge::default();
        judge.take_one_way(&dead, None, Pace::ACTIVE, at(0));
        judge.take_one_way(&dead, None, Pace::ACTIVE, at(850));
        assert_eq!(judge.avoided(at(850)), None, "it may be the other gateway");
        let due = judge.reconsider_at(at(850)).unwrap();
        judge.take_one_way(&dead, None, Pace::ACTIVE, due);
        assert_eq!(judge.avoided(due), Some(Fault::Forwarding));
        judge.take_one_way(&up, None, Pace::ACTIVE, at(2000));
        assert_eq!(judge.avoided(at(2000)), None, "it works again");

        let sound = Some((1420, at(3000)));
        judge.take_one_way(&[loses(at(2500), Direction::Back); 2], sound, Pace::ACTIVE, at(3100));
        assert_eq!(judge.fault(at(3100)), None, "that is the other gateway's way");
        judge.take_one_way(&[loses(at(2500), Direction::There); 2], sound, Pace::ACTIVE, at(3100));
        assert!(judge.avoided(at(3100)).is_some());
    }

    #[test]
    fn nobody_is_forgiven_while_who_took_the_place_is_no_better() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let dead = [answers(false, true); 2];
        let convicted = |from: u64| {
            let mut judge = Judge::default();
            judge.take(&dead, None, at(from));
            judge.take(&dead, None, at(from + 400));
            judge
        };
        let (mut first, mut second) = (convicted(0), convicted(2000));
        for now in [at(2400), at(32_400), at(62_405)] {
            second.take(&dead, None, now);
            first.prolong(second.avoided_until(now).unwrap(), now);
            assert!(first.avoided(now).is_some() && first.avoided_until(now) > second.avoided_until(now));
        }
        let later = at(92_000);
        first.prolong(later + TRY_AGAIN, later);
        let end = at(400) + TRY_AGAIN;
        assert_eq!(first.avoided_until(later), Some(end), "it may have been mended");
        first.prolong(end + AVOID_FOR, end);
        assert_eq!(first.avoided(end), None, "what is over is over");
    }

    #[test]
    fn a_node_that_answers_what_is_tracked_tells_why_the_others_do_not() {
        let now = Instant::now();
        let later = now + CABLE_FIRST;
        let tracked = |was_up| Witness {
            is_up_if_tracked: true,
            ..answers(false, was_up)
        };
        let mut judge = Judge::default();
        judge.take(&[tracked(false), tracked(false)], None, now);
        judge.take(&[tracked(false), tracked(false)], None, later);
        assert_eq!(judge.fault(later), None, "it never worked: it may just begin");

        let mut judge = Judge::default();
        judge.take(&[answers(false, true), answers(false, true)], None, now);
        assert_eq!(judge.fault(now), Some(Fault::Forwarding));
        judge.take(&[answers(false, true), tracked(true)], None, later);
        assert_eq!(
            judge.avoided(later),
            Some(Fault::Untracked),
            "the better word takes no longer"
        );
        judge.take(&[answers(true, true), tracked(true)], None, later);
        assert_eq!(judge.fault(later), None);
    }

    #[test]
    fn large_packets_are_lost_behind_a_gateway_only_if_they_pass_its_cable_meanwhile() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let both = [loses(at(100), Direction::Back), loses(at(120), Direction::There)];
        let fault = Fault::BlackHole {
            size: 1420,
            direction: Direction::There,
        };
        let mut judge = Judge::default();
        for whole in [None, Some((1420, at(110))), Some((1300, at(500)))] {
            judge.take(&both, whole, at(600));
            assert_eq!((judge.avoided(at(600)), judge.fault(at(600))), (None, Some(fault)));
            assert!(judge.awaits_cable());
        }
        let sound = Some((1420, at(500)));
        judge.take(&both[..1], sound, at(600));
        assert_eq!(judge.avoided(at(600)), None, "it may be the node");
        judge.take(&[both[0], answers(true, true)], sound, at(600));
        assert_eq!(judge.fault(at(600)), None, "it is the node");
        let never = both.map(|witness| Witness {
            was_whole: false,
            ..witness
        });
        judge.take(&never, sound, at(600));
        assert_eq!(judge.avoided(at(600)), None, "another gateway would do no better");
        judge.take(&both, sound, at(600));
        assert_eq!(judge.avoided(at(600)), Some(fault));
        judge.take(&[answers(true, true); 2], sound, at(700));
        assert_eq!(judge.fault(at(700)), None, "it works again");
    }
}

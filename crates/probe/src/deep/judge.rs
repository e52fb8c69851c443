use std::time::{Duration, Instant};

use super::{Direction, Witness};

/// What is wrong behind a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing gets through.
    Forwarding,
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
    /// What they say now, and since when.
    suspicion: Option<(Fault, Instant)>,
    /// Until when the gateway is avoided, and why.
    sentence: Option<(Fault, Instant)>,
    /// Only the cable's word is missing.
    awaits_cable: bool,
    /// It was convicted before: it has no first answer to wait for.
    is_known: bool,
}

impl Judge {
    /// Hears the witnesses. `whole` is the size of which a packet set out and arrived over the cable alone, and the latest time at
    /// which it did so.
    pub fn take(&mut self, witnesses: &[Witness], whole: Option<(u16, Instant)>, now: Instant) {
        self.awaits_cable = false;
        let Some(fault) = self.accusation(witnesses) else {
            self.suspicion = None;
            if witnesses
                .iter()
                .any(|witness| witness.is_up == Some(true) && witness.lost.is_none() && witness.was_whole)
            {
                // By way of itself: it was the only one, and works again.
                self.sentence = None;
            }
            return;
        };
        let since = match self.suspicion {
            Some((known, since)) if std::mem::discriminant(&known) == std::mem::discriminant(&fault) => since,
            _ => now,
        };
        self.suspicion = Some((fault, since));
        if self.is_certain(fault, since, witnesses, whole, now) {
            self.is_known = true;
            self.sentence = Some((fault, now + AVOID_FOR));
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
        self.avoided(now).or(self.suspicion.map(|(fault, _)| fault))
    }

    /// Why the gateway is to be avoided now.
    pub fn avoided(&self, now: Instant) -> Option<Fault> {
        self.sentence.filter(|(_, until)| now < *until).map(|(fault, _)| fault)
    }

    /// When this may be another just because time has passed.
    pub fn reconsider_at(&self, now: Instant) -> Option<Instant> {
        let due = self.suspicion.map(|(_, since)| since + CABLE_FIRST);
        let over = self.sentence.map(|(_, until)| until);
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
            return witnesses.iter().any(have_answered).then_some(Fault::Forwarding);
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
        since: Instant,
        witnesses: &[Witness],
        whole: Option<(u16, Instant)>,
        now: Instant,
    ) -> bool {
        let count = |is_one: &dyn Fn(&Witness) -> bool| witnesses.iter().filter(|witness| is_one(witness)).count();
        match fault {
            Fault::Forwarding => {
                let have_answered = count(&|witness| witness.was_up);
                witnesses.len() >= WITNESSES
                    && (have_answered >= WITNESSES || self.is_known)
                    && now >= since + CABLE_FIRST
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

/// So many nodes must say so: one may itself be what is broken.
const WITNESSES: usize = 2;
/// A dead cable at the active pace is known after this, with some to spare.
const CABLE_FIRST: Duration = Duration::from_millis(400);
const AVOID_FOR: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::super::LargeLoss;
    use super::*;

    fn answers(is_up: bool, was_up: bool) -> Witness {
        Witness {
            is_up: Some(is_up),
            was_up,
            was_whole: was_up,
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

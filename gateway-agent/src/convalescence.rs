//! What the deep probes of others mean for this gateway: who is called broken gives up the role, for a while, if that helps.
//!
//! ```text
//!   called broken ──▶ steps back for a minute ──▶ stands for the role again
//!                        │ nobody has the role, and it is not called broken any more: at once, or half a second after its rivals
//!                        └ nobody has the role, and it still is: the last that had it first, for some seconds, the next time for longer
//! ```
//!
//! The last line is for a fault that moving does not cure, such as one of the nodes behind all of the gateways: broken gateways are better
//! than none, and the role does not go round among them. For it may also be that another is well again just after it was needed, the first
//! times are short.

use std::time::{Duration, Instant};

use tunnel::CableStatus;

/// The time in which a gateway that was called broken leaves the role to others. It ends early when there are no others.
#[derive(Debug, Default)]
pub(crate) struct Convalescence {
    called_broken: Option<Instant>,
    free_since: Option<Instant>,
    /// Nobody has had the role since this gateway.
    had_role: bool,
    /// It stands for the role whatever it is called.
    need: Option<Need>,
}

/// Nobody else stood for the role.
#[derive(Debug, Clone, Copy)]
struct Need {
    since: Instant,
    lasts: Duration,
}

/// The role of the active gateway, as the lease has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// This gateway's.
    Own,
    /// Another's, or not known.
    Taken,
    /// Nobody's.
    Free,
}

impl Convalescence {
    /// Listens to what the peers say now, and looks whether anybody has the role; the cluster has so many `gateways`.
    pub(crate) fn take(&mut self, cables: &[CableStatus], role: Role, gateways: usize, now: Instant) {
        if cables.iter().any(|cable| cable.calls_us_broken) {
            if !self.lasts(now) && !self.is_needed(now) {
                tracing::warn!("another cluster finds that packets get lost behind this gateway: it steps back");
            }
            self.called_broken = Some(now);
        }
        match role {
            Role::Own => self.had_role = true,
            Role::Taken => self.had_role = false,
            Role::Free => {}
        }
        self.free_since = (role == Role::Free).then(|| self.free_since.unwrap_or(now));
        if !self.lasts(now) {
            return;
        }
        let is_past = |at: Option<Instant>, time| at.is_some_and(|at| now.saturating_duration_since(at) >= time);
        let patience = if self.had_role { LAST_ACTIVE_FIRST } else { ANYBODY };
        // Who had the role last has given it up.
        let has_rivals = gateways > if self.had_role { 1 } else { 2 };
        let others_first = if !has_rivals || is_past(self.called_broken, WELL) {
            Duration::ZERO
        } else {
            OTHERS_FIRST
        };
        if is_past(self.free_since, others_first) && is_past(self.called_broken, QUIET) {
            tracing::warn!("nobody takes the role of the active gateway: this one stands for it again");
            self.called_broken = None;
        } else if is_past(self.free_since, patience) {
            tracing::warn!("every gateway of this cluster is called broken: this one stands for the role all the same");
            let lasts = match self.need {
                Some(last) if now < last.since + last.lasts + CONVALESCENCE => (last.lasts * 2).min(CONVALESCENCE),
                _ => FIRST_NEED,
            };
            self.need = Some(Need { since: now, lasts });
        }
    }

    /// Whether it still has to recover.
    pub(crate) fn lasts(&self, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < CONVALESCENCE;
        self.called_broken.is_some_and(is_recent) && !self.is_needed(now)
    }

    fn is_needed(&self, now: Instant) -> bool {
        self.need.is_some_and(|need| now < need.since + need.lasts)
    }
}

const CONVALESCENCE: Duration = Duration::from_secs(60);
/// Who is well takes a free role sooner.
const OTHERS_FIRST: Duration = Duration::from_millis(500);
/// Who has not been called broken for so long is rather well than who is.
const QUIET: Duration = Duration::from_secs(2);
/// Who has not been called broken for so long is as well as any, as far as can be told: standbys are probed deeply too.
const WELL: Duration = Duration::from_secs(10);
/// Who is well, and who was called broken until just now, takes a free role sooner.
const LAST_ACTIVE_FIRST: Duration = Duration::from_secs(3);
/// Later still, so that two do not take it in turns.
const ANYBODY: Duration = Duration::from_secs(6);
/// For how long the last active gateway goes on the first time that nobody else does.
const FIRST_NEED: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::cable;
    use model::ConnectionState::Connected;

    fn calls(calls_us_broken: bool) -> [CableStatus; 1] {
        [CableStatus {
            calls_us_broken,
            ..cable("gw1", Connected, true)
        }]
    }

    #[test]
    fn a_gateway_recovers_unless_it_is_needed() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rest = Convalescence::default();
        rest.take(&calls(false), Role::Free, 3, at(0));
        assert!(!rest.lasts(at(0)), "it was never ill");
        rest.take(&calls(true), Role::Taken, 3, at(1000));
        rest.take(&calls(false), Role::Taken, 3, at(9000));
        assert!(rest.lasts(at(9000)) && !rest.lasts(at(61_000)));

        rest.take(&calls(false), Role::Free, 3, at(10_000));
        rest.take(&calls(false), Role::Taken, 3, at(10_400));
        rest.take(&calls(false), Role::Free, 3, at(10_800));
        assert!(rest.lasts(at(11_200)), "somebody took it meanwhile");
        rest.take(&calls(false), Role::Free, 3, at(11_300));
        assert!(!rest.lasts(at(11_300)), "nobody else does");

        rest.take(&calls(true), Role::Free, 3, at(12_000));
        rest.take(&calls(false), Role::Taken, 3, at(12_100));
        rest.take(&calls(false), Role::Free, 3, at(13_400));
        rest.take(&calls(false), Role::Free, 3, at(13_900));
        assert!(rest.lasts(at(13_900)), "it was called broken just now");
        rest.take(&calls(false), Role::Free, 3, at(14_000));
        assert!(!rest.lasts(at(14_000)));
    }

    #[test]
    fn who_has_been_well_for_a_while_or_has_no_rival_takes_a_free_role_at_once() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for (gateways, free_at, is_quick) in [(3, 5000, false), (3, 20_000, true), (2, 5000, true), (2, 1500, false)] {
            let mut rest = Convalescence::default();
            rest.take(&calls(true), Role::Taken, gateways, at(0));
            rest.take(&calls(false), Role::Free, gateways, at(free_at));
            assert_eq!(!rest.lasts(at(free_at)), is_quick);
        }
    }

    /// Gateways that are called broken, each until a time, and a lease that goes to the first that stands.
    struct Cluster {
        gateways: Vec<(Convalescence, Instant)>,
        dead: Vec<usize>,
        holder: Option<usize>,
        now: Instant,
        moves: u32,
        without: Duration,
    }

    impl Cluster {
        fn new(recover_after: &[u64]) -> Self {
            let now = Instant::now();
            let gateways = recover_after
                .iter()
                .map(|seconds| (Convalescence::default(), now + Duration::from_secs(*seconds)));
            Self {
                gateways: gateways.collect(),
                dead: Vec::new(),
                holder: Some(0),
                now,
                moves: 0,
                without: Duration::ZERO,
            }
        }

        /// Who has the role, now or soon.
        fn next_holder(&mut self) -> usize {
            let end = self.now + ANYBODY;
            while self.holder.is_none() && self.now < end {
                self.run(Duration::from_millis(250));
            }
            self.holder.expect("a broken gateway is better than none")
        }

        fn run(&mut self, time: Duration) {
            let (end, turn) = (self.now + time, Duration::from_millis(250));
            while self.now < end {
                self.now += turn;
                let (now, count) = (self.now, self.gateways.len());
                for (place, (rest, ill_until)) in self.gateways.iter_mut().enumerate() {
                    let role = match self.holder {
                        Some(holder) if holder == place => Role::Own,
                        Some(_) => Role::Taken,
                        None => Role::Free,
                    };
                    rest.take(&calls(now < *ill_until), role, count, now);
                }
                let stands = |place: usize| !self.gateways[place].0.lasts(now) && !self.dead.contains(&place);
                match self.holder {
                    Some(holder) if !stands(holder) => self.holder = None,
                    Some(_) => {}
                    None => {
                        self.holder = (0..self.gateways.len()).find(|place| stands(*place));
                        self.moves += u32::from(self.holder.is_some());
                        self.without += turn;
                    }
                }
            }
        }
    }

    #[test]
    fn where_all_are_called_broken_the_last_active_one_goes_on() {
        const FOREVER: u64 = 100_000;
        let mut cluster = Cluster::new(&[FOREVER, FOREVER]);
        cluster.run(Duration::from_secs(10));
        let last = cluster.next_holder();
        cluster.run(Duration::from_secs(600));
        assert_eq!(cluster.next_holder(), last, "moving did not cure it");
        assert!(cluster.moves <= 15, "{} times in ten minutes", cluster.moves);
        assert!(cluster.without < Duration::from_secs(50), "{:?}", cluster.without);
    }

    #[test]
    fn who_was_called_broken_until_just_now_takes_over_from_who_is() {
        for ill_for in [0, 1, 2, 3, 4, 6] {
            let mut cluster = Cluster::new(&[10_000, ill_for]);
            cluster.run(Duration::from_secs(20));
            assert_eq!(cluster.holder, Some(1), "well after {ill_for} s");
        }
    }

    #[test]
    fn a_broken_standby_is_passed_over_while_there_is_another() {
        let mut cluster = Cluster::new(&[0, 10_000, 0]);
        cluster.run(Duration::from_secs(10));
        assert_eq!((cluster.holder, cluster.moves), (Some(0), 0));
        cluster.dead.push(0);
        cluster.run(Duration::from_secs(100));
        assert_eq!((cluster.holder, cluster.moves), (Some(2), 1));
        cluster.dead.push(2);
        cluster.run(Duration::from_secs(10));
        assert_eq!(cluster.holder, Some(1), "nobody else is left");
    }

    #[test]
    fn the_first_that_is_well_again_gets_the_role() {
        let mut cluster = Cluster::new(&[10_000, 100]);
        cluster.run(Duration::from_secs(90));
        assert_ne!(cluster.holder, Some(1));
        cluster.run(Duration::from_secs(150));
        assert_eq!(cluster.holder, Some(1));
        cluster.run(Duration::from_secs(600));
        assert_eq!(cluster.holder, Some(1));
    }
}

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use model::ProbeRole;

/// One of several gateways that lead to the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Since when it works; none while it does not.
    pub live_since: Option<Instant>,
    /// What it says of itself.
    pub role: ProbeRole,
    /// What is sent by it gets lost behind it.
    pub is_broken: bool,
    /// It comes first among those that claim nothing.
    pub is_preferred: bool,
}

/// Which candidate to use, by its place in the list; `current` is the one in use.
///
/// The one that claims to be active with the highest epoch, for its cluster chose it; one that drains or is broken only if there is no
/// other; and only one that works. A candidate that works again takes over from one that works only after [`SETTLED`]: a gateway that comes
/// and goes moves no traffic each time.
pub fn choose(candidates: &[Candidate], current: Option<usize>, now: Instant) -> Option<usize> {
    let works = |place: &usize| {
        candidates
            .get(*place)
            .is_some_and(|candidate| candidate.live_since.is_some())
    };
    // One that is about to go, or of no use, has nothing to spare.
    let kept = current
        .filter(works)
        .filter(|place| !candidates[*place].role.draining && !candidates[*place].is_broken);
    let is_eligible = |place: usize, since: Instant| {
        kept.is_none_or(|kept| kept == place) || now.saturating_duration_since(since) >= SETTLED
    };
    let all = candidates.iter().enumerate();
    all.filter(|(place, candidate)| candidate.live_since.is_some_and(|since| is_eligible(*place, since)))
        .min_by_key(|(place, candidate)| (rank(candidate), *place))
        .map(|(place, _)| place)
}

/// Lower is better.
fn rank(candidate: &Candidate) -> (bool, bool, bool, Reverse<u64>, bool) {
    let role = candidate.role;
    (
        candidate.is_broken,
        role.draining,
        !role.active,
        Reverse(if role.active { role.epoch } else { 0 }),
        !candidate.is_preferred,
    )
}

/// When [`choose`] may come to another result just because time has passed.
pub fn reconsider_at(candidates: &[Candidate], now: Instant) -> Option<Instant> {
    let settling = candidates
        .iter()
        .filter_map(|candidate| Some(candidate.live_since? + SETTLED));
    settling.filter(|at| *at > now).min()
}

/// How long a candidate must have worked before it takes over from another that works.
pub const SETTLED: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(live_for: Option<u64>, active: bool, epoch: u64, now: Instant) -> Candidate {
        Candidate {
            live_since: live_for.map(|seconds| now - Duration::from_secs(seconds)),
            role: ProbeRole {
                active,
                epoch,
                draining: false,
            },
            is_broken: false,
            is_preferred: false,
        }
    }

    fn now() -> Instant {
        Instant::now() + Duration::from_secs(100)
    }

    #[test]
    fn the_newest_claim_is_followed_and_a_dead_one_is_passed_over() {
        let now = now();
        let mut all = [
            candidate(Some(60), false, 9, now),
            candidate(Some(60), true, 3, now),
            candidate(Some(60), true, 4, now),
        ];
        assert_eq!(choose(&all, None, now), Some(2));
        assert_eq!(choose(&all, Some(0), now), Some(2));
        all[2].live_since = None;
        assert_eq!(choose(&all, Some(2), now), Some(1));
        all[1].live_since = None;
        assert_eq!(choose(&all, Some(2), now), Some(0));
        all[0].live_since = None;
        assert_eq!(choose(&all, Some(0), now), None);
    }

    #[test]
    fn one_that_comes_back_waits_until_it_has_settled() {
        let now = now();
        let mut all = [candidate(Some(2), true, 4, now), candidate(Some(60), false, 0, now)];
        assert_eq!(choose(&all, Some(1), now), Some(1));
        assert_eq!(reconsider_at(&all, now), Some(now + Duration::from_secs(1)));
        assert_eq!(
            choose(&all, None, now),
            Some(0),
            "where nothing is in use there is nothing to spare"
        );
        all[0].live_since = Some(now - SETTLED);
        assert_eq!(choose(&all, Some(1), now), Some(0));
        assert_eq!(reconsider_at(&all, now), None);
    }

    #[test]
    fn one_that_drains_is_left_at_once() {
        let now = now();
        let mut all = [candidate(Some(60), true, 4, now), candidate(Some(0), false, 0, now)];
        all[0].role.draining = true;
        assert_eq!(choose(&all, Some(0), now), Some(1));
        all[1].live_since = None;
        assert_eq!(choose(&all, Some(0), now), Some(0), "unless it is the only one");
    }

    fn any_candidate(now: Instant) -> impl Strategy<Value = Candidate> {
        (
            proptest::option::of(0u64..9),
            any::<(bool, bool, bool, bool)>(),
            0u64..4,
        )
            .prop_map(
                move |(live_for, (active, draining, is_broken, is_preferred), epoch)| Candidate {
                    role: ProbeRole {
                        active,
                        draining,
                        epoch,
                    },
                    is_broken,
                    is_preferred,
                    ..candidate(live_for, active, epoch, now)
                },
            )
    }

    proptest! {
        /// It is one that works whenever there is one, and once chosen it stays while nothing changes.
        #[test]
        fn it_works_and_stays(all in proptest::collection::vec(any_candidate(now()), 0..6), current in proptest::option::of(0usize..6)) {
            let now = now();
            let chosen = choose(&all, current, now);
            prop_assert_eq!(chosen.is_some(), all.iter().any(|candidate| candidate.live_since.is_some()));
            if let Some(place) = chosen {
                prop_assert!(all[place].live_since.is_some());
                prop_assert_eq!(choose(&all, chosen, now), chosen);
            }
        }
    }
}

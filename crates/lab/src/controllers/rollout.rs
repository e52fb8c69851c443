//! How much of a workload may be missing, or there twice, while it is replaced.

use k8s_openapi::api::apps::v1::{DeploymentSpec, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a percentage becomes a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    Up,
    Down,
}

/// A number, or a percentage of `total`. Anything else counts as none.
pub(super) fn resolve(limit: &IntOrString, total: i32, rounding: Rounding) -> i32 {
    match limit {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent: i32 = text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok())
                .unwrap_or(0);
            let hundredths = percent.saturating_mul(total);
            match rounding {
                Rounding::Up => hundredths.saturating_add(99) / 100,
                Rounding::Down => hundredths / 100,
            }
        }
    }
}

/// What bounds a roll.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roll {
    pub(super) replicas: i32,
    max_surge: i32,
    pub(super) max_unavailable: i32,
    is_recreate: bool,
}

impl Roll {
    /// What this Deployment asks for, with Kubernetes' defaults.
    pub(super) fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1).max(0);
        let rolling = spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.rolling_update.as_ref());
        let quarter = || IntOrString::String("25%".to_owned());
        let surge = rolling
            .and_then(|rolling| rolling.max_surge.clone())
            .unwrap_or_else(quarter);
        let unavailable = rolling
            .and_then(|rolling| rolling.max_unavailable.clone())
            .unwrap_or_else(quarter);
        let max_surge = resolve(&surge, replicas, Rounding::Up).max(0);
        let max_unavailable = resolve(&unavailable, replicas, Rounding::Down).clamp(0, replicas);
        Self {
            replicas,
            max_surge,
            // With neither a surge nor a gap, nothing could ever move.
            max_unavailable: if max_surge == 0 {
                max_unavailable.max(1)
            } else {
                max_unavailable
            },
            is_recreate: spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate"),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) current: i32,
    pub(super) old: Vec<i32>,
}

/// The size that every set should have now.
pub(super) fn sizes(roll: &Roll, current: Option<&ReplicaSet>, old: &[&ReplicaSet], pods_left: bool) -> Sizes {
    if roll.is_recreate {
        let current = if pods_left {
            current.map_or(0, size)
        } else {
            roll.replicas
        };
        return Sizes {
            current,
            old: vec![0; old.len()],
        };
    }
    let mut old_sizes: Vec<i32> = old.iter().map(|set| size(set)).collect();
    let total = old_sizes.iter().sum::<i32>() + current.map_or(0, size);
    let room = (roll.replicas + roll.max_surge - total).max(0);
    let current_size = roll.replicas.min(current.map_or(0, size) + room);

    // Pods that serve nobody go first, then ready ones as far as the rest suffices.
    let current_waiting = current.map_or(0, |set| size(set) - available(set)).max(0);
    let mut may_go = (total - (roll.replicas - roll.max_unavailable) - current_waiting).max(0);
    for (size, set) in old_sizes.iter_mut().zip(old) {
        let gone = (*size - available(set)).clamp(0, may_go);
        *size -= gone;
        may_go -= gone;
    }
    let all_available = old.iter().copied().chain(current).map(available).sum::<i32>();
    let mut may_go = may_go
        .min(all_available - (roll.replicas - roll.max_unavailable))
        .max(0);
    for size in &mut old_sizes {
        let gone = (*size).clamp(0, may_go);
        *size -= gone;
        may_go -= gone;
    }
    Sizes {
        current: current_size,
        old: old_sizes,
    }
}

pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Available pods that the set will keep: a status may be older than the size that was just written.
pub(super) fn available(set: &ReplicaSet) -> i32 {
    let reported = set
        .status
        .as_ref()
        .and_then(|status| status.available_replicas)
        .unwrap_or(0);
    reported.min(size(set))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn percentages_round_as_asked() {
        let quarter = IntOrString::String("25%".to_owned());
        assert_eq!(resolve(&quarter, 2, Rounding::Up), 1);
        assert_eq!(resolve(&quarter, 2, Rounding::Down), 0);
        assert_eq!(resolve(&quarter, 8, Rounding::Up), 2);
        assert_eq!(resolve(&IntOrString::Int(3), 8, Rounding::Up), 3);
        assert_eq!(resolve(&IntOrString::String("much".to_owned()), 8, Rounding::Up), 0);
    }

    fn set(size: i32, available: i32) -> ReplicaSet {
        serde_json::from_value(json!({
            "metadata": {"name": "s"},
            "spec": {"replicas": size, "selector": {}},
            "status": {"replicas": size, "availableReplicas": available},
        }))
        .unwrap()
    }

    fn roll(replicas: i32, max_surge: i32, max_unavailable: i32) -> Roll {
        Roll {
            replicas,
            max_surge,
            max_unavailable,
            is_recreate: false,
        }
    }

    #[test]
    fn recreate_waits_until_the_old_pods_are_gone() {
        let recreate = Roll {
            is_recreate: true,
            ..roll(3, 0, 0)
        };
        let old = set(3, 3);
        assert_eq!(
            sizes(&recreate, None, &[&old], true),
            Sizes {
                current: 0,
                old: vec![0]
            }
        );
        assert_eq!(sizes(&recreate, None, &[&set(0, 0)], false).current, 3);
    }

    proptest! {
        /// Whatever the state, a roll keeps both promises, and where pods become ready it ends.
        #[test]
        fn a_roll_keeps_its_bounds_and_ends(replicas in 0i32..7, surge in 0i32..3, gap in 0i32..3, a in 0i32..7, b in 0i32..7) {
            let roll = roll(replicas, surge, if surge == 0 { gap.max(1) } else { gap });
            let mut current = None;
            let mut old = vec![(a, a), (b, 0)];
            for _ in 0..60 {
                let now = current.map(|(size, available)| set(size, available));
                let olds: Vec<ReplicaSet> = old.iter().map(|(size, available)| set(*size, *available)).collect();
                let next = sizes(&roll, now.as_ref(), &olds.iter().collect::<Vec<_>>(), true);
                let before: i32 = old.iter().map(|(size, _)| size).sum::<i32>() + current.map_or(0, |(size, _)| size);
                let after: i32 = next.old.iter().sum::<i32>() + next.current;
                prop_assert!(after <= before.max(replicas + surge), "{after} pods of {before}");
                let ready_before: i32 = old.iter().map(|(_, ready)| ready).sum::<i32>() + current.map_or(0, |(_, ready)| ready);
                // The kubelet stops the unready first; what became ready since then only helps.
                let ready_after: i32 = next.old.iter().zip(&old).map(|(size, (_, ready))| size.min(ready)).sum::<i32>()
                    + current.map_or(0, |(_, ready)| ready.min(next.current));
                prop_assert!(ready_after >= ready_before.min(replicas - roll.max_unavailable), "{ready_after} ready of {ready_before}");
                old = next.old.iter().zip(&old).map(|(size, (_, ready))| (*size, *size.min(ready))).collect();
                current = Some((next.current, next.current));
            }
            prop_assert_eq!(current, Some((replicas, replicas)));
            prop_assert!(old.iter().all(|(size, _)| *size == 0));
        }
    }
}

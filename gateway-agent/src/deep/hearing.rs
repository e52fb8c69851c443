//! What the nodes behind each peer say, weighed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use model::GatewayId;
use probe::{Fault, Judge, Pace, Witness};
use tokio::sync::Notify;

use super::{Target, Targets};

/// A node, by way of a peer.
pub(super) type Key = (GatewayId, IpAddr);

/// What one task tells of its node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) witness: Witness,
    /// Ports that it sends from.
    pub(super) ports: Vec<u16>,
}

/// What the tasks have reported, and the bell that they ring.
#[derive(Debug, Default)]
pub(super) struct Reports {
    by_path: Mutex<BTreeMap<Key, Report>>,
    pub(super) news: Notify,
}

impl Reports {
    pub(super) fn put(&self, key: &Key, report: Report) {
        let mut reports = self.lock();
        if reports.get(key) != Some(&report) {
            reports.insert(key.clone(), report);
            self.news.notify_one();
        }
    }

    /// Forgets all but these.
    pub(super) fn retain(&self, is_wanted: impl Fn(&Key) -> bool) {
        self.lock().retain(|key, _| is_wanted(key));
    }

    /// The ports from which standbys are probed, each with its standby.
    pub(super) fn detours(&self, targets: &Targets) -> BTreeMap<u16, GatewayId> {
        let reports = self.lock();
        let of_standbys = reports
            .iter()
            .filter(|((peer, _), _)| targets.get(peer).is_some_and(|target| !target.is_used));
        of_standbys
            .flat_map(|((peer, _), report)| report.ports.iter().map(|port| (*port, peer.clone())))
            .collect()
    }

    fn of(&self, peer: &GatewayId) -> BTreeMap<IpAddr, Witness> {
        let reports = self.lock();
        let of_peer = reports.iter().filter(|((of, _), _)| of == peer);
        of_peer.map(|((_, node), report)| (*node, report.witness)).collect()
    }

    /// What is locked is replaced whole.
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Report>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A judge for each peer that was ever probed.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    judges: BTreeMap<GatewayId, Judge>,
}

impl Hearing {
    /// Hears what is said now. Peers whose cable is down are not judged; what they were found to be is remembered. `pace` is that of
    /// the peers in use.
    pub(super) fn hear(&mut self, targets: &Targets, reports: &Reports, pace: Pace, now: Instant) {
        let unheard = self.judges.iter_mut().filter(|(peer, _)| !targets.contains_key(peer));
        unheard.for_each(|(_, judge)| judge.adjourn());
        for (peer, target) in targets.iter().filter(|(_, target)| target.is_used) {
            let witnesses: Vec<_> = reports.of(peer).into_values().collect();
            let judge = self.judges.entry(peer.clone()).or_default();
            judge.take(&witnesses, target.whole(), now);
        }
        for (peer, target) in targets.iter().filter(|(_, target)| !target.is_used) {
            let witnesses = self.witnesses_of_standby(peer, targets, reports, now);
            let judge = self.judges.entry(peer.clone()).or_default();
            match witnesses {
                Some(witnesses) => judge.take_one_way(&witnesses, target.whole(), pace, now),
                None => judge.adjourn(),
            }
        }
        for (used, _) in targets.iter().filter(|(_, target)| target.is_used) {
            let Some(until) = self.judges.get(used).and_then(|judge| judge.avoided_until(now)) else {
                continue;
            };
            let judges = self.judges.iter_mut();
            let of_others = judges.filter(|(other, _)| other.cluster == used.cluster && *other != used);
            of_others.for_each(|(_, judge)| judge.prolong(until, now));
        }
    }

    /// Those behind a standby, if anything can be told from them: their answers come by the peer in use, so that one has to be sound, and
    /// who does not answer by way of it says nothing of others.
    fn witnesses_of_standby(
        &self,
        standby: &GatewayId,
        targets: &Targets,
        reports: &Reports,
        now: Instant,
    ) -> Option<Vec<Witness>> {
        let (used, _) = targets
            .iter()
            .find(|(peer, target)| target.is_used && peer.cluster == standby.cluster)?;
        let is_sound = self.judges.get(used).is_some_and(|judge| judge.fault(now).is_none());
        let by_used = reports.of(used);
        let answers = |witness: &Witness| witness.is_up == Some(true);
        if !is_sound || !by_used.values().any(answers) {
            return None;
        }
        let all = reports.of(standby).into_iter();
        let can_tell = all.filter(|(node, _)| by_used.get(node).is_none_or(answers));
        Some(can_tell.map(|(_, witness)| witness).collect())
    }

    /// When a judge may come to another result just because time has passed.
    pub(super) fn reconsider_at(&self, now: Instant) -> Option<Instant> {
        self.judges.values().filter_map(|judge| judge.reconsider_at(now)).min()
    }

    /// What is wrong behind which peer.
    pub(super) fn faults(&self, now: Instant) -> BTreeMap<GatewayId, Fault> {
        let faults = self.judges.iter();
        faults
            .filter_map(|(peer, judge)| Some((peer.clone(), judge.fault(now)?)))
            .collect()
    }

    /// The peers for which this holds.
    pub(super) fn those(&self, holds: impl Fn(&Judge) -> bool) -> BTreeSet<GatewayId> {
        let those = self.judges.iter().filter(|(_, judge)| holds(judge));
        those.map(|(peer, _)| peer.clone()).collect()
    }
}

impl Target {
    /// The size of which a packet set out and arrived over the cable alone, and the latest time at which it did.
    fn whole(&self) -> Option<(u16, Instant)> {
        self.whole_at.map(|at| (self.size, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::tests::id;
    use std::time::Duration;

    /// What two nodes say by way of gw1, which is in use, and of gw2, a standby.
    struct Court {
        targets: Targets,
        reports: Reports,
        hearing: Hearing,
        now: Instant,
    }

    impl Court {
        /// Everything works.
        fn new() -> Self {
            let target = |is_used| Target {
                nodes: nodes(),
                size: 1420,
                whole_at: None,
                is_used,
            };
            let mut court = Self {
                targets: [(id("gw1"), target(true)), (id("gw2"), target(false))].into(),
                reports: Reports::default(),
                hearing: Hearing::default(),
                now: Instant::now(),
            };
            for gateway in ["gw1", "gw2"] {
                court.say(gateway, true);
            }
            court.run(1000);
            assert!(court.avoided().is_empty());
            court
        }

        /// Whether nodes answer by way of a gateway.
        fn say(&self, gateway: &str, is_up: bool) {
            for node in nodes() {
                self.say_of(gateway, node, is_up);
            }
        }

        fn say_of(&self, gateway: &str, node: IpAddr, is_up: bool) {
            let witness = Witness {
                is_up: Some(is_up),
                was_up: true,
                was_whole: true,
                is_whole: is_up,
                ..Witness::default()
            };
            let ports = vec![if gateway == "gw1" { 40_001 } else { 40_002 }];
            self.reports.put(&(id(gateway), node), Report { witness, ports });
        }

        fn run(&mut self, millis: u64) {
            let end = self.now + Duration::from_millis(millis);
            loop {
                self.hearing.hear(&self.targets, &self.reports, Pace::ACTIVE, self.now);
                let due = self.hearing.reconsider_at(self.now);
                if self.now == end {
                    return;
                }
                self.now = due.unwrap_or(end).min(end);
            }
        }

        fn avoided(&self) -> Vec<GatewayId> {
            let all = self.hearing.those(|judge| judge.avoided(self.now).is_some());
            all.into_iter().collect()
        }
    }

    fn nodes() -> Vec<IpAddr> {
        ["10.2.1.1", "10.2.2.1"].map(|node| node.parse().unwrap()).to_vec()
    }

    #[test]
    fn a_standby_that_loses_what_it_should_forward_is_found() {
        let mut court = Court::new();
        court.say("gw2", false);
        court.run(2000);
        assert_eq!(court.avoided(), [id("gw2")]);
        assert_eq!(court.hearing.faults(court.now), [(id("gw2"), Fault::Forwarding)].into());
        court.run(60_000);
        assert_eq!(court.avoided(), [id("gw2")], "for as long as it is broken");
        court.say("gw2", true);
        court.run(1);
        assert!(court.avoided().is_empty());
    }

    #[test]
    fn a_gateway_in_use_that_loses_all_answers_takes_no_standby_with_it() {
        let mut court = Court::new();
        // An unlucky standby is asked a moment before the gateway in use.
        court.say("gw2", false);
        court.run(300);
        court.say("gw1", false);
        court.run(10_000);
        assert_eq!(court.avoided(), [id("gw1")]);
    }

    #[test]
    fn a_node_that_is_gone_is_no_witness_against_a_standby() {
        let mut court = Court::new();
        let gone = nodes()[0];
        court.say_of("gw1", gone, false);
        court.say("gw2", false);
        court.run(10_000);
        assert!(court.avoided().is_empty(), "one that is left may be at fault itself");
        assert_eq!(court.hearing.faults(court.now).len(), 1, "but it is told");
    }

    #[test]
    fn where_the_successor_is_broken_too_the_first_is_not_forgiven() {
        let mut court = Court::new();
        court.say("gw1", false);
        court.run(1000);
        for (peer, target) in &mut court.targets {
            target.is_used = *peer == id("gw2");
        }
        court.say("gw2", false);
        court.run(120_000);
        assert_eq!(court.avoided(), [id("gw1"), id("gw2")]);
        court.run(200_000);
        assert_eq!(court.avoided(), [id("gw2")], "it may have been mended");
    }

    #[test]
    fn only_probes_of_standbys_are_detoured() {
        let court = Court::new();
        assert_eq!(court.reports.detours(&court.targets), [(40_002, id("gw2"))].into());
    }
}

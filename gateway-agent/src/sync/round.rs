//! One round: from everything seen to everything wanted. It is pure and total, and when its writes are carried out and seen, the next
//! round wants nothing.
//!
//! ```text
//!  ServiceExport, Service, EndpointSlice ─▶ exports ─┬─▶ publish ──▶ broker: Cluster, Gateway, ExportedService
//!                                                    └──────────┐
//!  broker ─▶ admission ─▶ mirror, prune ─▶ tombolo-system ─▶ imports ─▶ ServiceImport, EndpointSlice, conditions
//! ```
//!
//! Without the broker the lower right half goes on from the mirrors, so what was known keeps resolving.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use model::{ClusterId, ClusterState, names};

use super::admission::Admitted;
use super::export_status;
use super::exports;
use super::imports;
use super::members::{self, Members};
use super::mirror;
use super::prune;
use super::publish;
use super::world::World;
use super::write::Write;

/// What a round wants and found.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Writes, in the order in which they are to be queued.
    pub(super) writes: Vec<Write>,
    /// Members that are absent from the broker with all cables dead.
    pub(super) gone: BTreeSet<ClusterId>,
    /// Objects that were skipped, and why.
    pub(super) rejected: Vec<String>,
}

/// What time has told: see [`super::absence`] and [`Incarnation`].
#[derive(Debug, Clone, Default)]
pub(super) struct Patience {
    /// Whether the absence of an object on the broker may mean that it was removed.
    pub(super) may_prune: bool,
    /// Members that have been gone for long enough.
    pub(super) removed: BTreeSet<ClusterId>,
}

/// Decides one round.
pub(super) fn round(world: &World, patience: &Patience, now: Timestamp) -> Round {
    let members = Members::of(world);
    let exports = world
        .local
        .has_mcs
        .then(|| exports::own(world, &members.pods(&world.cluster)));
    let mut round = Round::default();
    round.writes.extend(publish::plan_retired(world));
    round.writes.extend(members::plan(world, &members, now));
    match (world.own_state(), &world.broker) {
        (Some(ClusterState::Leaving), _) => {
            round.writes.extend(publish::plan(world, exports.as_ref()));
            round.writes.extend(prune::plan_farewell(world));
        }
        (Some(ClusterState::Active), Some(remote)) => {
            let own = publish::plan(world, exports.as_ref());
            let admitted = Admitted::of(world, remote);
            // Another incarnation is acknowledged only when our own objects are there again, so that a leader who
            // takes over meanwhile asserts them too.
            if own.is_empty() || incarnation(world) == Incarnation::First {
                round.writes.extend(mirror::plan_broker(world));
            }
            round.writes.extend(own);
            round.writes.extend(mirror::plan(world, &admitted, &members));
            let may_prune = patience.may_prune && incarnation(world) == Incarnation::Known;
            round
                .writes
                .extend(prune::plan(world, &admitted, may_prune, &patience.removed));
            round.gone = prune::gone(world, &admitted);
            round.rejected = admitted.rejected;
        }
        // Evicted, not joined yet, or without the broker: what was mirrored stays as it is.
        _ => {}
    }
    if let Some(exports) = exports {
        let imports = imports::decide(world, &exports, &members);
        round.writes.extend(publish::plan_exported(world, &exports));
        round.writes.extend(imports::plan(world, &imports, now));
        round.writes.extend(export_status::plan(world, &exports, &imports, now));
    }
    round
}

/// How the broker stands to the one that was mirrored last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Incarnation {
    /// None was mirrored yet.
    First,
    /// It is the same.
    Known,
    /// It was restored from a backup, and may lack what is newer.
    Other,
    /// It has no `Broker` object: nothing that it lacks means anything.
    Missing,
}

/// Compares the broker with its mirror.
pub(super) fn incarnation(world: &World) -> Incarnation {
    let remote = world
        .broker
        .iter()
        .flat_map(|remote| &remote.brokers)
        .find(|object| object.name_any() == names::BROKER_NAME);
    let mirrored = world
        .local
        .brokers
        .iter()
        .find(|object| object.name_any() == names::BROKER_NAME);
    match (remote, mirrored) {
        (None, _) => Incarnation::Missing,
        (Some(_), None) => Incarnation::First,
        (Some(remote), Some(mirrored)) if remote.spec.incarnation == mirrored.spec.incarnation => Incarnation::Known,
        (Some(_), Some(_)) => Incarnation::Other,
    }
}

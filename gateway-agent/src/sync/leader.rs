//! The loop around the rounds: it looks, decides, queues and reports.

use std::time::{Duration, Instant};

use anyhow::bail;
use k8s_api::Cluster;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use model::ClusterState;

use super::absence::Absences;
use super::access::Access;
use super::connection::{Connection, News, Trouble, answers};
use super::hold_back::{HOLD_BACK, HoldBack};
use super::round::{Incarnation, Patience, Round, incarnation, round};
use super::watches::LocalWatches;
use super::world::World;
use super::write::{Queues, Side, Write};
use super::{Context, SyncReport};

/// Leads until the broker is lost.
pub(super) async fn lead(context: Context) -> anyhow::Result<()> {
    let mut leader = Leader {
        watches: LocalWatches::start(&context.local, &context.namespace),
        queues: Queues::start(&context.local),
        connection: None,
        problem: None,
        absences: Absences::default(),
        restored: None,
        hold_back: HoldBack::default(),
        context,
    };
    tracing::info!(cluster = %leader.context.cluster, node = %leader.context.node, "leading the sync with the broker");
    loop {
        let started = Instant::now();
        leader.turn().await?;
        // What a thousand exports change is not to be decided anew for every write that tells of it.
        leader.wait((started.elapsed() * 2).clamp(SETTLE, SETTLE_MOST)).await;
    }
}

struct Leader {
    context: Context,
    watches: LocalWatches,
    queues: Queues,
    connection: Option<Connection>,
    /// Why there is no connection.
    problem: Option<SyncReport>,
    absences: Absences,
    /// When another incarnation of the broker was last seen to be unacknowledged.
    restored: Option<Instant>,
    hold_back: HoldBack,
}

impl Leader {
    /// One look, one round.
    async fn turn(&mut self) -> anyhow::Result<()> {
        let waiting = self.watches.waiting_for();
        if !waiting.is_empty() {
            let message = format!("waiting for the own API server to list {}", waiting.join(", "));
            self.tell(SyncReport::trouble("Starting", message));
            return Ok(());
        }
        self.keep_connected();
        let world = World {
            cluster: self.context.cluster.clone(),
            namespace: self.context.namespace.clone(),
            local: self.watches.look(),
            broker: self
                .connection
                .as_ref()
                .and_then(|connection| connection.watches.look()),
        };
        let now = Instant::now();
        let patience = self.patience(&world, now);
        let round = round(&world, &patience, Timestamp::now());
        self.absences.update(&round.gone, now);
        let report = self.assess(&world, &round);
        let writes = self.hold_back.sift(round.writes, now);
        self.send(writes);
        self.tell(report);
        self.give_up_if_lost(now).await
    }

    /// Waits for a change or for the time of the next round, then lets a burst of changes settle.
    async fn wait(&mut self, settle: Duration) {
        let longest = if self.hold_back.holds() { HOLD_BACK } else { RESYNC };
        let mut next = Instant::now() + longest;
        loop {
            let at_broker = async {
                match &mut self.connection {
                    Some(connection) => connection.changed().await,
                    None => std::future::pending().await,
                }
            };
            let news = tokio::select! {
                () = self.watches.changed() => News::Change,
                () = self.queues.failures_changed() => News::Failure,
                news = at_broker => news,
                () = tokio::time::sleep_until(next.into()) => return,
            };
            match news {
                News::Change => break,
                // What a server refuses it may take once another write is done, and no watch need tell of that.
                News::Failure => next = next.min(Instant::now() + AGAIN),
            }
        }
        tokio::time::sleep(settle).await;
    }

    /// Makes the connection be what the Secret says.
    fn keep_connected(&mut self) {
        let Some(secret) = self.watches.secret() else {
            self.connection = None;
            let message = "this cluster has not joined: there is no Secret tombolo-broker; run `tombolo join`";
            self.problem = Some(SyncReport::trouble("NotJoined", message));
            return;
        };
        let access = match Access::read(&secret, &self.context.cluster) {
            Ok(access) => access,
            Err(error) => {
                self.connection = None;
                self.problem = Some(SyncReport::trouble("BadSecret", error.to_string()));
                return;
            }
        };
        // After a silence the watches may hang on a dead link for a while: new ones know at once.
        let is_current = |connection: &Connection| connection.access == access && !connection.pulse().has_recovered;
        if self.connection.as_ref().is_some_and(is_current) {
            return;
        }
        let url = access.url.clone();
        match Connection::open(access, &self.context) {
            Ok(connection) => {
                tracing::info!(url, "connecting to the broker");
                self.connection = Some(connection);
                self.problem = None;
            }
            Err(error) => {
                self.connection = None;
                self.problem = Some(SyncReport::trouble("BadSecret", error.to_string()));
            }
        }
    }

    /// What time has told. After a restore, the others need a moment to bring back what the backup lacks.
    fn patience(&mut self, world: &World, now: Instant) -> Patience {
        if incarnation(world) == Incarnation::Other {
            self.restored = Some(now);
        }
        let is_settled = self
            .restored
            .is_none_or(|since| now.saturating_duration_since(since) >= REASSERT_GRACE);
        Patience {
            may_prune: is_settled,
            removed: self.absences.removed(now),
        }
    }

    fn send(&self, writes: Vec<Write>) {
        for write in writes {
            let queues = match write.side {
                Side::Local => Some(&self.queues),
                Side::Broker => self.connection.as_ref().map(|connection| &connection.queues),
            };
            if let Some(queues) = queues
                && let Err(error) = queues.submit(write.order)
            {
                tracing::warn!(%error, "the rest of this round waits for the next one");
                return;
            }
        }
    }

    fn assess(&self, world: &World, round: &Round) -> SyncReport {
        let mut report = self.state(world, round);
        report.malformed.clone_from(&round.rejected);
        report
    }

    fn state(&self, world: &World, round: &Round) -> SyncReport {
        let Some(connection) = &self.connection else {
            return self.problem.clone().unwrap_or_default();
        };
        let url = &connection.access.url;
        let of_side = |side| round.writes.iter().filter(move |write| write.side == side);
        let mut failures = self.queues.failures(of_side(Side::Local));
        failures.extend(connection.queues.failures(of_side(Side::Broker)));
        match connection.pulse().trouble {
            Some(Trouble::Silent(why)) => SyncReport::trouble(
                "BrokerUnreachable",
                format!("the broker at {url} does not answer: {why}"),
            ),
            Some(Trouble::Refused(why)) => {
                let mend = "if this cluster was evicted, clean it up with `tombolo leave`; else run `tombolo join` with a new token";
                SyncReport::trouble(
                    "BrokerRefuses",
                    format!("the broker at {url} refuses us: {why}; {mend}"),
                )
            }
            None if world.own_state() == Some(ClusterState::Evicted) => {
                let message = "an administrator evicted this cluster: see the Accepted condition of its Cluster";
                SyncReport::trouble("Evicted", message)
            }
            None if world.own_cluster().is_none() => {
                let message = "there is no Cluster object of this cluster yet; run `tombolo join` to its end";
                SyncReport::trouble("NotJoined", message)
            }
            None if world.broker.is_none() => {
                let kinds = connection.watches.waiting_for().join(", ");
                SyncReport::trouble("Starting", format!("waiting for the broker at {url} to list {kinds}"))
            }
            None if incarnation(world) == Incarnation::Missing => {
                let message =
                    format!("the broker at {url} has no Broker object; run `tombolo broker install` or restore it");
                SyncReport::trouble("BrokerIncomplete", message)
            }
            None if !failures.is_empty() => SyncReport::trouble("WritesFail", failures.join("; ")),
            None => SyncReport::synced(url),
        }
    }

    fn tell(&self, report: SyncReport) {
        self.context.report.send_if_modified(|current| {
            let is_new = *current != report;
            if is_new {
                tracing::info!(
                    reason = report.synced.reason,
                    malformed = report.malformed.len(),
                    "{}",
                    report.synced.message
                );
                *current = report;
            }
            is_new
        });
    }

    /// Hands over when the broker is lost to us and not everything is.
    async fn give_up_if_lost(&mut self, now: Instant) -> anyhow::Result<()> {
        let Some(connection) = &self.connection else {
            return Ok(());
        };
        let pulse = connection.pulse();
        let Some(Trouble::Silent(why)) = pulse.trouble else {
            return Ok(());
        };
        let silence = now.saturating_duration_since(pulse.answered);
        if silence < LOST_AFTER {
            return Ok(());
        }
        let clusters: Api<Cluster> = Api::namespaced(self.context.local.clone(), &self.context.namespace);
        if answers(&clusters, self.context.cluster.as_str()).await.is_some() {
            return Ok(());
        }
        bail!(
            "the broker at {} has not answered for {} s: {why}; another gateway may try",
            connection.access.url,
            silence.as_secs()
        )
    }
}

/// Rounds come at least this often: time itself changes some decisions, and whatever was missed heals.
const RESYNC: Duration = Duration::from_secs(5);
/// When a write has failed, the next round comes at the latest after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Changes that come together are decided together: those of so long, or of twice as long as a round takes.
const SETTLE: Duration = Duration::from_millis(10);
const SETTLE_MOST: Duration = Duration::from_millis(500);
/// A leader without the broker for so long gives up.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// After a restore of the broker its members have so long to bring back what it lost.
const REASSERT_GRACE: Duration = Duration::from_secs(30);

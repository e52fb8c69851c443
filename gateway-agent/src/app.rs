//! The composition root.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use clusterset::{cables, choice};
use daemon::{Admin, Readiness, Registry};
use k8s_api::condition::Finding;
use k8s_openapi::jiff::Timestamp;
use k8s_runtime::{ApplyQueue, ClientOptions, Freshness, QueueOptions, SnapshotOptions, View};
use kube::Client;
use model::{ClusterState, GatewayId, ProbeRole, Snapshot};
use tokio::sync::watch;

use crate::cluster_dns::watch_cluster_dns;
use crate::config::Config;
use crate::convalescence::Convalescence;
use crate::data_plane::{DataPlane, Trouble};
use crate::deep::{DeepProbes, Found};
use crate::election::{ActiveRole, is_fit};
use crate::events::Events;
use crate::hops::HopServer;
use crate::lanes::DeadLanes;
use crate::metrics::Metrics;
use crate::news::News;
use crate::node::NodeAddresses;
use crate::own_gateway::{self, Identity};
use crate::status::{Facts, StatusWriter};
use crate::sync_leader::SyncLeader;
use crate::telemetry::Telemetry;
use crate::verdict::{self, StandbysOnly, targets};

/// The program. Exit code 0 when it was asked to end, 1 when it cannot work, 2 on bad usage.
pub fn main() -> ExitCode {
    let config = Config::parse();
    daemon::init_logging();
    // The packet loop has a thread of its own; this is for what surrounds it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let result = runtime
        .context("cannot start the runtime")
        .and_then(|runtime| runtime.block_on(run(config)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs until the process is asked to end.
///
/// # Errors
/// When the node lacks what no waiting brings: a place for the key, a port for the admin server, a way to the API server.
async fn run(config: Config) -> anyhow::Result<()> {
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("cannot make the state directory {}", config.state_dir.display()))?;
    let key = tunnel::load_or_create_key(&config.state_dir.join(KEY_FILE))?;
    let registry = Registry::new();
    let readiness = Readiness::awaiting(&["engine", "snapshot"]);
    let plane = DataPlane::new(key, config.listen_port, Duration::from_micros(config.busy_poll));
    let metrics = Metrics::register(&registry, plane.metrics())?;
    Admin::new(registry.clone(), readiness.clone())
        .spawn(config.admin)
        .await?;
    let client = k8s_runtime::client(&ClientOptions {
        kubeconfig: config.kubeconfig.clone(),
        context: None,
    })
    .await?;
    let options = SnapshotOptions {
        namespace: config.namespace.clone(),
        cluster: config.cluster_id.clone(),
        nodes: true,
        exports: false,
        imports: false,
        saved: Some(config.state_dir.join(SNAPSHOT_FILE)),
    };
    let mut views = k8s_runtime::watch_snapshot(&client, options);
    k8s_runtime::register_snapshot_metrics(&registry, views.clone())?;
    let mut agent = Agent {
        queue: ApplyQueue::start(client.clone(), QueueOptions::default()),
        config,
        client,
        readiness,
        metrics,
        plane,
        hops: HopServer::start(),
        deep: DeepProbes::start(),
        convalescence: Convalescence::default(),
        standbys_only: StandbysOnly::default(),
        dead_lanes: DeadLanes::default(),
        status: StatusWriter::default(),
        cluster_dns: watch_cluster_dns(),
        member: None,
    };
    tokio::select! {
        ended = agent.follow(&mut views) => ended,
        () = daemon::shutdown() => {
            agent.hand_over(&mut views).await;
            Ok(())
        }
    }
}

struct Agent {
    config: Config,
    client: Client,
    readiness: Readiness,
    metrics: Metrics,
    plane: DataPlane,
    hops: HopServer,
    deep: DeepProbes,
    convalescence: Convalescence,
    standbys_only: StandbysOnly,
    dead_lanes: DeadLanes,
    queue: ApplyQueue,
    status: StatusWriter,
    cluster_dns: watch::Receiver<Option<Finding>>,
    /// Set as soon as the own cluster is known.
    member: Option<Member>,
}

/// What the agent is once it knows in which cluster.
struct Member {
    identity: Identity,
    active_role: ActiveRole,
    sync: SyncLeader,
    news: News,
    events: Events,
}

impl Agent {
    /// Turns until something happens that only a new process can mend.
    async fn follow(&mut self, views: &mut watch::Receiver<Arc<View>>) -> anyhow::Result<()> {
        let cables = self.plane.changes();
        let mut found = self.deep.found();
        loop {
            let view = Arc::clone(&views.borrow_and_update());
            self.turn(&view)?;
            tokio::select! {
                changed = views.changed() => changed.context("the watch of the API server ended")?,
                () = cables.notified() => {}
                _ = self.cluster_dns.changed() => {}
                () = news(self.member.as_mut()) => {}
                () = self.hops.first_user() => {}
                _ = found.changed() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn turn(&mut self, view: &View) -> anyhow::Result<()> {
        let now = Instant::now();
        let snapshot = view.snapshot.as_deref();
        let is_leaving = snapshot
            .and_then(Snapshot::own)
            .is_some_and(|own| own.state == ClusterState::Leaving);
        if is_leaving {
            // The node is being cleaned: the device must not come back.
            self.plane.stop();
        } else {
            self.plane.keep_running(now);
        }
        self.tell_readiness(view);
        if let Some(snapshot) = snapshot {
            self.join(snapshot)?;
            self.act(view, snapshot, now);
        }
        Ok(())
    }

    fn join(&mut self, snapshot: &Snapshot) -> anyhow::Result<()> {
        match &self.member {
            Some(member) if member.identity.gateway.cluster != snapshot.cluster => bail!(
                "this cluster was {} and is {} now; starting anew",
                member.identity.gateway.cluster,
                snapshot.cluster
            ),
            Some(_) => {}
            None => {
                let me = GatewayId {
                    cluster: snapshot.cluster.clone(),
                    node: self.config.node.clone(),
                };
                tracing::info!(gateway = %me, key = %self.plane.public_key(), "this is the gateway");
                let active_role = ActiveRole::start(&self.client, &self.config.namespace, &me);
                let sync = SyncLeader::start(&self.client, &self.config.namespace, &me);
                self.member = Some(Member {
                    news: News::of(&active_role, &sync),
                    active_role,
                    sync,
                    events: Events::start(&self.client, &self.config.namespace, &me),
                    identity: Identity {
                        gateway: me,
                        public_key: self.plane.public_key(),
                        port: self.config.listen_port,
                        priority: self.config.priority,
                        public: self.config.public.clone(),
                    },
                });
            }
        }
        Ok(())
    }

    fn act(&mut self, view: &View, snapshot: &Snapshot, now: Instant) {
        let Some(member) = &mut self.member else { return };
        let me = &member.identity.gateway;
        let kernel = NodeAddresses::read().unwrap_or_else(|error| {
            tracing::warn!(%error, "the kernel does not tell the node's addresses");
            NodeAddresses::default()
        });
        let gateways = snapshot.gateways_of(&me.cluster).count();
        self.convalescence
            .take(&self.plane.cables(), member.active_role.held(), gateways, now);
        // Where there is no other, a broken gateway is better than none.
        let steps_back = self.convalescence.lasts(now) && gateways > 1;
        member
            .active_role
            .set_candidate(is_fit(snapshot, me, self.plane.is_running()) && !steps_back);
        let role = ProbeRole {
            draining: steps_back,
            ..member.active_role.role(snapshot, me)
        };
        let found = self.deep.found().borrow().clone();
        let addresses = self.hops.addresses(now, |address| kernel.has(address));
        announce(&mut self.plane, &self.hops, snapshot, me, role, (&found, addresses));
        self.deep.open_detours(found.detours.clone());
        let cables = self.plane.cables();
        let carries = role.active || self.hops.users(now) > 0;
        self.deep.set_targets(carries.then(|| targets(snapshot, &cables)));

        let sync = member
            .sync
            .standing()
            .borrow()
            .leads
            .then(|| member.sync.report().borrow().clone());
        self.metrics.is_active.set(role.active.into());
        self.metrics.epoch.set(i64::try_from(role.epoch).unwrap_or(i64::MAX));
        self.metrics.is_sync_leader.set(sync.is_some().into());
        self.metrics.engine_runs.set(self.plane.is_running().into());

        if let Some(node) = snapshot.nodes.get(&me.node) {
            let spec = own_gateway::spec(&member.identity, node, &kernel, role);
            let order = own_gateway::publish(&self.config.namespace, me, &spec);
            let published = snapshot.gateways.get(me);
            if published.is_none() {
                self.status.forget();
            }
            if published.is_none_or(|published| !own_gateway::is_told(published, spec))
                && self.queue.submit(order).is_err()
            {
                tracing::debug!("the write queue is full; the next turn publishes");
            }
        }
        let dead = self.dead_lanes.take(snapshot, me, &cables, now);
        let telemetry = Telemetry::new(snapshot, me, &self.plane.telemetry(), &cables);
        let synced = sync.as_ref().map(|report| &report.synced);
        let standbys = self.standbys_only.take(snapshot, &cables, now);
        let connections = verdict::connections(snapshot, cables, &dead, &found, synced, &standbys);
        member.events.take(&connections, role.active, &self.metrics, now);
        let mut malformed: Vec<String> = view.malformed.iter().map(ToString::to_string).collect();
        malformed.extend(sync.iter().flat_map(|report| report.malformed.clone()));
        let facts = Facts {
            node: &me.node,
            connections: &connections,
            trouble: self.plane.trouble(),
            is_running: self.plane.is_running(),
            failovers: self.plane.failovers(),
            telemetry,
            malformed,
            synced: sync.map(|report| report.synced),
            cluster_dns: self.cluster_dns.borrow().clone(),
        };
        if let Some(status) = self.status.next(&facts, now, Timestamp::now()) {
            let order = own_gateway::publish_status(&self.config.namespace, me, &status);
            if self.queue.submit(order).is_err() {
                self.status.forget();
            }
        }
    }

    fn tell_readiness(&self, view: &View) {
        if self.plane.is_running() {
            self.readiness.holds("engine");
        } else {
            self.readiness.fails(
                "engine",
                match self.plane.trouble() {
                    Some(Trouble::Tun(why) | Trouble::Other(why)) => why.clone(),
                    None => "stopped, because this cluster leaves the clusterset".to_owned(),
                },
            );
        }
        match (&view.snapshot, &view.freshness) {
            (Some(_), _) => self.readiness.holds("snapshot"),
            (None, Freshness::Waiting(why) | Freshness::Stale(why)) => self.readiness.fails("snapshot", why.clone()),
            (None, Freshness::Live) => {}
        }
        let freshness = match &view.freshness {
            Freshness::Live => "the snapshot is how things are".to_owned(),
            Freshness::Stale(why) => format!("the snapshot is from an earlier moment: {why}"),
            Freshness::Waiting(why) => format!("there is no snapshot: {why}"),
        };
        self.readiness.note("freshness", freshness);
    }

    /// Waits until every probe has had its answer, and no node sends traffic here any more.
    async fn drained(&self) {
        let deadline = Instant::now() + SUCCESSION;
        tokio::time::sleep(DRAIN).await;
        while self.hops.users(Instant::now()) > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets others take over while this gateway still carries every packet that comes. Device and routes stay.
    async fn hand_over(&mut self, views: &mut watch::Receiver<Arc<View>>) {
        let Some(member) = self.member.take() else { return };
        let me = member.identity.gateway;
        let was_active = member.active_role.standing().borrow().leads;
        if let Some(snapshot) = &views.borrow().snapshot {
            let role = ProbeRole {
                draining: true,
                ..member.active_role.role(snapshot, &me)
            };
            let found = self.deep.found().borrow().clone();
            announce(&mut self.plane, &self.hops, snapshot, &me, role, (&found, Vec::new()));
        }
        self.drained().await;
        tokio::join!(member.active_role.release(), member.sync.release());
        let has_successor = |view: &View| {
            let snapshot = view.snapshot.as_deref();
            snapshot
                .and_then(choice::own_active)
                .is_some_and(|active| active.id != me)
        };
        let is_alone = views
            .borrow()
            .snapshot
            .as_deref()
            .is_none_or(|snapshot| snapshot.gateways_of(&me.cluster).all(|gateway| gateway.id == me));
        if was_active && !is_alone {
            let succeeded = tokio::time::timeout(SUCCESSION, views.wait_for(|view| has_successor(view))).await;
            if matches!(succeeded, Ok(Ok(_))) {
                tokio::time::sleep(DRAIN).await;
            }
        }
    }
}

/// Makes the plan for a role, and says it in all probes, those of cables and those of nodes. With it go what the deep probes found,
/// and who answers those of others.
fn announce(
    plane: &mut DataPlane,
    hops: &HopServer,
    snapshot: &Snapshot,
    me: &GatewayId,
    role: ProbeRole,
    (found, addresses): (&Found, Vec<IpAddr>),
) {
    let mut plan = cables::plan(snapshot, me, role);
    plan.avoid.clone_from(&found.avoided);
    plan.suspects.clone_from(&found.suspects);
    plan.detours.clone_from(&found.detours);
    plan.addresses = addresses;
    plan.carries |= hops.users(Instant::now()) > 0;
    plane.apply(plan);
    let says = own_gateway::says(snapshot, role, &plane.cables());
    let reaches_all = own_gateway::reaches_all(&says, snapshot);
    hops.set_says(says, reaches_all, Instant::now());
}

async fn news(member: Option<&mut Member>) {
    match member {
        Some(member) => member.news.changed().await,
        None => std::future::pending().await,
    }
}

/// The private key, in the state directory.
const KEY_FILE: &str = "gateway.key";
const SNAPSHOT_FILE: &str = "gateway-agent.snapshot.json";
/// Turns come at least this often: time itself makes figures due and tries possible, ends the recovery of a gateway, and forgets
/// nodes that went silent.
const TICK: Duration = Duration::from_millis(250);
/// How long a gateway that ends waits for another to become active.
const SUCCESSION: Duration = Duration::from_secs(3);
/// How long it goes on after that, for packets that are under way and senders that have not heard.
const DRAIN: Duration = Duration::from_millis(500);

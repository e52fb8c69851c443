//! The engine, started when it can be and started again when it fails.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{CablePlan, PublicKey, names};
use prometheus::Registry;
use tokio::sync::Notify;
use tunnel::{CableStatus, Engine, EngineConfig, Failovers, Lanes, PrivateKey, TunDevice};

/// The data plane of this node, running or not.
pub(crate) struct DataPlane {
    key: PrivateKey,
    port: u16,
    busy_poll: Duration,
    engine: Option<Lanes>,
    trouble: Option<Trouble>,
    next_try: Instant,
    applied: Option<CablePlan>,
    changed: Arc<Notify>,
    /// Metrics of the engine that runs, where the scraper finds them.
    metrics: Arc<Mutex<Registry>>,
}

/// Why there is no engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The node has no usable TUN.
    Tun(String),
    /// Anything else.
    Other(String),
}

impl DataPlane {
    pub(crate) fn new(key: PrivateKey, port: u16, busy_poll: Duration) -> Self {
        Self {
            key,
            port,
            busy_poll,
            engine: None,
            trouble: None,
            next_try: Instant::now(),
            applied: None,
            changed: Arc::default(),
            metrics: Arc::default(),
        }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Notified when a cable changed its state or the engine failed.
    pub(crate) fn changes(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// The metrics of the engine in use.
    pub(crate) fn metrics(&self) -> Arc<Mutex<Registry>> {
        Arc::clone(&self.metrics)
    }

    /// Makes the engine run if it does not and it is time for a try.
    pub(crate) fn keep_running(&mut self, now: Instant) {
        if let Some(why) = self.engine.as_ref().and_then(Engine::failure) {
            self.stop();
            self.trouble = Some(Trouble::Other(why));
            self.next_try = now + RETRY;
        }
        if self.engine.is_some() || now < self.next_try {
            return;
        }
        match self.start() {
            Ok(engine) => {
                self.engine = Some(engine);
                self.trouble = None;
            }
            Err(trouble) => {
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(?trouble, "the data plane cannot start");
                }
                self.trouble = Some(trouble);
                self.next_try = now + RETRY;
            }
        }
    }

    /// Ends the engine. The TUN link stays.
    pub(crate) fn stop(&mut self) {
        self.engine = None;
        self.applied = None;
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = Registry::new();
    }

    /// Tells the engine the plan, if it is another one.
    pub(crate) fn apply(&mut self, plan: CablePlan) {
        if let Some(engine) = &self.engine
            && self.applied.as_ref() != Some(&plan)
        {
            tracing::debug!(peers = plan.peers.len(), mtu = plan.mtu, role = ?plan.role, "new plan");
            engine.apply(&plan);
            self.applied = Some(plan);
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.engine.is_some()
    }

    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    pub(crate) fn cables(&self) -> Vec<CableStatus> {
        self.engine.as_ref().map(Engine::status).unwrap_or_default()
    }

    pub(crate) fn failovers(&self) -> Failovers {
        self.engine.as_ref().map(Engine::failovers).unwrap_or_default()
    }

    pub(crate) fn telemetry(&self) -> tunnel::Telemetry {
        self.engine.as_ref().map(Engine::telemetry).unwrap_or_default()
    }

    fn start(&self) -> Result<Lanes, Trouble> {
        let tun = TunDevice::open(names::TUN_LINK).map_err(|error| Trouble::Tun(with_cause(&error)))?;
        let changed = Arc::clone(&self.changed);
        let config = EngineConfig {
            private_key: self.key.clone(),
            tun,
            port: self.port,
            lanes: tunnel::offered_lanes(),
            busy_poll: self.busy_poll,
            on_change: Box::new(move || changed.notify_one()),
        };
        let engine = Lanes::start(config).map_err(|error| Trouble::Other(with_cause(&error)))?;
        let registry = Registry::new();
        engine
            .register(&registry)
            .map_err(|error| Trouble::Other(error.to_string()))?;
        *self.metrics.lock().unwrap_or_else(PoisonError::into_inner) = registry;
        Ok(engine)
    }
}

/// An error and the cause that it does not repeat, on one line.
fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}

const RETRY: Duration = Duration::from_secs(5);

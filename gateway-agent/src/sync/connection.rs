//! The connection to the broker: client, watches, write queue, token renewal, and a pulse.
//!
//! Watches alone do not tell that a broker is gone: a cut link is silent. So the pulse asks for one small object every two seconds. A
//! broker that answers with a refusal is there; only one that does not answer is lost.

use std::time::{Duration, Instant};

use k8s_api::Broker;
use k8s_runtime::Find;
use k8s_runtime::{ConnectError, client_for, explain};
use kube::{Api, Client};
use model::names;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Context;
use super::access::Access;
use super::token::Renewal;
use super::watches::RemoteWatches;
use super::write::Queues;

/// The connection. Dropping it ends everything that goes over it.
#[derive(Debug)]
pub(super) struct Connection {
    /// How it was made.
    pub(super) access: Access,
    /// What the broker holds.
    pub(super) watches: RemoteWatches,
    /// Writes to it.
    pub(super) queues: Queues,
    pulse: watch::Receiver<Pulse>,
    _tasks: JoinSet<()>,
}

/// What is new at one API server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// An object, or the pulse.
    Change,
    /// Writes that fail.
    Failure,
}

/// What the pulse found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pulse {
    /// When the broker last answered anything; the start of the connection if it never did.
    pub(super) answered: Instant,
    /// Whether it answers again after a silence.
    pub(super) has_recovered: bool,
    /// What is wrong with it now: it refuses us, or does not answer.
    pub(super) trouble: Option<Trouble>,
}

/// What is wrong with the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It answers, and refuses.
    Refused(String),
    /// It does not answer.
    Silent(String),
}

impl Connection {
    /// Opens a connection as the Secret says.
    ///
    /// # Errors
    /// When what it says is malformed. The broker is not asked.
    pub(super) fn open(access: Access, context: &Context) -> Result<Self, ConnectError> {
        let client = client_for(access.server(), &access.token)?;
        let (sender, pulse) = watch::channel(Pulse {
            answered: Instant::now(),
            has_recovered: false,
            trouble: None,
        });
        let renewal = Renewal {
            local: context.local.clone(),
            namespace: context.namespace.clone(),
            broker: client.clone(),
            cluster: context.cluster.clone(),
            life: access.life,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(feel(client.clone(), sender));
        tasks.spawn(renewal.run());
        Ok(Self {
            access,
            watches: RemoteWatches::start(&client),
            queues: Queues::start(&client),
            pulse,
            _tasks: tasks,
        })
    }

    /// Waits until there is something new of the broker.
    pub(super) async fn changed(&mut self) -> News {
        tokio::select! {
            () = self.watches.changed() => News::Change,
            Ok(()) = self.pulse.changed() => News::Change,
            () = self.queues.failures_changed() => News::Failure,
        }
    }

    /// What the pulse found last.
    pub(super) fn pulse(&self) -> Pulse {
        self.pulse.borrow().clone()
    }
}

/// Whether an API server answers a request for one object within the pulse's deadline.
pub(super) async fn answers<K>(api: &Api<K>, name: &str) -> Option<Trouble>
where
    K: Clone + serde::de::DeserializeOwned + Send + Sync + std::fmt::Debug,
{
    match tokio::time::timeout(DEADLINE, api.find(name)).await {
        Err(_) => Some(Trouble::Silent(format!("no answer within {} s", DEADLINE.as_secs()))),
        Ok(Ok(_)) => None,
        Ok(Err(error @ kube::Error::Api(_))) => Some(Trouble::Refused(explain(&error))),
        Ok(Err(error)) => Some(Trouble::Silent(explain(&error))),
    }
}

async fn feel(client: Client, pulse: watch::Sender<Pulse>) {
    let brokers: Api<Broker> = Api::all(client);
    loop {
        let trouble = answers(&brokers, names::BROKER_NAME).await;
        let has_answered = !matches!(trouble, Some(Trouble::Silent(_)));
        // Only news wakes the leader; the time of the last answer is not.
        pulse.send_if_modified(|pulse| {
            if has_answered {
                pulse.answered = Instant::now();
                pulse.has_recovered |= matches!(pulse.trouble, Some(Trouble::Silent(_)));
            }
            std::mem::replace(&mut pulse.trouble, trouble.clone()) != trouble
        });
        tokio::time::sleep(INTERVAL).await;
    }
}

const INTERVAL: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(3);

//! Writes by one task, several at a time: each is mostly waiting for the server, and a thousand exports are thousands of writes. Those of
//! one object never overtake each other.

#[cfg(test)]
mod tests;
mod waiting;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, Request};
use kube::{Client, Resource};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::explain;

use waiting::{Next, Outcome, Target, Waiting};

/// Carries out orders against one API server: begins them in the order in which they came. It ends when it is dropped, with what it was doing.
#[derive(Debug)]
pub struct ApplyQueue {
    shared: Arc<Shared>,
    failures: watch::Receiver<Failures>,
    worker: tokio::task::JoinHandle<()>,
}

/// One wanted write of one object.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Kind of the object.
    pub resource: ApiResource,
    /// Its namespace; none for cluster-scoped kinds.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Under whose name its fields are owned.
    pub manager: String,
    /// What to do.
    pub change: Change,
}

/// What is to be done with an object.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Server-side apply of the fields that the manager owns; it takes them from whoever else holds them.
    Apply(Value),
    /// The same for the status.
    Status(Value),
    /// Removal, of this very object if the uid is given: one of the same name that came later stays.
    Delete {
        /// Uid of the object.
        uid: Option<String>,
    },
}

/// Limits of a queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueOptions {
    /// Orders that may wait.
    pub capacity: usize,
    /// Least time between two writes of the same object.
    pub pause: Duration,
    /// Longest time for one write.
    pub deadline: Duration,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self {
            capacity: 4096,
            pause: Duration::ZERO,
            deadline: Duration::from_secs(10),
        }
    }
}

/// Orders that failed, by object, with the reason; an entry goes when a later order for the object succeeds.
pub type Failures = Arc<BTreeMap<String, String>>;

/// More objects wait to be written than the queue has room for. Plan again later: what was wanted now is wanted then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the write queue is full")]
pub struct QueueFull;

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

impl ApplyQueue {
    /// Starts the task.
    pub fn start(client: Client, options: QueueOptions) -> Self {
        let shared = Arc::new(Shared {
            waiting: Mutex::new(Waiting::new(options.capacity)),
            arrived: Notify::new(),
        });
        let (report, failures) = watch::channel(Failures::default());
        let worker = Worker {
            client,
            options,
            shared: Arc::clone(&shared),
            report,
        };
        Self {
            shared,
            failures,
            worker: tokio::spawn(worker.run()),
        }
    }

    /// Takes an order. One that waits for the same object is replaced; one that was just carried out is not repeated, because
    /// whoever plans from a watch may not have seen it happen yet.
    ///
    /// # Errors
    /// When too many objects wait.
    pub fn submit(&self, order: Order) -> Result<(), QueueFull> {
        self.shared.lock().submit(order, Instant::now())?;
        self.shared.arrived.notify_one();
        Ok(())
    }

    /// What failed and was not mended since.
    pub fn failures(&self) -> watch::Receiver<Failures> {
        self.failures.clone()
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.shared.lock().is_empty()
    }
}

impl Drop for ApplyQueue {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every operation leaves the tables whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    client: Client,
    options: QueueOptions,
    shared: Arc<Shared>,
    report: watch::Sender<Failures>,
}

impl Worker {
    async fn run(self) {
        let mut under_way = FuturesUnordered::new();
        loop {
            let next = match under_way.len() {
                AT_A_TIME.. => Next::Idle,
                _ => self.shared.lock().next(Instant::now(), self.options.pause),
            };
            let due = match next {
                Next::Order(target, order) => {
                    under_way.push(async {
                        let outcome = self.carry_out(&order).await;
                        (target, order, outcome)
                    });
                    continue;
                }
                Next::At(due) => Some(due),
                Next::Idle => None,
            };
            tokio::select! {
                Some((target, order, outcome)) = under_way.next() => {
                    self.shared.lock().settle(&target, &order, &outcome, Instant::now());
                    self.tell(&target, outcome);
                }
                // An order that arrives meanwhile may be due earlier.
                () = self.shared.arrived.notified() => {}
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    async fn carry_out(&self, order: &Order) -> Outcome {
        let path = DynamicObject::url_path(&order.resource, order.namespace.as_deref());
        let (requests, params) = (Request::new(path), PatchParams::apply(&order.manager).force());
        let request = match &order.change {
            Change::Apply(value) => requests.patch(&order.name, &params, &Patch::Apply(value)),
            Change::Status(value) => requests.patch_subresource("status", &order.name, &params, &Patch::Apply(value)),
            Change::Delete { uid } => requests.delete(&order.name, &delete_params(uid.clone())),
        };
        // The answer is the object, of which the watch tells too: nobody reads it.
        let request = async {
            let request = request.map_err(kube::Error::BuildRequest)?;
            self.client.request_text(request).await.map(drop)
        };
        match timeout(self.options.deadline, request).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => outcome_of(&order.change, &error),
            Err(_) => Outcome::Later(format!("no answer within {} s", self.options.deadline.as_secs())),
        }
    }

    fn tell(&self, target: &Target, outcome: Outcome) {
        let name = target.describe();
        match outcome {
            Outcome::Done => {
                tracing::debug!(object = name, "written");
                self.report.send_if_modified(|failures| {
                    failures.contains_key(&name) && Arc::make_mut(failures).remove(&name).is_some()
                });
            }
            Outcome::Refused(why) | Outcome::Later(why) => {
                let is_news = self.report.send_if_modified(|failures| {
                    let is_news = failures.get(&name) != Some(&why);
                    if is_news {
                        Arc::make_mut(failures).insert(name.clone(), why.clone());
                    }
                    is_news
                });
                if is_news {
                    tracing::warn!(object = name, why, "cannot be written");
                }
            }
        }
    }
}

fn delete_params(uid: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: uid.map(|uid| Preconditions {
            uid: Some(uid),
            resource_version: None,
        }),
        ..DeleteParams::default()
    }
}

fn outcome_of(change: &Change, error: &kube::Error) -> Outcome {
    let kube::Error::Api(status) = error else {
        return Outcome::Later(explain(error));
    };
    let is_delete = matches!(change, Change::Delete { .. });
    match status.code {
        // Gone already, or replaced by another of the same name: either way the object that was meant is not there.
        404 | 409 if is_delete => Outcome::Done,
        401 | 408 | 409 | 429 | 500.. => Outcome::Later(explain(error)),
        _ => Outcome::Refused(explain(error)),
    }
}

/// On a busy machine a write waits several times for its turn, so many have to wait at once. A real API server takes 200 by default.
const AT_A_TIME: usize = 64;

//! One wanted write, and the queues that carry it out.

use std::time::Duration;

use k8s_runtime::{ApplyQueue, Change, Failures, Order, QueueFull, QueueOptions};
use kube::core::ApiResource;
use kube::{Client, Resource, ResourceExt};
use model::names;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Which API server a write goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The own cluster's.
    Local,
    /// The broker.
    Broker,
}

/// A wanted write of one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Write {
    pub(super) side: Side,
    pub(super) order: Order,
    /// In a burst, what is new at home only comes after what other clusters are told.
    is_after_others: bool,
}

/// What a write is for. The order is that in which a burst of them is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Something resolves by it, or resolves no more.
    Names,
    /// A service of our own resolves at home by it, under the name that it has in the clusterset.
    Home,
    /// Somebody is told: conditions of exports and imports, and slices of imports, which our own nodes do not need.
    Words,
}

impl Write {
    /// An apply of a whole object.
    pub(super) fn apply<K>(side: Side, object: &K) -> Self
    where
        K: Resource<DynamicType = ()> + Serialize,
    {
        let mut value = serde_json::to_value(object).expect("a Kubernetes object is JSON");
        // The status is another subresource, and an empty one would be written as null.
        if let Some(fields) = value.as_object_mut() {
            fields.remove("status");
        }
        Self::new(side, object, names::FIELD_MANAGER, Change::Apply(value))
    }

    /// An apply of some fields beside those of the object's owner.
    pub(super) fn annex<K>(side: Side, object: &K, fields: &Value) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self::new(
            side,
            object,
            ANNEX_MANAGER,
            Change::Apply(with_identity(object, "spec", fields)),
        )
    }

    /// An apply of fields of the status.
    pub(super) fn status<K>(side: Side, object: &K, status: &Value) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        let change = Change::Status(with_identity(object, "status", status));
        Self::new(side, object, names::FIELD_MANAGER, change)
    }

    /// A removal of this very object.
    pub(super) fn delete<K>(side: Side, object: &K) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self::new(side, object, names::FIELD_MANAGER, Change::Delete { uid: object.uid() })
    }

    /// The same, as what makes a service of our own resolve at home.
    #[must_use]
    pub(super) fn after_others(self) -> Self {
        Self {
            is_after_others: true,
            ..self
        }
    }

    /// What it is for.
    pub(super) fn rank(&self) -> Rank {
        match (self.order.resource.kind.as_str(), &self.order.change) {
            ("ServiceExport", _) | ("ServiceImport", Change::Status(_)) | ("EndpointSlice", Change::Apply(_)) => {
                Rank::Words
            }
            _ if self.is_after_others => Rank::Home,
            _ => Rank::Names,
        }
    }

    fn new<K>(side: Side, object: &K, manager: &str, change: Change) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self {
            side,
            order: Order {
                resource: ApiResource::erase::<K>(&()),
                namespace: object.namespace(),
                name: object.name_any(),
                manager: manager.to_owned(),
                change,
            },
            is_after_others: false,
        }
    }
}

/// The write queues of one API server. Dropping them ends their tasks.
#[derive(Debug)]
pub(super) struct Queues {
    exports: ApplyQueue,
    others: ApplyQueue,
    /// Of either, and what was heard of them.
    failures: [watch::Receiver<Failures>; 2],
}

impl Queues {
    /// Starts the queues of one server.
    pub(super) fn start(client: &Client) -> Self {
        let slow = QueueOptions {
            pause: EXPORT_INTERVAL,
            ..QueueOptions::default()
        };
        let exports = ApplyQueue::start(client.clone(), slow);
        let others = ApplyQueue::start(client.clone(), QueueOptions::default());
        Self {
            failures: [exports.failures(), others.failures()],
            exports,
            others,
        }
    }

    /// Hands a write over.
    ///
    /// # Errors
    /// When too many wait; the next round wants it again.
    pub(super) fn submit(&self, order: Order) -> Result<(), QueueFull> {
        if order.resource.kind == "ExportedService" {
            self.exports.submit(order)
        } else {
            self.others.submit(order)
        }
    }

    /// Waits until a write fails that did not, or fails for another reason, or fails no more.
    pub(super) async fn failures_changed(&mut self) {
        let [exports, others] = &mut self.failures;
        tokio::select! {
            Ok(()) = exports.changed() => {}
            Ok(()) = others.changed() => {}
            else => std::future::pending().await,
        }
    }

    /// What of these writes failed lately, and why. A failure of what is wanted no more is nobody's concern.
    pub(super) fn failures<'a>(&self, wanted: impl Iterator<Item = &'a Write>) -> Vec<String> {
        let [exports, others] = self.failures.each_ref().map(watch::Receiver::borrow);
        let failure = |write: &Write| {
            let name = describe(&write.order);
            let why = exports.get(&name).or_else(|| others.get(&name))?;
            Some(format!("{name}: {why}"))
        };
        wanted.filter_map(failure).collect()
    }
}

fn with_identity<K: Resource<DynamicType = ()>>(object: &K, part: &str, fields: &Value) -> Value {
    let mut metadata = json!({ "name": object.name_any() });
    if let Some(namespace) = object.namespace() {
        metadata["namespace"] = json!(namespace);
    }
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": metadata,
        part: fields,
    })
}

/// The name under which a queue reports an object: plural, namespace and name.
fn describe(order: &Order) -> String {
    let namespace = order.namespace.iter().map(|namespace| format!("{namespace}/"));
    format!(
        "{} {}{}",
        order.resource.plural,
        namespace.collect::<String>(),
        order.name
    )
}

/// Field manager of what is added to objects of another owner: under our usual one, leaving a field out would mean to remove it.
pub(super) const ANNEX_MANAGER: &str = "tombolo-sync";
/// At most one write a second of each `ExportedService`.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);

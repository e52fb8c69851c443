//! Which order is next. Pure: the time is handed in.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::{Change, Order, QueueFull};

/// The orders that wait, and what was done lately.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next_ticket: u64,
    orders: BTreeMap<Target, Entry>,
    done: BTreeMap<Target, Done>,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    not_before: Instant,
    attempts: u32,
    order: Order,
}

/// The last write of an object that succeeded.
#[derive(Debug)]
struct Done {
    at: Instant,
    fingerprint: u64,
}

/// What an order writes to. Orders for the same target replace each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    group: String,
    plural: String,
    namespace: Option<String>,
    name: String,
    part: &'static str,
    manager: String,
}

impl Waiting {
    /// Room for so many orders.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    pub(super) fn submit(&mut self, order: Order, now: Instant) -> Result<(), QueueFull> {
        self.done.retain(|_, done| now.duration_since(done.at) < REMEMBER);
        let target = Target::of(&order);
        if let Some(entry) = self.orders.get_mut(&target) {
            // Its turn stays: an object that changes all the time must not wait for ever.
            if entry.order != order {
                entry.order = order;
                entry.attempts = 0;
            }
            return Ok(());
        }
        let is_echo =
            |done: &Done| done.fingerprint == order.change.fingerprint() && now.duration_since(done.at) < ECHO;
        if self.done.get(&target).is_some_and(is_echo) {
            return Ok(());
        }
        if self.orders.len() >= self.capacity {
            return Err(QueueFull);
        }
        self.next_ticket += 1;
        let entry = Entry {
            ticket: self.next_ticket,
            not_before: now,
            attempts: 0,
            order,
        };
        self.orders.insert(target, entry);
        Ok(())
    }

    /// The order whose turn it is, or when the next one may be due. It stays in the table until it is settled.
    pub(super) fn next(&self, now: Instant, pause: Duration) -> Next {
        let due = |target: &Target, entry: &Entry| match self.done.get(target) {
            Some(done) => entry.not_before.max(done.at + pause),
            None => entry.not_before,
        };
        let ready = self.orders.iter().filter(|(target, entry)| due(target, entry) <= now);
        if let Some((target, entry)) = ready.min_by_key(|(_, entry)| entry.ticket) {
            return Next::Order(Box::new((target.clone(), entry.order.clone())));
        }
        match self.orders.iter().map(|(target, entry)| due(target, entry)).min() {
            Some(due) => Next::At(due),
            None => Next::Idle,
        }
    }

    pub(super) fn settle(&mut self, target: &Target, order: &Order, outcome: &Outcome, now: Instant) {
        let is_newest = self.orders.get(target).is_some_and(|entry| entry.order == *order);
        match outcome {
            Outcome::Done => {
                let fingerprint = order.change.fingerprint();
                self.done.insert(target.clone(), Done { at: now, fingerprint });
                if is_newest {
                    self.orders.remove(target);
                }
            }
            Outcome::Refused(_) if is_newest => {
                self.orders.remove(target);
            }
            Outcome::Later(_) => {
                if let Some(entry) = self.orders.get_mut(target) {
                    entry.attempts += 1;
                    let pause = FIRST_RETRY * 2u32.pow(entry.attempts.min(6));
                    entry.not_before = now + pause.min(LAST_RETRY);
                }
            }
            Outcome::Refused(_) => {}
        }
    }
}

impl Target {
    fn of(order: &Order) -> Self {
        Self {
            group: order.resource.group.clone(),
            plural: order.resource.plural.clone(),
            namespace: order.namespace.clone(),
            name: order.name.clone(),
            part: match order.change {
                Change::Status(_) => "status",
                Change::Apply(_) | Change::Delete { .. } => "object",
            },
            manager: order.manager.clone(),
        }
    }

    pub(super) fn describe(&self) -> String {
        let place = self
            .namespace
            .as_ref()
            .map(|namespace| format!("{namespace}/"))
            .unwrap_or_default();
        format!("{} {place}{}", self.plural, self.name)
    }
}

pub(super) enum Next {
    Order(Box<(Target, Order)>),
    At(Instant),
    Idle,
}

pub(super) enum Outcome {
    Done,
    /// It will not do this as long as nothing else changes.
    Refused(String),
    /// It may do this later.
    Later(String),
}

impl Change {
    /// Stands for the change, so that a large object is not kept only to be compared.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Apply(value) | Self::Status(value) => value.to_string().hash(&mut hasher),
            Self::Delete { uid } => uid.hash(&mut hasher),
        }
        std::mem::discriminant(self).hash(&mut hasher);
        hasher.finish()
    }
}

/// How long a planner may take to see what was written.
const ECHO: Duration = Duration::from_secs(2);
/// How long a write is remembered, for the pause between two of the same object.
const REMEMBER: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;

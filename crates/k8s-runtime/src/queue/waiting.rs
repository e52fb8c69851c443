//! Which order is next. Pure: the time is handed in.
//!
//! Thousands of orders may wait at once, and whoever plans from a watch submits all of them again and again. So nothing here looks at
//! all of them for each: orders lie by their tickets too, and what was done by when.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Change, Order, QueueFull};

/// The orders that wait, and what was done lately.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    next_ticket: u64,
    orders: BTreeMap<Target, Entry>,
    /// The targets of those that are not under way, in the order in which they came.
    turns: BTreeMap<u64, Target>,
    /// Objects that are being written.
    under_way: BTreeSet<Object>,
    done: BTreeMap<Target, Done>,
    /// What was done when, oldest first; a target that was written again since has a later entry too.
    history: VecDeque<(Instant, Target)>,
    capacity: usize,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    not_before: Instant,
    attempts: u32,
    order: Arc<Order>,
}

/// The last write of an object that succeeded.
#[derive(Debug)]
struct Done {
    at: Instant,
    fingerprint: u64,
}

/// An object, whichever part of it. It is written by one order at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    group: String,
    plural: String,
    namespace: Option<String>,
    name: String,
}

/// What an order writes to. Orders for the same target replace each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Target {
    object: Object,
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
        self.forget(now);
        let target = Target::of(&order);
        if let Some(entry) = self.orders.get_mut(&target) {
            // Its turn stays: an object that changes all the time must not wait for ever.
            if *entry.order != order {
                entry.order = Arc::new(order);
                entry.attempts = 0;
            }
            return Ok(());
        }
        let is_echo =
            |done: &Done| now.duration_since(done.at) < ECHO && done.fingerprint == order.change.fingerprint();
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
            order: Arc::new(order),
        };
        self.turns.insert(entry.ticket, target.clone());
        self.orders.insert(target, entry);
        Ok(())
    }

    /// The order whose turn it is, or when the next one may be due. It stays in the table until it is settled, and no other of its
    /// object has its turn before that.
    pub(super) fn next(&mut self, now: Instant, pause: Duration) -> Next {
        let (mut earliest, mut found) = (None, None);
        for (ticket, target) in &self.turns {
            if self.under_way.contains(&target.object) {
                continue;
            }
            let entry = &self.orders[target];
            let due = match self.done.get(target) {
                Some(done) => entry.not_before.max(done.at + pause),
                None => entry.not_before,
            };
            if due <= now {
                found = Some((*ticket, Arc::clone(&entry.order)));
                break;
            }
            earliest = Some(earliest.map_or(due, |earliest: Instant| earliest.min(due)));
        }
        if let Some((ticket, order)) = found
            && let Some(target) = self.turns.remove(&ticket)
        {
            self.under_way.insert(target.object.clone());
            return Next::Order(target, order);
        }
        earliest.map_or(Next::Idle, Next::At)
    }

    pub(super) fn settle(&mut self, target: &Target, order: &Arc<Order>, outcome: &Outcome, now: Instant) {
        self.under_way.remove(&target.object);
        let is_newest = |entry: &Entry| Arc::ptr_eq(&entry.order, order) || *entry.order == **order;
        let is_newest = self.orders.get(target).is_some_and(is_newest);
        match outcome {
            Outcome::Done => {
                let fingerprint = order.change.fingerprint();
                self.done.insert(target.clone(), Done { at: now, fingerprint });
                self.history.push_back((now, target.clone()));
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
        if is_newest && !matches!(outcome, Outcome::Later(_)) {
            self.orders.remove(target);
        } else if let Some(entry) = self.orders.get(target) {
            self.turns.insert(entry.ticket, target.clone());
        }
    }

    /// Lets go of what was done long ago.
    fn forget(&mut self, now: Instant) {
        let is_old = |at: Instant| now.duration_since(at) >= REMEMBER;
        while let Some((at, target)) = self.history.front()
            && is_old(*at)
        {
            if self.done.get(target).is_some_and(|done| is_old(done.at)) {
                self.done.remove(target);
            }
            self.history.pop_front();
        }
    }
}

impl Target {
    fn of(order: &Order) -> Self {
        Self {
            object: Object {
                group: order.resource.group.clone(),
                plural: order.resource.plural.clone(),
                namespace: order.namespace.clone(),
                name: order.name.clone(),
            },
            part: match order.change {
                Change::Status(_) => "status",
                Change::Apply(_) | Change::Delete { .. } => "object",
            },
            manager: order.manager.clone(),
        }
    }

    pub(super) fn describe(&self) -> String {
        let Object {
            plural,
            namespace,
            name,
            ..
        } = &self.object;
        let place = namespace.iter().map(|namespace| format!("{namespace}/"));
        format!("{plural} {}{name}", place.collect::<String>())
    }
}

pub(super) enum Next {
    Order(Target, Arc<Order>),
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

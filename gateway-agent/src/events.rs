//! Kubernetes events on this gateway's `Gateway`: what an operator would recount of its cables and its role.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use k8s_api::{Gateway, mirror_name};
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};
use model::{Connection, ConnectionState, GatewayId};
use tokio::sync::mpsc;

use crate::metrics::Metrics;

/// Tells of changes, once each, and never so many that the API server suffers from a cable that comes and goes.
#[derive(Debug)]
pub(crate) struct Events {
    changes: Changes,
    notes: mpsc::Sender<Note>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Note {
    is_warning: bool,
    reason: String,
    message: String,
}

impl Events {
    /// Begins with nothing to tell.
    pub(crate) fn start(client: &Client, namespace: &str, me: &GatewayId) -> Self {
        let (notes, waiting) = mpsc::channel(WAITING);
        tokio::spawn(write(client.clone(), namespace.to_owned(), me.clone(), waiting));
        Self {
            changes: Changes::default(),
            notes,
        }
    }

    /// Tells what is not as it was when this was last asked.
    pub(crate) fn take(&mut self, connections: &[Connection], is_active: bool, metrics: &Metrics, now: Instant) {
        for note in self.changes.take(connections, is_active, now) {
            // A full queue means that the API server does not answer; the state itself is in the status.
            if self.notes.try_send(note).is_err() {
                tracing::debug!("an event is not told: too many wait");
            }
        }
        if let Ok(time) = SystemTime::now().duration_since(UNIX_EPOCH) {
            metrics.tell_changes(self.changes.seen.drain(..), time.as_secs_f64());
        }
    }
}

/// What is known to have been told.
#[derive(Debug, Default)]
struct Changes {
    known: BTreeMap<GatewayId, (ConnectionState, Option<String>)>,
    was_active: Option<bool>,
    /// When each of the last events was told.
    told: Vec<Instant>,
    /// Cables that changed, told or not.
    seen: Vec<GatewayId>,
}

impl Changes {
    fn take(&mut self, connections: &[Connection], is_active: bool, now: Instant) -> Vec<Note> {
        let mut notes = Vec::new();
        if self.was_active.replace(is_active).unwrap_or(false) != is_active {
            let (reason, message) = if is_active {
                ("BecameActive", "this gateway is the active one of its cluster")
            } else {
                (
                    "BecameStandby",
                    "another gateway is to be the active one of this cluster",
                )
            };
            notes.push(Note {
                is_warning: false,
                reason: reason.to_owned(),
                message: message.to_owned(),
            });
        }
        self.known
            .retain(|id, _| connections.iter().any(|connection| connection.remote == *id));
        for connection in connections {
            let state = (connection.state, connection.reason.clone());
            let before = self.known.insert(connection.remote.clone(), state.clone());
            let is_news = match &before {
                Some(before) => *before != state,
                None => state.0 != ConnectionState::Connecting,
            };
            if is_news {
                self.seen.push(connection.remote.clone());
                notes.extend(note(connection));
            }
        }
        self.told.retain(|at| now.saturating_duration_since(*at) < PERIOD);
        notes.truncate(AT_MOST.saturating_sub(self.told.len()));
        self.told.extend(notes.iter().map(|_| now));
        notes
    }
}

/// What is to be told of a cable in a new state. Steps on the way up are no events.
fn note(connection: &Connection) -> Option<Note> {
    let remote = &connection.remote;
    match connection.state {
        ConnectionState::Connecting => None,
        ConnectionState::Connected => Some(Note {
            is_warning: false,
            reason: "Connected".to_owned(),
            message: format!("the cable to {remote} works"),
        }),
        ConnectionState::Degraded | ConnectionState::Error => Some(Note {
            is_warning: true,
            reason: connection.reason.clone().unwrap_or_else(|| "Disconnected".to_owned()),
            message: format!("the cable to {remote}: {}", connection.message),
        }),
    }
}

async fn write(client: Client, namespace: String, me: GatewayId, mut notes: mpsc::Receiver<Note>) {
    let gateways: Api<Gateway> = Api::namespaced(client.clone(), &namespace);
    let events: Api<Event> = Api::namespaced(client, &namespace);
    let name = mirror_name(&me.cluster, me.node.as_str());
    while let Some(note) = notes.recv().await {
        // Events are found by the uid of their object, and an object that was made anew has another.
        let written = match gateways.get(&name).await {
            Ok(gateway) => {
                events
                    .create(&PostParams::default(), &event(&gateway, &me, &note))
                    .await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::debug!(%error, reason = note.reason, "cannot tell an event");
        }
    }
}

fn event(gateway: &Gateway, me: &GatewayId, note: &Note) -> Event {
    let time = Some(Time(Timestamp::now()));
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", gateway.name_any())),
            namespace: gateway.namespace(),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            resource_version: None,
            ..gateway.object_ref(&())
        },
        type_: Some(if note.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(note.reason.clone()),
        message: Some(note.message.chars().take(LONGEST).collect()),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(me.node.to_string()),
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(me.node.to_string()),
        first_timestamp: time.clone(),
        last_timestamp: time,
        count: Some(1),
        ..Event::default()
    }
}

const COMPONENT: &str = "tombolo-gateway-agent";
/// So many are told in a period.
const AT_MOST: usize = 20;
const PERIOD: Duration = Duration::from_secs(60);
const WAITING: usize = 64;
/// The API server takes messages of 1,024 bytes.
const LONGEST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;
    use ConnectionState::{Connected, Connecting, Error};

    fn connection(state: ConnectionState, reason: Option<&str>) -> Connection {
        let remote = GatewayId {
            cluster: "west".parse().unwrap(),
            node: "gw1".parse().unwrap(),
        };
        Connection {
            reason: reason.map(str::to_owned),
            message: "words".into(),
            ..Connection::new(remote, state)
        }
    }

    #[test]
    fn changes_are_told_once_and_steps_on_the_way_up_are_not() {
        let now = Instant::now();
        let mut changes = Changes::default();
        let mut told = |state, reason: Option<&str>, active| {
            let notes = changes.take(&[connection(state, reason)], active, now);
            notes.into_iter().map(|note| note.reason).collect::<Vec<_>>()
        };
        assert!(told(Connecting, Some("Starting"), false).is_empty());
        assert!(told(Connecting, Some("Probing"), false).is_empty());
        assert_eq!(told(Connected, None, true), ["BecameActive", "Connected"]);
        assert!(told(Connected, None, true).is_empty());
        assert_eq!(told(Error, Some("NoHandshake"), true), ["NoHandshake"]);
        assert_eq!(told(Error, Some("OneWay"), false), ["BecameStandby", "OneWay"]);
    }

    #[test]
    fn a_cable_that_comes_and_goes_is_told_of_so_often_and_no_more() {
        let start = Instant::now();
        let mut changes = Changes::default();
        let mut count = |from: usize, at| {
            let states = (from..from + 100).map(|step| if step % 2 == 0 { Connected } else { Error });
            states
                .map(|state| changes.take(&[connection(state, None)], false, at).len())
                .sum::<usize>()
        };
        assert_eq!(count(0, start), AT_MOST);
        assert_eq!(count(0, start + PERIOD / 2), 0);
        assert_eq!(count(0, start + PERIOD), AT_MOST);
        assert_eq!(changes.seen.len(), 300, "all of them are counted as changes");
    }
}

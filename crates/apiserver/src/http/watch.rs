//! Watches: a response that goes on, one JSON line an event.
//!
//! A watcher holds no queue. It remembers the last revision that it has shown and, whenever its resource has news, writes
//! the events between that and the newest durable revision. If the history has been cut in between, it sends the error 410 and
//! ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::stream;
use serde_json::Value;
use tokio::{sync::watch::Receiver, time::Instant};

use super::{query::Query, respond, shape::Viewer};
use crate::{
    field::FieldError,
    object::ObjectMut as _,
    rest::ListQuery,
    selector::Selector,
    server::Server,
    status::Status,
    store::{Event, EventKind, Revision, Store},
};

/// Why a watcher woke up.
enum Wake {
    News,
    Bookmark,
    End,
}

/// One watcher.
struct Watcher {
    server: Arc<Server>,
    viewer: Viewer,
    namespace: Option<String>,
    selector: Selector,
    seen: Revision,
    /// The newest revision that the client knows of, by event or bookmark.
    told: Revision,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    news: Receiver<Revision>,
    closing: Receiver<bool>,
    /// Written before anything else.
    first: Option<Vec<u8>>,
    ended: bool,
    /// No lines are written before this.
    rested: Instant,
}

pub(crate) fn start(server: &Arc<Server>, viewer: &Viewer, query: &Query, namespace: &str) -> Result<Response, Status> {
    let selector = query.selector(&viewer.kind)?;
    let namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
    let initial = wants_initial(query)?;
    let timeout = match query.number("timeoutSeconds")? {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds.unsigned_abs()),
        _ => default_timeout(),
    };
    let version = query.text("resourceVersion");
    let from = match version {
        "" | "0" => None,
        text => Some(Revision(text.parse().map_err(|_| {
            Status::internal(format!(
                "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })?)),
    };
    let now = Instant::now();
    let mut watcher = Watcher {
        server: Arc::clone(server),
        viewer: viewer.clone(),
        namespace,
        selector,
        seen: from.unwrap_or_default(),
        told: from.unwrap_or_default(),
        bookmarks: query.flag("allowWatchBookmarks"),
        // Who has just been given everything is told soon how far that reaches.
        next_bookmark: now + if initial { SOON } else { BOOKMARK_EVERY }.min(timeout * 3 / 4),
        deadline: now + timeout,
        news: server.subscribe(&viewer.kind.storage()),
        closing: server.closing.subscribe(),
        first: None,
        ended: false,
        rested: now,
    };
    if initial || from.is_none() {
        let marked = initial && watcher.bookmarks;
        watcher.begin_with_all(marked);
    }
    let lines = stream::unfold(watcher, |mut watcher| async move {
        let chunk = watcher.next().await?;
        Some((Ok::<Bytes, std::convert::Infallible>(chunk.into()), watcher))
    });
    Ok(respond::bytes_of(200, "application/json", Body::from_stream(lines)))
}

impl Watcher {
    /// Shows what exists as ADDED, up to the newest durable revision.
    fn begin_with_all(&mut self, marked: bool) {
        let shown = self.server.shown();
        let asked = ListQuery {
            namespace: self.namespace.clone(),
            selector: self.selector.clone(),
            resource_version: if shown == Revision(0) {
                String::new()
            } else {
                shown.to_string()
            },
            version_match: if shown == Revision(0) {
                String::new()
            } else {
                "Exact".into()
            },
            ..ListQuery::default()
        };
        let mut out = Vec::new();
        let listed = crate::rest::list(&self.server.store(), &self.viewer.kind.storage(), &asked);
        match listed {
            Ok(list) => {
                for object in &list.items {
                    self.viewer.event("ADDED", object, &mut out);
                }
                (self.seen, self.told) = (list.revision, list.revision);
                if marked {
                    self.bookmark(true, &mut out);
                }
            }
            Err(status) => self.fail(&status, &mut out),
        }
        self.first = Some(out);
    }

    /// The next lines; none when the watch is over.
    async fn next(&mut self) -> Option<Vec<u8>> {
        if let Some(first) = self.first.take() {
            // An empty first chunk still gets the response's head to the client.
            return Some(first);
        }
        while !self.ended {
            tokio::time::sleep_until(self.rested).await;
            let mut out = Vec::new();
            self.news.borrow_and_update();
            let is_all = self.gather(&mut out);
            if !out.is_empty() {
                return Some(out);
            }
            if !is_all {
                // None of them was for this client; one of the rest may be, and nobody tells of that again.
                continue;
            }
            if !self.is_served() {
                break;
            }
            let wake = tokio::select! {
                changed = self.news.changed() => if changed.is_ok() { Wake::News } else { Wake::End },
                () = tokio::time::sleep_until(self.deadline) => Wake::End,
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => Wake::Bookmark,
                _ = self.closing.wait_for(|closing| *closing) => Wake::End,
            };
            match wake {
                Wake::News => {}
                Wake::End => self.ended = true,
                Wake::Bookmark => {
                    let left = self.deadline.saturating_duration_since(Instant::now());
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY.min(left * 3 / 4).max(SOON);
                    self.seen = self.seen.max(self.quiet_until());
                    if self.seen > self.told {
                        self.bookmark(false, &mut out);
                        return Some(out);
                    }
                }
            }
        }
        None
    }

    /// Whether the kind is still there: it goes with its definition.
    fn is_served(&self) -> bool {
        let kind = &self.viewer.kind;
        let registry = self.server.registry();
        registry
            .find(kind.group(), &kind.version, &kind.resource.plural)
            .is_some()
    }

    /// The newest revision up to which there is nothing left to show.
    fn quiet_until(&self) -> Revision {
        let shown = self.server.shown();
        let store = self.server.store();
        let pending = store.events_after(&self.viewer.kind.storage(), self.seen, shown);
        if pending.is_ok_and(|mut events| events.next().is_none()) {
            shown
        } else {
            self.seen
        }
    }

    /// Writes the events that have come since. False if there may be more.
    fn gather(&mut self, out: &mut Vec<u8>) -> bool {
        let shown = self.server.shown();
        if shown <= self.seen {
            return true;
        }
        let events = {
            let store: &Store = &self.server.store();
            let events = store.events_after(&self.viewer.kind.storage(), self.seen, shown);
            events.map(|events| events.take(BATCH).cloned().collect::<Vec<Event>>())
        };
        match events {
            Ok(events) => {
                let is_all = events.len() < BATCH;
                if is_all && !events.is_empty() {
                    self.rested = Instant::now() + REST;
                }
                for event in &events {
                    self.seen = event.revision;
                    self.show(event, out);
                }
                is_all
            }
            Err(expired) => {
                let message = format!("too old resource version: {} ({})", self.seen, expired.oldest);
                self.fail(&Status::gone(message), out);
                true
            }
        }
    }

    /// An object that begins to match is added for this watcher, one that stops to match is deleted.
    fn show(&mut self, event: &Event, out: &mut Vec<u8>) {
        if self
            .namespace
            .as_ref()
            .is_some_and(|namespace| *namespace != event.place.namespace)
        {
            return;
        }
        let before = event.previous.as_ref().filter(|object| self.selector.matches(object));
        let after = (event.kind != EventKind::Deleted && self.selector.matches(&event.object)).then_some(&event.object);
        match (before, after) {
            (None, Some(now)) => self.viewer.event("ADDED", now, out),
            (Some(_), Some(now)) => self.viewer.event("MODIFIED", now, out),
            (Some(_), None) if event.kind == EventKind::Deleted => self.viewer.event("DELETED", &event.object, out),
            (Some(last), None) => {
                let mut last = Value::clone(last);
                last.set_meta("resourceVersion", event.revision.to_string());
                self.viewer.event("DELETED", &last, out);
            }
            (None, None) => return,
        }
        self.told = event.revision;
    }

    fn bookmark(&mut self, initial_end: bool, out: &mut Vec<u8>) {
        let object = self.viewer.bookmark(&self.seen.to_string(), initial_end);
        out.extend(respond::json(
            &serde_json::json!({"type": "BOOKMARK", "object": object}),
        ));
        self.told = self.seen;
    }

    fn fail(&mut self, status: &Status, out: &mut Vec<u8>) {
        out.extend(respond::json(
            &serde_json::json!({"type": "ERROR", "object": status.to_value()}),
        ));
        self.ended = true;
    }
}

fn wants_initial(query: &Query) -> Result<bool, Status> {
    let (wanted, version_match) = (query.has("sendInitialEvents"), query.text("resourceVersionMatch"));
    let mut errors = Vec::new();
    let mut forbid = |why: &str| errors.push(FieldError::forbidden("resourceVersionMatch", why));
    if wanted && version_match != "NotOlderThan" {
        forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if !version_match.is_empty() {
        if !wanted {
            forbid("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
        }
        if version_match != "NotOlderThan" {
            let error = FieldError::not_supported("resourceVersionMatch", version_match, ["NotOlderThan"]);
            errors.push(error);
        }
    }
    if errors.is_empty() {
        return Ok(query.flag("sendInitialEvents"));
    }
    Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors))
}

/// Between half an hour and an hour, so that watches that started together do not end together.
fn default_timeout() -> Duration {
    static STEP: AtomicU64 = AtomicU64::new(0);
    Duration::from_secs(1800 + STEP.fetch_add(97, Ordering::Relaxed) % 1800)
}

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_millis(500);
/// Events written at once; the client's reading paces the rest.
const BATCH: usize = 64;
/// After some events none are written for so long: those of a burst go together, to a client that wakes up once for them.
const REST: Duration = Duration::from_millis(20);

//! Watches: what others did while one was open is done again, from its events.

use std::{collections::HashSet, time::Duration};

use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::compare::{self, Difference};
use super::path::Path;
use super::recording::Recording;
use super::replay::Replay;

/// The events of one of our watches, as they come.
struct Stream {
    body: Body,
    buffer: Vec<u8>,
}

impl Stream {
    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).ok();
            }
            let frame = self.body.frame().await?.ok()?;
            self.buffer.extend(frame.data_ref().into_iter().flatten());
        }
    }
}

impl Replay<'_> {
    /// What a watch shows the end of, or a change, was there when it began.
    async fn mend_watched(&mut self, recording: &Recording) {
        let Some(path) = Path::parse(&recording.request.path) else {
            return;
        };
        let Some(revision) = recording
            .parameter("resourceVersion")
            .filter(|revision| *revision != "0")
        else {
            return;
        };
        let (mut seen, mut is_mended) = (HashSet::new(), false);
        for event in recording.events().iter().map(|timed| &timed.event) {
            let text = |key: &str| event["object"]["metadata"][key].as_str().unwrap_or_default();
            let of = path.of(text("namespace"), self.names.ours(text("name")).unwrap_or(text("name")));
            let is_later = !seen.insert(of.object());
            let is_old = ["MODIFIED", "DELETED"].iter().any(|kind| event["type"] == *kind);
            if is_later || !is_old || of.name.is_empty() || self.exists(&of).await {
                continue;
            }
            self.make(&of, &event["object"]).await;
            is_mended = true;
        }
        if is_mended {
            let newest = self.newest().await;
            self.names.learn_revision(revision, &newest.to_string());
        }
    }

    pub(crate) async fn watch(&mut self, recording: &Recording) -> Vec<Difference> {
        let expected = recording.events();
        if recording.is_expired() {
            self.outrun_history(recording).await;
        }
        self.mend_watched(recording).await;
        let request = self.request(recording).await;
        let (head, body) = self.open(request).await.into_parts();
        let mut differences = self.head(recording, head.status, &head.headers);
        let mut stream = Stream {
            body,
            buffer: Vec::new(),
        };
        for (index, timed) in expected.iter().enumerate() {
            let place = format!("event[{index}]");
            let mut event = timeout(IDLE, stream.next()).await;
            if event.is_err() {
                self.act(recording, &timed.event).await;
                event = timeout(PATIENCE, stream.next()).await;
            }
            let what = format!("{} {}", timed.event["type"], timed.event["object"]["metadata"]["name"]);
            match event {
                Err(_) => differences.push(Difference::new(&place, what, "nothing more")),
                Ok(None) => differences.push(Difference::new(&place, what, "the end")),
                Ok(Some(ours)) => {
                    let found = compare::bodies(&mut self.names, &timed.event, &ours);
                    differences.extend(found.into_iter().map(|found| found.under(&place)));
                    continue;
                }
            }
            return differences;
        }
        let is_timed = recording.request.path.contains("timeoutSeconds=");
        let until = Instant::now() + if is_timed { PATIENCE } else { IDLE };
        match timeout_at(until, stream.next()).await {
            Ok(Some(event)) => differences.push(Difference::new("event", "nothing more", event.to_string())),
            Err(_) if is_timed => differences.push(Difference::new("end", "after timeoutSeconds", "none")),
            _ => {}
        }
        differences
    }

    /// Does what made an event.
    async fn act(&mut self, recording: &Recording, event: &Value) {
        let Some(path) = Path::parse(&recording.request.path) else {
            return;
        };
        let table_row = &event["object"]["rows"][0]["object"];
        let shown = if table_row.is_object() {
            table_row
        } else {
            &event["object"]
        };
        if event["type"] == "BOOKMARK" {
            // Only a revision that has moved is told: another namespace moves it.
            self.mend_namespace(ELSEWHERE).await;
            let moved = json!({"metadata": {"generateName": "moved-"}});
            let at = format!("/api/v1/namespaces/{ELSEWHERE}/configmaps");
            self.admin("POST", &at, Some(&moved)).await;
            return;
        }
        let text = |key: &str| shown["metadata"][key].as_str().unwrap_or_default();
        let path = path.of(text("namespace"), self.names.ours(text("name")).unwrap_or(text("name")));
        let held = self.admin("GET", &path.object(), None).await;
        let held = held.status.is_success().then(|| held.json());
        match (event["type"].as_str(), held) {
            (Some("DELETED"), Some(_)) => self.remove(&path).await,
            (_, None) => self.make(&path, shown).await,
            (_, Some(held)) => {
                let is_deleting = |object: &Value| object["metadata"]["deletionTimestamp"].is_string();
                if is_deleting(shown) && !is_deleting(&held) {
                    let finalizers = shown["metadata"]["finalizers"].to_string();
                    let policy = match () {
                        () if finalizers.contains("foregroundDeletion") => "?propagationPolicy=Foreground",
                        () if finalizers.contains("\"orphan\"") => "?propagationPolicy=Orphan",
                        () => "",
                    };
                    self.admin("DELETE", &(path.object() + policy), None).await;
                } else {
                    let mut object = if table_row.is_object() {
                        // A row shows no content, so whatever is changed is as good.
                        touched(held)
                    } else {
                        self.names.translate_body(shown, 0)
                    };
                    if let Some(metadata) = object["metadata"].as_object_mut() {
                        metadata.retain(|key, _| !matches!(key.as_str(), "resourceVersion" | "managedFields"));
                    }
                    let managers = shown["metadata"]["managedFields"].as_array();
                    let manager = managers.and_then(|managers| managers.last()?["manager"].as_str());
                    let at = format!("{}?fieldManager={}", path.object(), manager.unwrap_or("unknown"));
                    self.admin("PUT", &at, Some(&object)).await;
                }
            }
        }
    }

    /// Writes until the history no longer reaches back to what the recordings name.
    pub(crate) async fn outrun_history(&mut self, recording: &Recording) {
        let Some(path) = Path::parse(&recording.request.path) else {
            return;
        };
        self.mend_namespace(ELSEWHERE).await;
        let path = path.of(ELSEWHERE, "outrun");
        self.make(&path, &json!({"metadata": {"name": "outrun"}})).await;
        for round in 0..HISTORY {
            let change = json!({"metadata": {"annotations": {"round": round.to_string()}}});
            self.admin("PATCH", &path.object(), Some(&change)).await;
        }
        self.remove(&path).await;
    }
}

/// The object with one text of its content changed.
fn touched(mut object: Value) -> Value {
    fn text(value: &mut Value) -> Option<&mut String> {
        match value {
            Value::String(text) => Some(text),
            Value::Array(items) => items.iter_mut().find_map(text),
            Value::Object(map) => map.values_mut().find_map(text),
            _ => None,
        }
    }
    let fields = object.as_object_mut().into_iter().flatten();
    let mut content = fields.filter(|(name, _)| !["apiVersion", "kind", "metadata", "status"].contains(&name.as_str()));
    if let Some(text) = content.find_map(|(_, value)| text(value)) {
        text.push('~');
    }
    object
}

/// A namespace of our own.
const ELSEWHERE: &str = "elsewhere";

/// How long our server has for an event before we help: it answers in microseconds.
const IDLE: Duration = Duration::from_millis(150);

/// How long a watch that ends by itself may take; also for what we have caused.
const PATIENCE: Duration = Duration::from_secs(8);

/// More writes than the server keeps.
const HISTORY: usize = 4200;

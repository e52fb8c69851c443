//! Replays one exchange after the other against a server of our own.

use std::time::Duration;

use anyhow::Context;
use apiserver::{ApiServer, Config};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use super::compare::{self, Difference};
use super::mend::Shown;
use super::names::Names;
use super::recording::Recording;

/// The state of a run.
pub(crate) struct Replay<'a> {
    router: axum::Router,
    pub(crate) names: Names,
    /// What the recordings show of every object.
    pub(crate) shown: Shown<'a>,
    pub(crate) mended: usize,
}

/// A whole answer of ours.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl<'a> Replay<'a> {
    pub(crate) fn start(recordings: &'a [Recording]) -> anyhow::Result<Self> {
        let prefix = service_range(recordings)
            .parse()
            .context("the recorded ServiceCIDR is no prefix")?;
        let server = ApiServer::open(Config {
            admin_token: ADMIN.to_owned(),
            service_prefixes: vec![prefix],
            crds: k8s_api::crds::mcs()
                .iter()
                .map(serde_json::to_value)
                .collect::<Result<_, _>>()
                .context("a definition is JSON")?,
            ..Config::default()
        })?;
        Ok(Self {
            router: server.router(),
            names: Names::default(),
            shown: Shown::of(recordings),
            mended: 0,
        })
    }

    /// How many objects had to be made because the steps that made them are missing.
    pub(crate) fn mended(&self) -> usize {
        self.mended
    }

    /// Replays one exchange and tells what differs.
    pub(crate) async fn step(&mut self, recording: &Recording) -> Vec<Difference> {
        self.names.enter(recording.group());
        self.mend(recording).await;
        self.mend_rights(recording).await;
        if recording.response.events.is_none() && recording.is_expired() {
            self.outrun_history(recording).await;
        }
        if recording.response.events.is_some() {
            return self.watch(recording).await;
        }
        let request = self.request(recording).await;
        let Ok(answer) = tokio::time::timeout(PATIENCE, self.send(request)).await else {
            return vec![Difference::new(
                "status",
                recording.response.status.to_string(),
                "no answer",
            )];
        };
        self.compare(recording, &answer)
    }

    fn compare(&mut self, recording: &Recording, answer: &Answer) -> Vec<Difference> {
        let mut differences = self.head(recording, answer.status, &answer.headers);
        let ours = answer.json();
        if let (201, Some(theirs)) = (recording.response.status, &recording.response.body) {
            // Created again: what was known of an earlier object of that name is past.
            let uid = |object: &Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            self.names.learn(&uid(theirs), &uid(&ours));
        }
        let etag = answer.headers.get("etag").and_then(|tag| tag.to_str().ok());
        if let (Some(theirs), Some(ours)) = (recording.response.header("etag").next(), etag) {
            self.names.learn(theirs, ours);
        }
        if let Some(theirs) = &recording.response.body {
            // YAML is recorded as the text that it is, or as what it means.
            differences.extend(compare::bodies(&mut self.names, theirs, &ours));
        } else if let Some(theirs) = &recording.response.body_text {
            let ours = String::from_utf8_lossy(&answer.body);
            let same = super::names::masked(theirs) == super::names::masked(&ours) || self.same_lines(theirs, &ours);
            if !same && recording.request.method != "HEAD" {
                differences.push(Difference::new("body", format!("{theirs:?}"), format!("{ours:?}")));
            }
        }
        differences
    }

    /// Line by line, as YAML and indented JSON are, with the names learned.
    fn same_lines(&mut self, theirs: &str, ours: &str) -> bool {
        let line = |line: &str| super::names::masked(line.trim_end());
        let theirs = self.names.translate(theirs);
        let quiet = |text: &str| -> Vec<String> {
            let lines = text
                .lines()
                .filter(|line| !line.trim_start().trim_start_matches('"').starts_with("resourceVersion"));
            lines.map(line).collect()
        };
        !theirs.is_empty() && quiet(&theirs) == quiet(ours)
    }

    /// Status and the headers that clients use.
    pub(crate) fn head(&self, recording: &Recording, status: StatusCode, headers: &HeaderMap) -> Vec<Difference> {
        let mut differences = Vec::new();
        let theirs = recording.response.status;
        if status.as_u16() != theirs {
            differences.push(Difference::new(
                "status",
                theirs.to_string(),
                status.as_u16().to_string(),
            ));
        }
        let ours = |name: &str| -> Vec<String> {
            let values = headers.get_all(name).iter();
            values
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .collect()
        };
        for name in ["content-type", "cache-control", "warning", "location", "retry-after"] {
            let mask = |value: &str| super::names::masked(value);
            let theirs: Vec<String> = recording.response.header(name).map(mask).collect();
            let ours: Vec<String> = ours(name).iter().map(|value| mask(value)).collect();
            if theirs != ours {
                let place = format!("header {name}");
                differences.push(Difference::new(&place, theirs.join(", "), ours.join(", ")));
            }
        }
        for name in ["etag", "audit-id"] {
            if recording.response.header(name).next().is_some() && ours(name).is_empty() {
                differences.push(Difference::new(&format!("header {name}"), "present", "absent"));
            }
        }
        differences
    }

    /// The recorded request with our names in it.
    pub(crate) async fn request(&mut self, recording: &Recording) -> Request<Body> {
        // What had expired there is asked for from before everything that we keep.
        let newest = if recording.is_expired() { 1 } else { self.newest().await };
        let recorded = &recording.request;
        let mut request = Request::builder().method(recorded.method.as_str());
        request = request.uri(self.path(&recorded.path, newest));
        let is_watch = recording.response.events.is_some();
        if is_watch && !recorded.headers.contains_key("Authorization") {
            request = request.header("authorization", format!("Bearer {ADMIN}"));
        }
        for (name, value) in &recorded.headers {
            let value = self.names.translate(value.as_str().unwrap_or_default());
            let user = value.strip_prefix("Bearer <").and_then(|user| user.strip_suffix('>'));
            match user {
                _ if name != "Authorization" => request = request.header(name, value),
                Some("admin") => request = request.header(name, format!("Bearer {ADMIN}")),
                Some(user) if !user.contains(' ') => {
                    request = request
                        .header(name, format!("Bearer {ADMIN}"))
                        .header("impersonate-user", user);
                    for group in groups_of(user) {
                        request = request.header("impersonate-group", group);
                    }
                }
                _ => request = request.header(name, value.replace(['\n', '\r'], " ")),
            }
        }
        let body = match &recorded.body {
            Value::Null => Body::empty(),
            Value::String(text) => self.names.translate(text).into(),
            body => spaced(&self.names.translate_body(body, newest)).into(),
        };
        request.body(body).unwrap_or_default()
    }

    /// A recorded path and query with our names and revisions.
    fn path(&self, recorded: &str, newest: u64) -> String {
        let recorded = self.names.translate(recorded);
        let Some((path, query)) = recorded.split_once('?') else {
            return recorded;
        };
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some(("resourceVersion", revision)) => {
                format!("resourceVersion={}", self.names.revision(revision, newest))
            }
            Some(("continue", token)) => {
                let decoded = token.replace("%3D", "=").replace("%3d", "=");
                let known = self.names.ours(&decoded).map(str::to_owned);
                let ours = known
                    .or_else(|| self.token(&decoded, newest))
                    .unwrap_or_else(|| token.to_owned());
                format!("continue={}", ours.replace('=', "%3D").replace('+', "%2B"))
            }
            _ => parameter.to_owned(),
        });
        format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
    }

    /// A recorded continue token that was given by a step which is missing, with a revision of ours in it.
    fn token(&self, theirs: &str, newest: u64) -> Option<String> {
        let mut token: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(theirs).ok()?).ok()?;
        // What the page shows was just made, so it is of now.
        if token["rv"].as_i64()? > 0 {
            token["rv"] = newest.into();
        }
        Some(BASE64_URL_SAFE_NO_PAD.encode(token.to_string()))
    }

    /// Our newest revision.
    pub(crate) async fn newest(&self) -> u64 {
        let list = self.admin("GET", "/api/v1/namespaces?limit=1", None).await.json();
        let revision = list["metadata"]["resourceVersion"].as_str();
        revision.and_then(|revision| revision.parse().ok()).unwrap_or_default()
    }

    /// A request of the administrator, which is not a step of the recordings.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let content = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {ADMIN}"))
            .header("content-type", content)
            .body(body.map_or_else(Body::empty, |body| body.to_string().into()));
        self.send(request.unwrap_or_default()).await
    }

    pub(crate) async fn open(&self, request: Request<Body>) -> Response<Body> {
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => never.into_response(),
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = self.open(request).await.into_parts();
        Answer {
            status: head.status,
            headers: head.headers,
            body: body.collect().await.map(|body| body.to_bytes()).unwrap_or_default(),
        }
    }
}

/// The range that the recorded server gave service addresses from, or the usual one.
fn service_range(recordings: &[Recording]) -> &str {
    let bodies = recordings
        .iter()
        .filter_map(|recording| recording.response.body.as_ref());
    let mut ranges = bodies
        .filter(|body| body["kind"] == "ServiceCIDRList")
        .filter_map(|body| body["items"][0]["spec"]["cidrs"][0].as_str());
    ranges.next().unwrap_or("10.96.0.0/16")
}

const ADMIN: &str = "conformance-admin";

/// The groups of a user, beside those that every user is in.
pub(crate) fn groups_of(user: &str) -> Vec<&'static str> {
    let own = USERS.iter().filter(|(name, _)| *name == user);
    own.map(|(_, group)| *group).collect()
}

/// The groups of the users that recordings name by `Bearer <user>`; they are impersonated.
const USERS: &[(&str, &str)] = &[("bob", "devs")];

/// How long an answer that is no watch may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// JSON with the spaces that the recorder wrote: some answers repeat the request's text.
fn spaced(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let fields = map
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), spaced(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        value => value.to_string(),
    }
}

//! The server that is held against the model: what it answers to each step.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use proptest_state_machine::StateMachineTest;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Answer, Happened, KEPT, Model, PAGE, Step};
use crate::{Config, http, server::Server, store::Limits};

/// The server, and what clients of it remember.
pub(super) struct Real {
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    router: Option<Router>,
    /// The revision after each change of the model.
    revisions: Vec<u64>,
    following: Option<Body>,
    token: String,
}

impl StateMachineTest for Real {
    type SystemUnderTest = Self;
    type Reference = Model;

    fn init_test(_: &Model) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut real = Self {
            runtime: runtime.unwrap(),
            dir: tempfile::tempdir().unwrap(),
            router: None,
            revisions: Vec::new(),
            following: None,
            token: String::new(),
        };
        real.restart();
        let list = real.call("GET", MAPS, None).1;
        real.revisions.push(revision(&list));
        real
    }

    fn apply(mut real: Self, model: &Model, step: Step) -> Self {
        let answer = match step {
            Step::Create(name, value) => real.write("POST", MAPS, &object(name, value)),
            Step::Update(name, value, fresh) => {
                let path = path(name);
                let (_, found) = real.call("GET", &path, None);
                let mut object = object(name, value);
                object["metadata"]["resourceVersion"] = match found["metadata"].get("resourceVersion") {
                    Some(version) if fresh => version.clone(),
                    _ => json!("1"),
                };
                real.write("PUT", &path, &object)
            }
            Step::Patch(name, value) => real.write("PATCH", &path(name), &json!({"data": {"v": value.to_string()}})),
            Step::Delete(name) => real.write("DELETE", &path(name), &json!({})),
            Step::Resume(at) => {
                let mut watch = real.watch(real.revisions[at.index(model.past.len())]);
                real.read(&mut watch, &model.answer)
            }
            Step::Follow => {
                let newest = real.revisions.last().copied().unwrap_or_default();
                real.following = Some(real.watch(newest));
                Answer::Nothing
            }
            Step::CatchUp => {
                let mut watch = real.following.take().unwrap();
                let answer = real.read(&mut watch, &model.answer);
                real.following = model.following.map(|_| watch);
                answer
            }
            Step::List => {
                real.token.clear();
                real.page()
            }
            Step::More => real.page(),
            Step::Restart => {
                real.restart();
                Answer::Nothing
            }
        };
        assert_eq!(answer, model.answer, "{step:?}");
        let list = real.call("GET", MAPS, None).1;
        if real.revisions.len() < model.past.len() {
            real.revisions.push(revision(&list));
        }
        assert!(real.revisions.is_sorted_by(|a, b| a < b), "{:?}", real.revisions);
        assert_eq!(
            Some(&revision(&list)),
            real.revisions.last(),
            "only changes take revisions"
        );
        real
    }

    fn check_invariants(real: &Self, model: &Model) {
        let list = real.call("GET", MAPS, None).1;
        assert_eq!(objects(&list), model.objects.clone().into_iter().collect::<Vec<_>>());
    }
}

impl Real {
    fn restart(&mut self) {
        self.following = None;
        // The last holder of the server closes its file.
        self.router = None;
        let config = Config {
            data_dir: Some(self.dir.path().to_owned()),
            admin_token: "admin".into(),
            ..Config::default()
        };
        let limits = Limits {
            events: KEPT,
            age: SignedDuration::from_hours(1),
        };
        let server = Server::open_keeping(config, limits).unwrap();
        self.router = Some(http::admin_router(Arc::new(server)));
    }

    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Body) {
        let media = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = ::http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", media)
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())));
        let router = self.router.clone().unwrap();
        let response = self.runtime.block_on(router.oneshot(request.unwrap())).unwrap();
        (response.status().as_u16(), response.into_body())
    }

    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (code, body) = self.send(method, path, body);
        let bytes = self.runtime.block_on(body.collect()).unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap())
    }

    fn write(&self, method: &str, path: &str, body: &Value) -> Answer {
        Answer::Code(self.call(method, path, Some(body)).0)
    }

    fn watch(&self, after: u64) -> Body {
        let (code, body) = self.send("GET", &format!("{MAPS}?watch=1&resourceVersion={after}"), None);
        assert_eq!(code, 200);
        body
    }

    /// Reads as many lines as are expected, or the error. Nothing is waited for that is not expected.
    fn read(&self, watch: &mut Body, expected: &Answer) -> Answer {
        let lines = match expected {
            Answer::Events(Some(events)) => events.len(),
            _ => 1,
        };
        let mut found = Vec::new();
        let mut text = String::new();
        while found.len() < lines {
            let frame = self
                .runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(20), watch.frame()).await });
            let frame = frame.unwrap_or_else(|_| panic!("waited too long for {expected:?}, have {found:?}"));
            let Some(frame) = frame else { break };
            text.push_str(std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap());
            while let Some((line, rest)) = text.split_once('\n') {
                let event: Value = serde_json::from_str(line).unwrap();
                if event["type"] == "ERROR" {
                    assert_eq!(event["object"]["code"], 410);
                    return Answer::Events(None);
                }
                let (name, value) = named(&event["object"]);
                let kinds = ["ADDED", "MODIFIED", "DELETED"];
                let kind = kinds.into_iter().find(|kind| event["type"] == *kind).unwrap();
                found.push(Happened(kind, name, value));
                text = rest.to_owned();
            }
        }
        Answer::Events(Some(found))
    }

    fn page(&mut self) -> Answer {
        let (code, list) = self.call("GET", &format!("{MAPS}?limit={PAGE}&continue={}", self.token), None);
        if code == 410 {
            return Answer::Page(None);
        }
        self.token = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
        Answer::Page(Some((objects(&list), !self.token.is_empty())))
    }
}

fn object(name: u8, value: u32) -> Value {
    json!({"metadata": {"name": format!("m{name}")}, "data": {"v": value.to_string()}})
}

fn path(name: u8) -> String {
    format!("{MAPS}/m{name}")
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn named(object: &Value) -> (u8, u32) {
    let name = object["metadata"]["name"].as_str().unwrap();
    let value = object["data"]["v"].as_str().unwrap();
    (name[1..].parse().unwrap(), value.parse().unwrap())
}

fn objects(list: &Value) -> Vec<(u8, u32)> {
    list["items"].as_array().unwrap().iter().map(named).collect()
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

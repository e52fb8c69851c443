//! The server against a model of it: any interleaving of writes, watches, paged lists and restarts, with so little history
//! that it is compacted all the time.
//!
//! The model knows no revisions, only that the n-th change happened n-th; the test maps one to the other and thereby checks
//! that revisions only grow. It predicts every answer, 410 included, exactly.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http_body_util::BodyExt as _;
use jiff::SignedDuration;
use proptest::{prelude::*, sample::Index};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::Server;
use crate::{Config, http, store::Limits};

/// Name to value.
type Objects = BTreeMap<u8, u32>;

/// One change: what happened to which object, and the value it has (or had last).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Happened(&'static str, u8, u32);

#[derive(Clone, Debug)]
enum Step {
    Create(u8, u32),
    /// A replacement that states the newest resourceVersion, or an old one.
    Update(u8, u32, bool),
    Patch(u8, u32),
    Delete(u8),
    /// A watch that resumes after one of the changes so far.
    Resume(Index),
    /// One that is left alone for a while, and is then read.
    Follow,
    CatchUp,
    /// The first page of a list, and the next one.
    List,
    More,
    Restart,
}

/// What a step must be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Code(u16),
    /// From a watch: these, or 410.
    Events(Option<Vec<Happened>>),
    /// A page and whether there is another; 410 if it is none.
    Page(Option<(Vec<(u8, u32)>, bool)>),
    Nothing,
}

#[derive(Clone, Debug)]
struct Model {
    objects: Objects,
    /// All changes, and the objects after each; the first stands for the beginning.
    past: Vec<(Option<Happened>, Objects)>,
    /// After how many changes the watch left alone was started or read last.
    following: Option<usize>,
    /// As of how many changes a list is being paged, and the last name shown.
    paging: Option<(usize, u8)>,
    answer: Answer,
}

impl Model {
    fn changes(&self) -> usize {
        self.past.len() - 1
    }

    /// Whether some change after this one has been dropped.
    fn is_expired(&self, at: usize) -> bool {
        at < self.changes().saturating_sub(KEPT)
    }

    fn happen(&mut self, what: Happened) {
        let Happened(kind, name, value) = what;
        if kind == "DELETED" {
            self.objects.remove(&name);
        } else {
            self.objects.insert(name, value);
        }
        self.past.push((Some(what), self.objects.clone()));
    }

    fn write(&mut self, name: u8, value: u32, conflict: bool) -> u16 {
        match self.objects.get(&name) {
            None => 404,
            Some(_) if conflict => 409,
            Some(same) if *same == value => 200,
            Some(_) => {
                self.happen(Happened("MODIFIED", name, value));
                200
            }
        }
    }

    fn events_after(&self, at: usize) -> Option<Vec<Happened>> {
        let events = self.past[at + 1..].iter().filter_map(|(event, _)| *event).collect();
        (!self.is_expired(at)).then_some(events)
    }

    fn page(&mut self, at: usize, after: Option<u8>) -> Answer {
        self.paging = None;
        if self.is_expired(at) {
            return Answer::Page(None);
        }
        let objects = self.past[at].1.iter().map(|(name, value)| (*name, *value));
        let mut rest = objects.filter(|(name, _)| after.is_none_or(|after| *name > after));
        let page: Vec<(u8, u32)> = rest.by_ref().take(PAGE).collect();
        let more = rest.next().is_some();
        drop(rest);
        self.paging = page.last().filter(|_| more).map(|(name, _)| (at, *name));
        Answer::Page(Some((page, more)))
    }
}

impl ReferenceStateMachine for Model {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            objects: Objects::new(),
            past: vec![(None, Objects::new())],
            following: None,
            paging: None,
            answer: Answer::Nothing,
        })
        .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Step> {
        let (name, value) = (0u8..5, 0u32..3);
        prop_oneof![
            6 => (name.clone(), value.clone()).prop_map(|(name, value)| Step::Create(name, value)),
            4 => (name.clone(), value.clone(), any::<bool>()).prop_map(|(name, value, fresh)| Step::Update(name, value, fresh)),
            6 => (name.clone(), value).prop_map(|(name, value)| Step::Patch(name, value)),
            2 => name.prop_map(Step::Delete),
            4 => any::<Index>().prop_map(Step::Resume),
            1 => Just(Step::Follow),
            2 => Just(Step::CatchUp),
            2 => Just(Step::List),
            3 => Just(Step::More),
            1 => Just(Step::Restart),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, step: &Step) -> bool {
        match step {
            Step::CatchUp => state.following.is_some(),
            Step::More => state.paging.is_some(),
            _ => true,
        }
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.answer = match *step {
            Step::Create(name, _) if state.objects.contains_key(&name) => Answer::Code(409),
            Step::Create(name, value) => {
                state.happen(Happened("ADDED", name, value));
                Answer::Code(201)
            }
            Step::Update(name, value, fresh) => Answer::Code(state.write(name, value, !fresh)),
            Step::Patch(name, value) => Answer::Code(state.write(name, value, false)),
            Step::Delete(name) => match state.objects.get(&name).copied() {
                Some(value) => {
                    state.happen(Happened("DELETED", name, value));
                    Answer::Code(200)
                }
                None => Answer::Code(404),
            },
            Step::Resume(at) => Answer::Events(state.events_after(at.index(state.past.len()))),
            Step::Follow => {
                state.following = Some(state.changes());
                Answer::Nothing
            }
            Step::CatchUp => {
                let events = state.events_after(state.following.unwrap_or_default());
                state.following = events.is_some().then_some(state.changes());
                Answer::Events(events)
            }
            Step::List => state.page(state.changes(), None),
            Step::More => match state.paging {
                Some((at, after)) => state.page(at, Some(after)),
                None => Answer::Nothing,
            },
            Step::Restart => {
                state.following = None;
                Answer::Nothing
            }
        };
        state
    }
}

/// The server, and what clients of it remember.
struct Real {
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

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_server_answers_as_its_model(sequential 1..50 => Real);
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const KEPT: usize = 6;
const PAGE: usize = 2;

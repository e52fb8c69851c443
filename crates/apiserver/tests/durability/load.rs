//! Writers that remember what they were told.
//!
//! Each writer owns one ConfigMap and does one thing to it at a time: create, update, delete, create again. So after a kill only
//! the step that was under way may have happened or not; everything before it must have.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, future::join_all};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::server::Process;

/// The state of an object: its value, or none where there is no object.
type State = Option<u64>;

/// What one writer knows.
#[derive(Clone, Copy, Debug, Default)]
struct Writer {
    steps: u64,
    acknowledged: State,
    /// The step that nobody has answered.
    under_way: Option<State>,
}

/// All writers, and the newest revision that anybody has seen.
#[derive(Debug, Default)]
pub(crate) struct Load {
    writers: BTreeMap<usize, Writer>,
    newest: u64,
}

impl Load {
    pub(crate) fn acknowledged(&self) -> u64 {
        self.writers.values().map(|writer| writer.steps).sum()
    }

    /// Writes until a while after the first answers, kills the server, and waits until all writers have noticed.
    pub(crate) async fn run(&mut self, process: &mut Process, pause: Duration, run: u32) {
        let client = process.client().await;
        let mut handles: Vec<JoinHandle<(usize, Writer, u64)>> = Vec::new();
        for n in 0..WRITERS {
            let writer = self.writers.get(&n).copied().unwrap_or_default();
            handles.push(tokio::spawn(write(n, writer, client.clone())));
        }
        let watching = tokio::spawn(watch(client, self.newest));
        tokio::time::sleep(pause).await;
        process.kill();
        let ended = tokio::time::timeout(Duration::from_secs(60), join_all(handles)).await;
        for result in ended.unwrap_or_else(|_| panic!("writers of run {run} did not notice the kill")) {
            let (n, writer, newest) = result.unwrap();
            self.writers.insert(n, writer);
            self.newest = self.newest.max(newest);
        }
        self.newest = self.newest.max(watching.await.unwrap());
    }

    /// How many acknowledged steps are not there; panics if the revision has gone back.
    pub(crate) async fn check(&mut self, client: &Client) -> u64 {
        let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let list = maps.list(&ListParams::default()).await.unwrap();
        let revision = number(list.metadata.resource_version.as_deref());
        assert!(
            revision >= self.newest,
            "the revision went back from {} to {revision}",
            self.newest
        );
        let mut lost = 0;
        for (n, writer) in &mut self.writers {
            let found = list
                .items
                .iter()
                .find(|map| map.metadata.name.as_deref() == Some(&name(*n)));
            let found: State = found.map(|map| number(map.data.as_ref().and_then(|data| data.get("v")).map(|v| &**v)));
            if found != writer.acknowledged && Some(found) != writer.under_way {
                eprintln!("{}: found {found:?}, but {writer:?}", name(*n));
                lost += 1;
            }
            writer.acknowledged = found;
            writer.under_way = None;
        }
        lost
    }
}

async fn write(n: usize, mut writer: Writer, client: Client) -> (usize, Writer, u64) {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let mut newest = 0;
    loop {
        let next = writer.acknowledged.unwrap_or(writer.steps) + 1;
        let wanted = if next.is_multiple_of(7) && writer.acknowledged.is_some() {
            None
        } else {
            Some(next)
        };
        writer.under_way = Some(wanted);
        let answer = match (writer.acknowledged, wanted) {
            (_, None) => maps.delete(&name(n), &DeleteParams::default()).await.map(|_| None),
            (None, Some(value)) => {
                let map = json!({"metadata": {"name": name(n)}, "data": {"v": value.to_string()}});
                let map = serde_json::from_value(map).unwrap();
                maps.create(&PostParams::default(), &map).await.map(Some)
            }
            (Some(_), Some(value)) => {
                let patch = Patch::Merge(json!({"data": {"v": value.to_string()}}));
                let patched = maps.patch(&name(n), &PatchParams::default(), &patch).await;
                patched.map(Some)
            }
        };
        match answer {
            Ok(map) => {
                newest = newest.max(number(map.and_then(|map| map.metadata.resource_version).as_deref()));
                writer.steps += 1;
                writer.acknowledged = wanted;
                writer.under_way = None;
            }
            Err(kube::Error::Api(status)) => panic!("the server refused {wanted:?} of {}: {status:?}", name(n)),
            Err(_) => return (n, writer, newest),
        }
    }
}

/// Follows everything from where the last watcher ended; returns the newest revision that it was shown.
async fn watch(client: Client, from: u64) -> u64 {
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let Ok(events) = maps.watch(&WatchParams::default(), &from.to_string()).await else {
        return from;
    };
    let mut newest = from;
    let mut events = events.boxed();
    while let Some(Ok(event)) = events.next().await {
        match event {
            WatchEvent::Added(map) | WatchEvent::Modified(map) | WatchEvent::Deleted(map) => {
                let revision = number(map.metadata.resource_version.as_deref());
                assert!(revision > newest || from == 0, "{revision} was shown after {newest}");
                newest = newest.max(revision);
            }
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => panic!("a watch across a restart failed: {status:?}"),
        }
    }
    newest
}

fn name(n: usize) -> String {
    format!("w{n}")
}

fn number(text: Option<&str>) -> u64 {
    text.map_or(0, |text| text.parse().unwrap())
}

const WRITERS: usize = 12;

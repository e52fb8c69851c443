//! kube's watcher, reflector and controller while objects come, change and go.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    runtime::{Controller, WatchStreamExt as _, controller::Action, reflector, watcher},
};
use serde_json::json;

use crate::fixture::{client, server};

/// (name, generation of its content) of every object.
type Content = BTreeMap<String, String>;

/// What is in the store after some rounds in which objects are made, patched and removed.
async fn churn(maps: &Api<ConfigMap>) -> Content {
    for round in 0..120_u32 {
        let name = format!("m{}", round * 7 % 20);
        let data = json!({"round": round.to_string()});
        match round % 5 {
            4 => drop(maps.delete(&name, &DeleteParams::default()).await),
            _ => {
                let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap();
                if maps.create(&PostParams::default(), &map).await.is_err() {
                    let patch = Patch::Merge(json!({"data": data}));
                    maps.patch(&name, &PatchParams::default(), &patch).await.unwrap();
                }
            }
        }
    }
    content(maps.list(&ListParams::default()).await.unwrap().items.iter())
}

fn content<'a>(maps: impl Iterator<Item = &'a ConfigMap>) -> Content {
    let ours = maps.filter(|map| map.name_any().starts_with('m'));
    ours.map(|map| (map.name_any(), map.data.clone().unwrap_or_default()["round"].clone()))
        .collect()
}

#[tokio::test]
async fn a_reflector_ends_up_with_what_is_there() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let (reader, writer) = reflector::store();
        let stream = watcher(maps.clone(), config).default_backoff();
        let reflecting = tokio::spawn(reflector(writer, stream).for_each(|event| async move {
            event.expect("the watch goes on");
        }));
        let wanted = churn(&maps).await;
        assert!(!wanted.is_empty());
        let same = || content(reader.state().iter().map(|map| &**map)) == wanted;
        until("the reflector has everything", same).await;
        reflecting.abort();
    }
}

#[tokio::test]
async fn a_controller_has_seen_the_last_state_of_everything() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let seen: Arc<Mutex<Content>> = Arc::default();
    let reconcile = |map: Arc<ConfigMap>, seen: Arc<Mutex<Content>>| async move {
        seen.lock().unwrap().extend(content(std::iter::once(&*map)));
        Ok::<_, std::convert::Infallible>(Action::await_change())
    };
    let failed = |_, _: &std::convert::Infallible, _| Action::requeue(Duration::from_millis(10));
    let controller = Controller::new(maps.clone(), watcher::Config::default());
    let controlling = tokio::spawn(
        controller
            .run(reconcile, failed, Arc::clone(&seen))
            .for_each(|_| async {}),
    );
    let wanted = churn(&maps).await;
    let up_to_date = || {
        let seen = seen.lock().unwrap();
        wanted.iter().all(|(name, round)| seen.get(name) == Some(round))
    };
    until("the controller has seen the last states", up_to_date).await;
    controlling.abort();
}

/// Waits for a condition that others bring about.
async fn until(what: &str, is_true: impl Fn() -> bool) {
    let awaited = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(30), awaited).await.is_ok(),
        "timed out: {what}"
    );
}

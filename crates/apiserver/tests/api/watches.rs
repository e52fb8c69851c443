//! Watches.

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
    runtime::{WatchStreamExt as _, reflector, watcher},
};
use serde_json::json;

use crate::fixture::{client, server, soon};

fn map(name: &str, on: bool) -> ConfigMap {
    let labels = if on { json!({"on": "1"}) } else { json!({}) };
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
}

async fn next<S: Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin>(stream: &mut S) -> String {
    let event = soon("a watch event", stream.try_next())
        .await
        .unwrap()
        .expect("the watch goes on");
    match event {
        WatchEvent::Added(map) => format!("ADDED {}", map.metadata.name.unwrap()),
        WatchEvent::Modified(map) => format!("MODIFIED {}", map.metadata.name.unwrap()),
        WatchEvent::Deleted(map) => format!("DELETED {}", map.metadata.name.unwrap()),
        WatchEvent::Bookmark(mark) => format!("BOOKMARK {:?}", mark.metadata.annotations.len()),
        WatchEvent::Error(status) => format!("ERROR {}", status.code),
    }
}

async fn relabel(maps: &Api<ConfigMap>, name: &str, value: Option<&str>) {
    let patch = Patch::Merge(json!({"metadata": {"labels": {"on": value}}}));
    maps.patch(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
async fn a_selector_watch_sees_objects_come_and_go_with_their_labels() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let first = maps.create(&PostParams::default(), &map("a", false)).await.unwrap();
    let params = WatchParams::default().labels("on=1");
    let mut stream = maps
        .watch(&params, &first.metadata.resource_version.unwrap())
        .await
        .unwrap()
        .boxed();
    relabel(&maps, "a", Some("1")).await;
    relabel(&maps, "a", None).await;
    relabel(&maps, "a", Some("1")).await;
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(next(&mut stream).await);
    }
    assert_eq!(seen, ["ADDED a", "DELETED a", "ADDED a", "DELETED a"]);
}

#[tokio::test]
async fn an_event_behind_many_for_others_arrives() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let first = maps.create(&PostParams::default(), &map("first", false)).await.unwrap();
    for n in 0..200 {
        let other = map(&format!("other-{n}"), false);
        maps.create(&PostParams::default(), &other).await.unwrap();
    }
    maps.create(&PostParams::default(), &map("wanted", true)).await.unwrap();
    let params = WatchParams::default().labels("on=1");
    let since = first.metadata.resource_version.unwrap();
    let mut stream = maps.watch(&params, &since).await.unwrap().boxed();
    assert_eq!(next(&mut stream).await, "ADDED wanted");
}

#[tokio::test]
async fn a_watch_list_begins_with_everything_and_a_bookmark() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    maps.create(&PostParams::default(), &map("a", true)).await.unwrap();
    let params = WatchParams::default().labels("on").initial_events();
    let mut stream = maps.watch(&params, "0").await.unwrap().boxed();
    assert_eq!(next(&mut stream).await, "ADDED a");
    assert_eq!(next(&mut stream).await, "BOOKMARK 1");
    maps.create(&PostParams::default(), &map("b", true)).await.unwrap();
    assert_eq!(next(&mut stream).await, "ADDED b");
}

#[tokio::test]
async fn a_watch_that_is_too_old_is_told_so_and_ends() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let first = maps.create(&PostParams::default(), &map("a", false)).await.unwrap();
    for n in 0..4100 {
        relabel(&maps, "a", Some(if n % 2 == 0 { "x" } else { "y" })).await;
    }
    let mut stream = maps
        .watch(&WatchParams::default(), &first.metadata.resource_version.unwrap())
        .await
        .unwrap()
        .boxed();
    assert_eq!(next(&mut stream).await, "ERROR 410");
    assert!(soon("the end", stream.try_next()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_timeout_ends_a_watch() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let params = WatchParams::default().timeout(1).labels("none");
    let mut stream = maps.watch(&params, "0").await.unwrap().boxed();
    let mut events = 0;
    while let Some(event) = soon("the end of the watch", stream.try_next()).await.unwrap() {
        assert!(matches!(event, WatchEvent::Bookmark(_)), "{event:?}");
        events += 1;
    }
    assert!(events <= 1);
}

/// kube's own reflector, by list and by watch-list, follows a churn to the same end.
#[tokio::test]
async fn reflectors_follow() {
    let client: Client = client(&server());
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    for config in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let (store, writer) = reflector::store();
        let stream = reflector(writer, watcher(maps.clone(), config.labels("on")))
            .default_backoff()
            .touched_objects();
        let task = tokio::spawn(stream.for_each(|_| std::future::ready(())));
        soon("the first list", store.wait_until_ready()).await.unwrap();
        for n in 0..50 {
            maps.create(&PostParams::default(), &map(&format!("r{n}"), true))
                .await
                .unwrap();
        }
        for n in 0..49 {
            maps.delete(&format!("r{n}"), &DeleteParams::default()).await.unwrap();
        }
        let settled = async {
            while store.state().len() != 1 || store.state()[0].metadata.name.as_deref() != Some("r49") {
                tokio::task::yield_now().await;
            }
        };
        soon("the reflector to see the end of the churn", settled).await;
        maps.delete("r49", &DeleteParams::default()).await.unwrap();
        task.abort();
    }
}

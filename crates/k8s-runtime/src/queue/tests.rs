use super::*;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;

pub(super) fn order(name: &str, value: &str) -> Order {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "default" },
        "data": { "value": value },
    });
    with(name, Change::Apply(object))
}

pub(super) fn with(name: &str, change: Change) -> Order {
    Order {
        resource: ApiResource::erase::<ConfigMap>(&()),
        namespace: Some("default".into()),
        name: name.into(),
        manager: "test".into(),
        change,
    }
}

async fn until_idle(queue: &ApplyQueue) {
    let idle = async {
        while !queue.is_idle() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), idle)
        .await
        .expect("the queue is idle within 20 s");
}

#[tokio::test]
async fn orders_reach_the_server_and_failures_are_named() {
    let config = apiserver::Config {
        admin_token: "admin".into(),
        ..apiserver::Config::default()
    };
    let server = apiserver::ApiServer::open(config).unwrap();
    let client = Client::new(server.admin_router(), "default");
    let queue = ApplyQueue::start(client.clone(), QueueOptions::default());
    queue.submit(order("a", "1")).unwrap();
    let mut bad = order("b", "1");
    bad.namespace = Some("nowhere".into());
    queue.submit(bad).unwrap();
    until_idle(&queue).await;
    let api: Api<ConfigMap> = Api::namespaced(client, "default");
    assert_eq!(api.get("a").await.unwrap().data.unwrap()["value"], "1");
    let failures = queue.failures().borrow().clone();
    assert_eq!(
        failures.keys().map(String::as_str).collect::<Vec<_>>(),
        ["configmaps nowhere/b"]
    );

    let other = with(
        "a",
        Change::Delete {
            uid: Some("another".into()),
        },
    );
    queue.submit(other).unwrap();
    until_idle(&queue).await;
    assert!(api.get_opt("a").await.unwrap().is_some(), "another object was meant");
    queue.submit(with("a", Change::Delete { uid: None })).unwrap();
    until_idle(&queue).await;
    assert!(api.get_opt("a").await.unwrap().is_none());
}

/// A server that answers nobody before so many ask.
#[tokio::test]
async fn a_burst_does_not_wait_for_one_answer_after_the_other() {
    let together = Arc::new(tokio::sync::Barrier::new(AT_A_TIME));
    let answer = move || {
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            axum::Json(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" } }))
        }
    };
    let client = Client::new(axum::Router::new().fallback(answer), "default");
    let queue = ApplyQueue::start(client, QueueOptions::default());
    for number in 0..AT_A_TIME * 2 {
        queue.submit(order(&format!("n{number}"), "1")).unwrap();
    }
    until_idle(&queue).await;
    assert!(queue.failures().borrow().is_empty());
}

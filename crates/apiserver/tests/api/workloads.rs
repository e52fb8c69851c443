//! Kinds that make pods: how many, and what is filled in.

use apiserver::ApiServer;
use serde_json::{Value, json};

use crate::fixture::{ADMIN, Answer, send, send_as, server};

const APPS: &str = "/apis/apps/v1/namespaces/default";

fn workload(name: &str) -> Value {
    let template =
        json!({"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    json!({"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"app": name}}, "template": template}})
}

async fn make(server: &ApiServer, plural: &str, object: Value) -> Value {
    let made = send(server, ADMIN, "POST", &format!("{APPS}/{plural}"), Some(object)).await;
    assert_eq!(made.code, 201, "{}", made.body);
    made.body
}

async fn patch(server: &ApiServer, path: &str, patch: Value) -> Answer {
    let media = "application/merge-patch+json";
    send_as(server, ADMIN, "PATCH", path, media, "application/json", Some(patch)).await
}

#[tokio::test]
async fn workloads_are_scaled_through_their_scale() {
    let server = server();
    for plural in ["deployments", "replicasets", "statefulsets"] {
        make(&server, plural, workload("web")).await;
        let object = format!("{APPS}/{plural}/web");
        let path = format!("{object}/scale");
        let shown = send(&server, ADMIN, "GET", &path, None).await.body;
        assert_eq!(shown["kind"], "Scale");
        assert_eq!(shown["spec"], json!({"replicas": 1}));
        assert_eq!(shown["status"], json!({"replicas": 0, "selector": "app=web"}));

        let more = patch(&server, &path, json!({"spec": {"replicas": 3}})).await;
        assert_eq!(
            (more.code, &more.body["spec"]["replicas"]),
            (200, &json!(3)),
            "{plural}"
        );
        let scaled = send(&server, ADMIN, "GET", &object, None).await.body;
        assert_eq!(
            (&scaled["spec"]["replicas"], &scaled["metadata"]["generation"]),
            (&json!(3), &json!(2))
        );

        let stale = send(&server, ADMIN, "PUT", &path, Some(shown)).await;
        assert_eq!(
            stale.code, 409,
            "the scale that was read first is not the newest any more"
        );
        let negative = patch(&server, &path, json!({"spec": {"replicas": -1}})).await;
        assert_eq!(negative.code, 422);
    }
    let daemons = format!("{APPS}/daemonsets");
    make(&server, "daemonsets", workload("agent")).await;
    let none = send(&server, ADMIN, "GET", &format!("{daemons}/agent/scale"), None).await;
    assert_eq!(none.code, 404, "a daemon set has no number");
}

#[tokio::test]
async fn discovery_lists_the_kinds_of_apps_as_real_servers_do() {
    let server = server();
    let list = send(&server, ADMIN, "GET", "/apis/apps/v1", None).await.body;
    let names: Vec<&str> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    let workload = |plural: &'static str| [plural.to_owned(), format!("{plural}/scale"), format!("{plural}/status")];
    let mut expected = vec![
        "controllerrevisions".to_owned(),
        "daemonsets".to_owned(),
        "daemonsets/status".to_owned(),
    ];
    expected.extend(
        ["deployments", "replicasets", "statefulsets"]
            .into_iter()
            .flat_map(workload),
    );
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_new_workload_has_the_status_of_one_that_nobody_has_seen() {
    let server = server();
    let set = make(&server, "statefulsets", workload("db")).await;
    assert_eq!(set["status"], json!({"replicas": 0, "availableReplicas": 0}));
    assert_eq!(make(&server, "deployments", workload("web")).await["status"], json!({}));
    let daemons = make(&server, "daemonsets", workload("agent")).await;
    assert_eq!(daemons["status"]["desiredNumberScheduled"], 0);
}

#[tokio::test]
async fn a_revision_keeps_what_it_holds() {
    let server = server();
    let revisions = format!("{APPS}/controllerrevisions");
    let empty = send(
        &server,
        ADMIN,
        "POST",
        &revisions,
        Some(json!({"metadata": {"name": "r"}})),
    )
    .await;
    assert_eq!(empty.code, 422);
    let data = json!({"spec": {"any": {"thing": [1]}}});
    let made = make(
        &server,
        "controllerrevisions",
        json!({"metadata": {"name": "r"}, "data": data, "revision": 2}),
    )
    .await;
    assert_eq!(made["data"], data, "nothing is taken out of it");
    let other = patch(&server, &format!("{revisions}/r"), json!({"data": {"spec": null}})).await;
    assert_eq!(other.code, 422);
    let newer = patch(&server, &format!("{revisions}/r"), json!({"revision": 3})).await;
    assert_eq!((newer.code, &newer.body["revision"]), (200, &json!(3)));
}

/// A running pod `name` that is ready or not, and how it goes when it is evicted.
async fn evict(server: &ApiServer, name: &str, is_ready: bool) -> Answer {
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": name, "labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(send(server, ADMIN, "POST", pods, Some(pod)).await.code, 201);
    let ready = if is_ready { "True" } else { "False" };
    let status = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}});
    assert_eq!(patch(server, &format!("{pods}/{name}/status"), status).await.code, 200);
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    send(
        server,
        ADMIN,
        "POST",
        &format!("{pods}/{name}/eviction"),
        Some(eviction),
    )
    .await
}

#[tokio::test]
async fn an_eviction_spends_what_its_budget_has() {
    let server = server();
    let budgets = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
    let budget = |name: &str| json!({"metadata": {"name": name}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}});
    assert_eq!(
        evict(&server, "free", true).await.code,
        201,
        "nothing stands against it"
    );
    let made = send(&server, ADMIN, "POST", budgets, Some(budget("web"))).await;
    assert_eq!(
        (made.code, &made.body["status"]["disruptionsAllowed"]),
        (201, &json!(0))
    );
    let cause = |answer: &Answer| answer.body["details"]["causes"][0]["message"].clone();

    let unknown = evict(&server, "early", true).await;
    assert_eq!(
        (unknown.code, &unknown.body["details"]["retryAfterSeconds"]),
        (429, &json!(10))
    );
    assert_eq!(
        cause(&unknown),
        "The disruption budget web is still being processed by the server."
    );

    let path = format!("{budgets}/web");
    let allow = |healthy: u32, allowed: u32| {
        let status = json!({"status": {"observedGeneration": 1, "currentHealthy": healthy, "desiredHealthy": 1,
            "disruptionsAllowed": allowed}});
        let (server, path) = (&server, format!("{path}/status"));
        async move { assert_eq!(patch(server, &path, status).await.code, 200) }
    };
    allow(2, 1).await;
    assert_eq!(evict(&server, "one", true).await.code, 201);
    let spent = send(&server, ADMIN, "GET", &path, None).await.body;
    assert_eq!(spent["status"]["disruptionsAllowed"], 0);
    assert!(spent["status"]["disruptedPods"]["one"].is_string(), "{spent}");
    let refused = evict(&server, "two", true).await;
    assert_eq!(refused.code, 429);
    assert_eq!(
        cause(&refused),
        "The disruption budget web needs 1 healthy pods and has 2 currently"
    );
    assert_eq!(
        evict(&server, "ill", false).await.code,
        201,
        "a pod that is not ready is not counted on"
    );
    allow(0, 0).await;
    assert_eq!(evict(&server, "ill-too", false).await.code, 429, "unless too few are");

    assert_eq!(
        send(&server, ADMIN, "POST", budgets, Some(budget("again"))).await.code,
        201
    );
    assert_eq!(
        evict(&server, "three", true).await.code,
        500,
        "of two budgets neither is asked"
    );
}

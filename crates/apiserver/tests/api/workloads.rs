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

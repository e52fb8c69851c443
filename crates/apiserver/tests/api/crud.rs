//! Objects come, change and go.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use crate::fixture::{ADMIN, client, send, send_as, server};

fn map(name: &str, data: &Value) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap()
}

fn code(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.reason.clone()),
        other => panic!("not an answer of the server: {other}"),
    }
}

#[tokio::test]
async fn a_config_map_lives_its_life() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let made = maps
        .create(&PostParams::default(), &map("a", &json!({"k": "v"})))
        .await
        .unwrap();
    assert!(made.metadata.uid.is_some() && made.metadata.creation_timestamp.is_some());
    assert_eq!(
        code(
            maps.create(&PostParams::default(), &made_again(&made))
                .await
                .unwrap_err()
        ),
        (409, "AlreadyExists".into())
    );

    let mut changed = made.clone();
    changed.data.as_mut().unwrap().insert("k".into(), "w".into());
    let changed = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_ne!(changed.metadata.resource_version, made.metadata.resource_version);
    let stale = maps.replace("a", &PostParams::default(), &made).await.unwrap_err();
    assert_eq!(code(stale), (409, "Conflict".into()));
    let same = maps.replace("a", &PostParams::default(), &changed).await.unwrap();
    assert_eq!(
        same.metadata.resource_version, changed.metadata.resource_version,
        "a no-op keeps the revision"
    );

    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert_eq!(code(maps.get("a").await.unwrap_err()), (404, "NotFound".into()));
}

fn made_again(made: &ConfigMap) -> ConfigMap {
    let mut again = made.clone();
    again.metadata.resource_version = None;
    again
}

#[tokio::test]
async fn lists_select_and_page_at_one_revision() {
    let server = server();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    for n in 0..7 {
        let mut one = map(&format!("m{n}"), &json!({}));
        one.metadata.labels = Some([("odd".to_owned(), (n % 2).to_string()), ("set".into(), "l".into())].into());
        maps.create(&PostParams::default(), &one).await.unwrap();
    }
    assert_eq!(
        maps.list(&ListParams::default().labels("odd=1"))
            .await
            .unwrap()
            .items
            .len(),
        3
    );
    assert_eq!(
        maps.list(&ListParams::default().fields("metadata.name=m3"))
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let params = ListParams::default().labels("set").limit(3);
    let first = maps.list(&params).await.unwrap();
    maps.delete("m4", &DeleteParams::default()).await.unwrap();
    let token = first.metadata.continue_.clone().unwrap();
    let second = maps.list(&params.clone().continue_token(&token)).await.unwrap();
    let names: Vec<String> = second.items.iter().map(kube::ResourceExt::name_any).collect();
    assert_eq!(names, ["m3", "m4", "m5"], "a later page shows the state of the first");
    assert_eq!(second.metadata.resource_version, first.metadata.resource_version);
    let bad = send(
        &server,
        ADMIN,
        "GET",
        "/api/v1/configmaps?fieldSelector=data.k%3Dv",
        None,
    )
    .await;
    assert_eq!(
        bad.body["message"],
        "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
    );
}

#[tokio::test]
async fn patches_of_every_kind() {
    let server = server();
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server));
    maps.create(&PostParams::default(), &map("p", &json!({"a": "1", "b": "1"})))
        .await
        .unwrap();
    let merge = Patch::Merge(json!({"data": {"a": null, "c": "3"}}));
    let merged = maps.patch("p", &PatchParams::default(), &merge).await.unwrap();
    assert_eq!(merged.data.unwrap().into_keys().collect::<Vec<_>>(), ["b", "c"]);
    let json_patch: json_patch::Patch =
        serde_json::from_value(json!([{"op": "test", "path": "/data/b", "value": "no"}])).unwrap();
    let failed = maps
        .patch("p", &PatchParams::default(), &Patch::<()>::Json(json_patch))
        .await
        .unwrap_err();
    assert_eq!(code(failed), (422, "Invalid".into()));
    let renamed = maps
        .patch(
            "p",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"name": "q"}})),
        )
        .await;
    assert_eq!(code(renamed.unwrap_err()), (400, "BadRequest".into()));

    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"}]}});
    send(&server, ADMIN, "POST", "/api/v1/namespaces/default/pods", Some(pod)).await;
    let patch = json!({"spec": {"containers": [{"name": "b", "image": "y:2"}]}});
    let pods: Api<Pod> = Api::default_namespaced(client(&server));
    let pod = pods
        .patch("p", &PatchParams::default(), &Patch::Strategic(patch))
        .await
        .unwrap();
    let images: Vec<_> = pod
        .spec
        .unwrap()
        .containers
        .into_iter()
        .filter_map(|one| one.image)
        .collect();
    assert_eq!(images, ["x:1", "y:2"]);
    assert_eq!(pod.metadata.generation, Some(2));
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let maps: Api<ConfigMap> = Api::default_namespaced(client(&server()));
    let mut held = map("f", &json!({}));
    held.metadata.finalizers = Some(vec!["x.io/f".into()]);
    maps.create(&PostParams::default(), &held).await.unwrap();
    let deleting = maps
        .delete("f", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(deleting.metadata.deletion_timestamp.is_some());
    maps.patch(
        "f",
        &PatchParams::default(),
        &Patch::Merge(json!({"metadata": {"finalizers": null}})),
    )
    .await
    .unwrap();
    assert_eq!(code(maps.get("f").await.unwrap_err()).0, 404);
}

#[tokio::test]
async fn a_bound_pod_waits_for_its_kubelet() {
    let server = server();
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = send(&server, ADMIN, "POST", pods, Some(pod)).await;
    assert_eq!((made.code, &made.body["status"]["phase"]), (201, &json!("Pending")));
    let name = made.body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("p-") && name.len() == 7, "{name}");
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    let path = format!("{pods}/{name}/binding");
    assert_eq!(
        send(&server, ADMIN, "POST", &path, Some(binding.clone())).await.code,
        201
    );
    assert_eq!(send(&server, ADMIN, "POST", &path, Some(binding)).await.code, 409);
    let on_node = send(
        &server,
        ADMIN,
        "GET",
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1",
        None,
    )
    .await;
    assert_eq!(on_node.body["items"].as_array().unwrap().len(), 1);

    let path = format!("{pods}/{name}");
    let deleting = send(&server, ADMIN, "DELETE", &path, None).await;
    assert_eq!(deleting.body["metadata"]["deletionGracePeriodSeconds"], 30);
    let status = json!({"status": {"phase": "Running"}});
    let patched = send_as(
        &server,
        ADMIN,
        "PATCH",
        &format!("{path}/status"),
        "application/merge-patch+json",
        "*/*",
        Some(status),
    )
    .await;
    assert_eq!(
        (patched.code, &patched.body["status"]["phase"]),
        (200, &json!("Running"))
    );
    assert_eq!(send(&server, ADMIN, "GET", &path, None).await.code, 200);
    assert_eq!(
        send(&server, ADMIN, "DELETE", &format!("{path}?gracePeriodSeconds=0"), None)
            .await
            .code,
        200
    );
    assert_eq!(send(&server, ADMIN, "GET", &path, None).await.code, 404);
}

#[tokio::test]
async fn a_namespace_takes_its_content_with_it_and_waits_for_what_stays() {
    let server = server();
    let client = client(&server);
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let none = send(
        &server,
        ADMIN,
        "POST",
        "/api/v1/namespaces/shop/secrets",
        Some(json!({"metadata": {"name": "s"}})),
    )
    .await;
    assert_eq!(none.body["message"], "namespaces \"shop\" not found");
    namespaces
        .create(
            &PostParams::default(),
            &serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap(),
        )
        .await
        .unwrap();
    for path in ["serviceaccounts/default", "configmaps/kube-root-ca.crt"] {
        assert_eq!(
            send(&server, ADMIN, "GET", &format!("/api/v1/namespaces/shop/{path}"), None)
                .await
                .code,
            200,
            "{path}"
        );
    }
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "shop");
    let secret = json!({"metadata": {"name": "s", "finalizers": ["x.io/f"]}, "stringData": {"k": "v"}});
    let secret = secrets
        .create(&PostParams::default(), &serde_json::from_value(secret).unwrap())
        .await
        .unwrap();
    assert_eq!(secret.data.unwrap()["k"].0, b"v");
    namespaces.delete("shop", &DeleteParams::default()).await.unwrap();
    assert_eq!(
        namespaces.get("shop").await.unwrap().status.unwrap().phase.as_deref(),
        Some("Terminating")
    );
    let late = send(
        &server,
        ADMIN,
        "POST",
        "/api/v1/namespaces/shop/secrets",
        Some(json!({"metadata": {"name": "t"}})),
    )
    .await;
    assert_eq!(late.code, 403);
    secrets
        .patch(
            "s",
            &PatchParams::default(),
            &Patch::Merge(json!({"metadata": {"finalizers": []}})),
        )
        .await
        .unwrap();
    assert_eq!(
        code(namespaces.get("shop").await.unwrap_err()).0,
        404,
        "the last object took the namespace along"
    );
}

#[tokio::test]
async fn wrong_objects_are_refused_in_the_words_of_the_real_server() {
    let server = server();
    let maps = "/api/v1/namespaces/default/configmaps";
    let post = |path: String, body: Value| {
        let server = server.clone();
        async move { send(&server, ADMIN, "POST", &path, Some(body)).await }
    };
    let unknown = json!({"metadata": {"name": "u"}, "bogus": 1});
    let warned = post(maps.into(), unknown.clone()).await;
    assert_eq!(
        (warned.code, warned.warnings),
        (201, vec![r#"299 - "unknown field \"bogus\"""#.to_owned()])
    );
    assert!(warned.body.get("bogus").is_none());
    let strict = post(format!("{maps}?fieldValidation=Strict"), unknown).await;
    assert_eq!(
        strict.body["message"],
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"bogus\""
    );
    for (body, code, message) in [
        (
            json!({"metadata": {"name": "a", "namespace": "x"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            json!({"metadata": {}}),
            422,
            "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required",
        ),
        (
            json!({"metadata": {"name": "a", "resourceVersion": "1"}}),
            500,
            "resourceVersion should not be set on objects to be created",
        ),
    ] {
        let answer = post(maps.into(), body).await;
        assert_eq!((answer.code, answer.body["message"].as_str().unwrap()), (code, message));
    }
    let bad_name = post(maps.into(), json!({"metadata": {"name": "Bad_Name"}})).await;
    assert_eq!(bad_name.body["details"]["causes"][0]["field"], "metadata.name");
    let wrong_type = post(maps.into(), json!({"metadata": {"name": "a"}, "data": {"a": 1}})).await;
    assert_eq!(wrong_type.code, 400);
    let big = post(
        maps.into(),
        json!({"metadata": {"name": "a"}, "data": {"a": "x".repeat(3 << 20)}}),
    )
    .await;
    assert_eq!(big.code, 413);
    let dry = post(format!("{maps}?dryRun=All"), json!({"metadata": {"name": "dry"}})).await;
    assert!(dry.code == 201 && dry.body["metadata"].get("resourceVersion").is_none());
    assert_eq!(
        send(&server, ADMIN, "GET", &format!("{maps}/dry"), None).await.code,
        404
    );
    let patch = send(&server, ADMIN, "PATCH", &format!("{maps}/u"), Some(json!({}))).await;
    assert_eq!(patch.code, 415);
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    assert_eq!(send(&server, ADMIN, "PUT", leases, Some(lease)).await.code, 201);
}

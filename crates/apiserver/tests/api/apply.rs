//! Server-side apply through the API.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::fixture::{ADMIN, client, send_as, server};

fn service(ports: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": {"app": "x"}, "ports": ports}})
}

#[tokio::test]
async fn two_managers_share_a_service() {
    let services: Api<Service> = Api::default_namespaced(client(&server()));
    let one = Patch::Apply(service(&json!([{"port": 80}])));
    let made = services.patch("s", &PatchParams::apply("m1"), &one).await.unwrap();
    let again = services.patch("s", &PatchParams::apply("m1"), &one).await.unwrap();
    assert_eq!(again.metadata.resource_version, made.metadata.resource_version);
    let two = Patch::Apply(service(
        &json!([{"port": 53, "protocol": "UDP", "name": "dns"}, {"port": 80, "name": "http"}]),
    ));
    let both = services.patch("s", &PatchParams::apply("m2"), &two).await.unwrap();
    assert_eq!(both.spec.unwrap().ports.unwrap().len(), 2);
    let other = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
                       "spec": {"selector": {"app": "y"}}});
    let conflict = services
        .patch("s", &PatchParams::apply("m3"), &Patch::Apply(&other))
        .await
        .unwrap_err();
    let kube::Error::Api(status) = conflict else {
        panic!("{conflict}")
    };
    assert_eq!(status.code, 409);
    assert!(
        status.message.contains("conflict with \"m1\": .spec.selector"),
        "{}",
        status.message
    );
    let forced = services
        .patch("s", &PatchParams::apply("m3").force(), &Patch::Apply(&other))
        .await
        .unwrap();
    assert_eq!(forced.spec.unwrap().selector.unwrap()["app"], "y");
}

#[tokio::test]
async fn an_apply_is_checked() {
    let server = server();
    let path = "/api/v1/namespaces/default/configmaps/a";
    let apply = |query: &str, body: Value| {
        let (server, path) = (server.clone(), format!("{path}{query}"));
        async move {
            send_as(
                &server,
                ADMIN,
                "PATCH",
                &path,
                "application/apply-patch+yaml",
                "application/json",
                Some(body),
            )
            .await
        }
    };
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1"}});
    assert_eq!(apply("", config.clone()).await.code, 422, "a manager is required");
    let made = apply("?fieldManager=m", config).await;
    assert_eq!(made.code, 201);
    assert_eq!(
        made.body["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:data": {"f:k": {}}})
    );
    let unknown = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "bogus": 1});
    let unknown = apply("?fieldManager=m", unknown).await;
    assert_eq!(
        unknown.body["message"],
        "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .bogus: field not declared in schema"
    );
}

#[tokio::test]
async fn a_workload_is_defaulted_and_its_status_has_other_owners() {
    let deployments: Api<Deployment> = Api::default_namespaced(client(&server()));
    let config = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {
        "selector": {"matchLabels": {"app": "d"}},
        "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}}});
    let made = deployments
        .patch("d", &PatchParams::apply("m"), &Patch::Apply(&config))
        .await
        .unwrap();
    assert_eq!(made.spec.as_ref().unwrap().replicas, Some(1));
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "status": {"replicas": 1}});
    let with_status = deployments
        .patch_status("d", &PatchParams::apply("ctl"), &Patch::Apply(&status))
        .await
        .unwrap();
    assert_eq!(with_status.metadata.generation, Some(1));
    let again = deployments
        .patch("d", &PatchParams::apply("m"), &Patch::Apply(&config))
        .await
        .unwrap();
    assert_eq!(again.status.unwrap().replicas, Some(1));
    assert_eq!(again.metadata.resource_version, with_status.metadata.resource_version);
}

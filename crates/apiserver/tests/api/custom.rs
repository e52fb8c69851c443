//! Custom resources.

use serde_json::{Value, json};

use crate::fixture::{ADMIN, send, send_as, server};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const GADGETS: &str = "/apis/x.io/v1beta1/namespaces/default/gadgets";

fn definition() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "mode": {"type": "string", "default": "A", "enum": ["A", "B"]},
            "peers": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                      "items": {"type": "object", "required": ["name"], "properties": {
                          "name": {"type": "string"}, "v": {"type": "integer"}}}}}},
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}}});
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": schema, "subresources": {"status": {}},
               "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]})
    };
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.x.io"},
           "spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gd"]},
                    "versions": [version("v1beta1", true), version("v1alpha1", false)]}})
}

fn gadget(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "x.io/v1beta1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn a_definition_is_served_until_it_goes() {
    let server = server();
    assert_eq!(send(&server, ADMIN, "GET", GADGETS, None).await.code, 404);
    let made = send(&server, ADMIN, "POST", CRDS, Some(definition())).await;
    assert_eq!(made.code, 201, "{}", made.body);
    assert_eq!(
        made.body["status"]["conditions"],
        Value::Null,
        "what is answered is what was written"
    );
    let held = send(&server, ADMIN, "GET", &format!("{CRDS}/gadgets.x.io"), None).await;
    let established = json!(["Established", "True"]);
    let condition = &held.body["status"]["conditions"][1];
    assert_eq!(json!([condition["type"], condition["status"]]), established);
    assert_eq!(made.body["spec"]["names"]["listKind"], "GadgetList");

    let one = send(
        &server,
        ADMIN,
        "POST",
        GADGETS,
        Some(gadget("g", &json!({"size": 2, "odd": 1}))),
    )
    .await;
    assert_eq!((one.code, &one.body["spec"]), (201, &json!({"size": 2, "mode": "A"})));
    assert_eq!(one.warnings, [r#"299 - "unknown field \"spec.odd\"""#]);
    let other = send(
        &server,
        ADMIN,
        "GET",
        &format!("{}/g", GADGETS.replace("v1beta1", "v1alpha1")),
        None,
    )
    .await;
    assert_eq!(other.body["apiVersion"], "x.io/v1alpha1");
    let group = send(&server, ADMIN, "GET", "/apis/x.io", None).await;
    assert_eq!(group.body["preferredVersion"]["version"], "v1beta1");
    let table = send_as(
        &server,
        ADMIN,
        "GET",
        GADGETS,
        "",
        "application/json;as=Table;v=v1;g=meta.k8s.io",
        None,
    )
    .await;
    assert_eq!(table.body["rows"][0]["cells"], json!(["g", 2]));

    let gone = send(&server, ADMIN, "DELETE", &format!("{CRDS}/gadgets.x.io"), None).await;
    assert_eq!(gone.body["status"]["conditions"][2]["type"], "Terminating");
    assert_eq!(send(&server, ADMIN, "GET", GADGETS, None).await.code, 404);
    send(&server, ADMIN, "POST", CRDS, Some(definition())).await;
    assert_eq!(
        send(&server, ADMIN, "GET", GADGETS, None).await.body["items"],
        json!([]),
        "its objects went along"
    );
}

#[tokio::test]
async fn objects_are_checked_against_the_schema() {
    let server = server();
    send(&server, ADMIN, "POST", CRDS, Some(definition())).await;
    let missing = send(&server, ADMIN, "POST", GADGETS, Some(gadget("g", &json!({})))).await;
    assert_eq!(
        missing.body["message"],
        "Gadget.x.io \"g\" is invalid: spec.size: Required value"
    );
    for spec in [
        json!({"size": 0}),
        json!({"size": "x"}),
        json!({"size": 1, "mode": "C"}),
        json!({"size": 1, "peers": [{"name": "a"}, {"name": "a"}]}),
    ] {
        assert_eq!(
            send(&server, ADMIN, "POST", GADGETS, Some(gadget("g", &spec)))
                .await
                .code,
            422,
            "{spec}"
        );
    }
    let strict = send(
        &server,
        ADMIN,
        "POST",
        &format!("{GADGETS}?fieldValidation=Strict"),
        Some(gadget("g", &json!({"size": 1, "odd": 1}))),
    )
    .await;
    assert_eq!(strict.code, 400);
    send(&server, ADMIN, "POST", GADGETS, Some(gadget("g", &json!({"size": 1})))).await;
    let unversioned = send(
        &server,
        ADMIN,
        "PUT",
        &format!("{GADGETS}/g"),
        Some(gadget("g", &json!({"size": 2}))),
    )
    .await;
    assert_eq!(unversioned.code, 422, "a custom resource needs its resourceVersion");
}

#[tokio::test]
async fn spec_and_status_have_their_own_endpoints() {
    let server = server();
    send(&server, ADMIN, "POST", CRDS, Some(definition())).await;
    let mut body = gadget("g", &json!({"size": 1}));
    body["status"] = json!({"ready": true});
    let made = send(&server, ADMIN, "POST", GADGETS, Some(body)).await;
    assert!(made.body.get("status").is_none());
    let merge = |path: String, body: Value| {
        let server = server.clone();
        async move {
            send_as(
                &server,
                ADMIN,
                "PATCH",
                &path,
                "application/merge-patch+json",
                "*/*",
                Some(body),
            )
            .await
            .body
        }
    };
    let both = json!({"spec": {"size": 5}, "status": {"ready": true}});
    let status = merge(format!("{GADGETS}/g/status"), both.clone()).await;
    assert_eq!(
        (&status["spec"]["size"], &status["status"]["ready"]),
        (&json!(1), &json!(true))
    );
    assert_eq!(status["metadata"]["generation"], 1);
    let main = merge(
        format!("{GADGETS}/g"),
        json!({"spec": {"size": 5}, "status": {"ready": false}}),
    )
    .await;
    assert_eq!(
        (&main["spec"]["size"], &main["status"]["ready"]),
        (&json!(5), &json!(true))
    );
    assert_eq!(main["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_bad_definition_says_where() {
    let server = server();
    let mut bad = definition();
    bad["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["mode"]["pattern"] =
        "(".into();
    bad["metadata"]["name"] = "other.x.io".into();
    let answer = send(&server, ADMIN, "POST", CRDS, Some(bad)).await;
    let message = answer.body["message"].as_str().unwrap();
    assert_eq!(answer.code, 422);
    assert!(
        message.contains("metadata.name") && message.contains("properties[mode].pattern"),
        "{message}"
    );
}

#[tokio::test]
async fn discovery_and_openapi_know_it() {
    let server = server();
    send(&server, ADMIN, "POST", CRDS, Some(definition())).await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let all = send_as(&server, ADMIN, "GET", "/apis", "", accept, None).await.body;
    let group = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["metadata"]["name"] == "x.io")
        .unwrap();
    let resource = &group["versions"][0]["resources"][0];
    assert_eq!(
        (&resource["resource"], &resource["shortNames"]),
        (&json!("gadgets"), &json!(["gd"]))
    );
    assert_eq!(resource["subresources"][0]["subresource"], "status");
    let index = send(&server, ADMIN, "GET", "/openapi/v3", None).await.body;
    let url = index["paths"]["apis/x.io/v1beta1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    let document = send(&server, ADMIN, "GET", url, None).await.body;
    let schema = &document["components"]["schemas"]["io.x.v1beta1.Gadget"];
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Gadget");
    let patch = &document["paths"]["/apis/x.io/v1beta1/namespaces/{namespace}/gadgets/{name}"]["patch"];
    assert!(
        patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["name"] == "fieldValidation")
    );
    let core = send(&server, ADMIN, "GET", "/openapi/v3/api/v1", None).await.body;
    let ports = &core["components"]["schemas"]["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-patch-merge-key"], "port");
}

#[tokio::test]
async fn rules_and_the_scale_of_a_definition() {
    let server = server();
    let mut definition = definition();
    for version in 0..2 {
        let version = &mut definition["spec"]["versions"][version];
        version["subresources"] = json!({"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas"}});
        version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] =
            json!([{"rule": "self.size >= oldSelf.size", "message": "may only grow"}]);
    }
    let mut broken = definition.clone();
    broken["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"][0]["rule"] =
        "self.sise > 1".into();
    let refused = send(&server, ADMIN, "POST", CRDS, Some(broken)).await;
    let message = refused.body["message"].as_str().expect("a message");
    assert!(
        message.contains("compilation failed: ERROR: <input>:1:5: undefined field 'sise'"),
        "{message}"
    );
    let made = send(&server, ADMIN, "POST", CRDS, Some(definition)).await;
    assert_eq!(made.code, 201, "{}", made.body);

    send(&server, ADMIN, "POST", GADGETS, Some(gadget("g", &json!({"size": 2})))).await;
    let scale = format!("{GADGETS}/g/scale");
    let shown = send(&server, ADMIN, "GET", &scale, None).await;
    assert_eq!(
        (shown.code, &shown.body["spec"]),
        (200, &json!({"replicas": 2})),
        "{}",
        shown.body
    );
    let mut wanted = shown.body.clone();
    wanted["spec"]["replicas"] = 3.into();
    let scaled = send(&server, ADMIN, "PUT", &scale, Some(wanted.clone())).await;
    assert_eq!(
        (scaled.code, &scaled.body["kind"]),
        (200, &json!("Scale")),
        "{}",
        scaled.body
    );
    let held = send(&server, ADMIN, "GET", &format!("{GADGETS}/g"), None).await;
    assert_eq!(
        (&held.body["spec"]["size"], &held.body["metadata"]["generation"]),
        (&json!(3), &json!(2))
    );
    let stale = send(&server, ADMIN, "PUT", &scale, Some(wanted)).await;
    assert_eq!(stale.code, 409, "{}", stale.body);
    let mut smaller = scaled.body.clone();
    smaller["spec"]["replicas"] = 1.into();
    let shrunk = send(&server, ADMIN, "PUT", &scale, Some(smaller)).await;
    assert_eq!(
        shrunk.body["message"],
        "Gadget.x.io \"g\" is invalid: spec: Invalid value: may only grow"
    );
}

#[tokio::test]
async fn a_name_belongs_to_who_had_it_first() {
    let server = server();
    let of = |plural: &str, kind: &str, short: &str| {
        let mut definition = definition();
        definition["metadata"]["name"] = format!("{plural}.x.io").into();
        definition["spec"]["names"] = json!({"plural": plural, "kind": kind, "shortNames": [short]});
        definition
    };
    let condition = |name: &'static str| {
        let server = &server;
        async move {
            let held = send(server, ADMIN, "GET", &format!("{CRDS}/{name}"), None).await.body;
            let conditions = held["status"]["conditions"].as_array().unwrap().clone();
            let of = |kind: &str| conditions.iter().find(|one| one["type"] == kind).unwrap()["status"].clone();
            (of("NamesAccepted"), of("Established"))
        }
    };
    let list = |plural: &'static str| {
        let server = &server;
        async move {
            send(server, ADMIN, "GET", &format!("/apis/x.io/v1beta1/{plural}"), None)
                .await
                .code
        }
    };
    for definition in [of("gadgets", "Gadget", "g"), of("gizmos", "Gizmo", "g")] {
        assert_eq!(send(&server, ADMIN, "POST", CRDS, Some(definition)).await.code, 201);
    }
    assert_eq!(condition("gadgets.x.io").await, (json!("True"), json!("True")));
    assert_eq!(condition("gizmos.x.io").await, (json!("False"), json!("False")));
    assert_eq!((list("gadgets").await, list("gizmos").await), (200, 404));

    let renamed = json!({"spec": {"names": {"shortNames": ["gi"]}}});
    let media = "application/merge-patch+json";
    let path = format!("{CRDS}/gizmos.x.io");
    let patch = |body: Value| send_as(&server, ADMIN, "PATCH", &path, media, "application/json", Some(body));
    assert_eq!(patch(renamed).await.code, 200);
    assert_eq!(condition("gizmos.x.io").await, (json!("True"), json!("True")));
    assert_eq!(list("gizmos").await, 200);

    assert_eq!(patch(json!({"spec": {"names": {"shortNames": ["g"]}}})).await.code, 200);
    assert_eq!(condition("gizmos.x.io").await, (json!("False"), json!("True")));
    let short_names = || async {
        let found = send(&server, ADMIN, "GET", "/apis/x.io/v1beta1", None).await.body;
        let resources = found["resources"].as_array().unwrap().clone();
        let gizmos = resources.into_iter().find(|one| one["name"] == "gizmos").unwrap();
        gizmos["shortNames"].clone()
    };
    assert_eq!(
        short_names().await,
        json!(["gi"]),
        "it goes on under the names that it had"
    );
    assert_eq!(
        send(&server, ADMIN, "DELETE", &format!("{CRDS}/gadgets.x.io"), None)
            .await
            .code,
        200
    );
    assert_eq!(
        condition("gizmos.x.io").await,
        (json!("True"), json!("True")),
        "the name has become free"
    );
    assert_eq!(short_names().await, json!(["g"]));
}

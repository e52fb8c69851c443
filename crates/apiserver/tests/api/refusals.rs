//! What is refused, and in which words: clients and people act on them.

use apiserver::ApiServer;
use serde_json::{Value, json};

use crate::fixture::{ADMIN, Answer, send, send_as, send_text, server};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

async fn make(server: &ApiServer, path: &str, object: Value) -> Value {
    let made = send(server, ADMIN, "POST", path, Some(object)).await;
    assert_eq!(made.code, 201, "{path}: {}", made.body);
    made.body
}

async fn patch(server: &ApiServer, path: &str, media: &str, body: Value) -> Answer {
    send_as(server, ADMIN, "PATCH", path, media, "application/json", Some(body)).await
}

#[track_caller]
fn refused(answer: &Answer, code: u16, message: &str) {
    assert_eq!(
        (answer.code, answer.body["message"].as_str()),
        (code, Some(message)),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_body_that_is_no_object_of_the_kind() {
    let server = server();
    let post = |media: &'static str, body: &str| {
        let (server, body) = (&server, body.to_owned());
        async move { send_text(server, ADMIN, "POST", MAPS, media, "application/json", body).await }
    };
    refused(
        &post("application/json", "{not json").await,
        400,
        "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: invalid \
         character 'n' looking for beginning of object key string ({not json)",
    );
    let other = post("text/plain", "{}").await;
    refused(
        &other,
        415,
        "the body of the request was in an unknown format - accepted media types include: application/json, \
         application/yaml, application/vnd.kubernetes.protobuf",
    );
    assert_eq!(other.body["reason"], "UnsupportedMediaType");
    let put = send(
        &server,
        ADMIN,
        "PUT",
        &format!("{MAPS}/kube-root-ca.crt"),
        Some(json!({})),
    )
    .await;
    refused(
        &put,
        400,
        "the name of the object (kube-root-ca.crt based on URL) was undeterminable: name must be provided",
    );
}

#[tokio::test]
async fn a_patch_that_leaves_no_object_of_the_kind() {
    let server = server();
    make(&server, MAPS, json!({"metadata": {"name": "a"}})).await;
    let strict = format!("{MAPS}/a?fieldValidation=Strict");
    let unknown = patch(&server, &strict, MERGE, json!({"bogus": 1})).await;
    assert_eq!((unknown.code, unknown.body["reason"].as_str()), (422, Some("Invalid")));
    let message = unknown.body["message"].as_str().unwrap();
    assert!(
        message
            .starts_with(" \"\" is invalid: patch: Invalid value: \"{\\\"apiVersion\\\":\\\"v1\\\",\\\"bogus\\\":1,"),
        "{message}"
    );
    assert!(
        message.ends_with(": strict decoding error: unknown field \"bogus\""),
        "{message}"
    );
    assert_eq!(unknown.body["details"]["causes"][0]["field"], "patch");

    refused(
        &patch(&server, &strict, STRATEGIC, json!({"bogus": 1})).await,
        422,
        " \"\" is invalid: patch: Invalid value: \"map[bogus:1]\": strict decoding error: unknown field \"bogus\"",
    );
    let mistyped = patch(&server, &format!("{MAPS}/a"), MERGE, json!({"data": {"k": 1}})).await;
    assert_eq!(mistyped.code, 422);
    assert!(
        mistyped.body["message"]
            .as_str()
            .unwrap()
            .ends_with("cannot unmarshal number into Go struct field ConfigMap.data of type string")
    );
    let lenient = patch(&server, &format!("{MAPS}/a"), MERGE, json!({"bogus": 1})).await;
    assert_eq!(
        (lenient.code, lenient.warnings.as_slice()),
        (200, &["299 - \"unknown field \\\"bogus\\\"\"".to_owned()][..])
    );

    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": 1}});
    refused(
        &patch(&server, &format!("{MAPS}/a?fieldManager=m"), APPLY, config).await,
        500,
        "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.k: expected string, got \
         &value.valueUnstructured{Value:1}",
    );
}

#[tokio::test]
async fn options_that_do_not_exist() {
    let server = server();
    make(&server, MAPS, json!({"metadata": {"name": "a"}})).await;
    let create = send(
        &server,
        ADMIN,
        "POST",
        &format!("{MAPS}?dryRun=Some"),
        Some(json!({"metadata": {"name": "b"}})),
    )
    .await;
    refused(
        &create,
        422,
        "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
    );
    let one = format!("{MAPS}/a");
    let policy = "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Slow\": supported values: \
                  \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
    let query = format!("{one}?propagationPolicy=Slow");
    refused(&send(&server, ADMIN, "DELETE", &query, None).await, 422, policy);
    let body = json!({"propagationPolicy": "Slow"});
    refused(&send(&server, ADMIN, "DELETE", &one, Some(body)).await, 422, policy);
    let unseen = send(
        &server,
        ADMIN,
        "POST",
        &format!("{MAPS}?fieldManager=a%0Ab"),
        Some(json!({})),
    )
    .await;
    refused(
        &unseen,
        422,
        "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\nb\": invalid character U+000A (at \
         position 1)",
    );
    let labels = json!({"metadata": {"name": "b", "labels": {"-a": "1", "b": "-"}}});
    let both = send(&server, ADMIN, "POST", MAPS, Some(labels)).await;
    let causes = both.body["details"]["causes"].as_array().map(Vec::len);
    assert_eq!(
        (both.code, causes),
        (422, Some(2)),
        "each wrong label is told: {}",
        both.body
    );
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let shown = send_as(
        &server,
        ADMIN,
        "GET",
        &format!("{MAPS}?includeObject=Some"),
        "",
        table,
        None,
    )
    .await;
    refused(
        &shown,
        400,
        "Unable to convert to Table as requested: includeObject: Invalid value: \"Some\": must be 'Metadata', 'Object', \
         'None', or empty",
    );
    // A body says it all; what stands in the query beside it does not count.
    let held = send(
        &server,
        ADMIN,
        "DELETE",
        &format!("{one}?propagationPolicy=Orphan"),
        Some(json!({})),
    )
    .await;
    assert_eq!((held.code, held.body["kind"].as_str()), (200, Some("Status")));
}

#[tokio::test]
async fn namespaces_on_their_way_out_take_nothing_new() {
    let server = server();
    refused(
        &send(&server, ADMIN, "DELETE", "/api/v1/namespaces/default", None).await,
        403,
        "namespaces \"default\" is forbidden: this namespace may not be deleted",
    );
    make(&server, "/api/v1/namespaces", json!({"metadata": {"name": "gone"}})).await;
    let maps = "/api/v1/namespaces/gone/configmaps";
    make(
        &server,
        maps,
        json!({"metadata": {"name": "held", "finalizers": ["example.com/a"]}}),
    )
    .await;
    send(&server, ADMIN, "DELETE", "/api/v1/namespaces/gone", None).await;
    let late = send(
        &server,
        ADMIN,
        "POST",
        maps,
        Some(json!({"metadata": {"name": "late"}})),
    )
    .await;
    refused(
        &late,
        403,
        "configmaps \"late\" is forbidden: unable to create new content in namespace gone because it is being terminated",
    );
    assert_eq!(
        late.body["details"]["causes"],
        json!([{"reason": "NamespaceTerminating", "message": "namespace gone is being terminated",
                "field": "metadata.namespace"}])
    );
    let joining = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"]}});
    refused(
        &patch(&server, &format!("{maps}/held"), MERGE, joining).await,
        422,
        "ConfigMap \"held\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being \
         deleted, found new finalizers []string{\"example.com/b\"}",
    );
}

#[tokio::test]
async fn node_ports_have_one_service() {
    let server = server();
    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, node: u64| json!({"metadata": {"name": name}, "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": node}]}});
    make(&server, services, service("a", 30080)).await;
    refused(
        &send(&server, ADMIN, "POST", services, Some(service("b", 30080))).await,
        422,
        "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
    );
    refused(
        &send(&server, ADMIN, "POST", services, Some(service("b", 80))).await,
        422,
        "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range \
         of valid ports is 30000-32767",
    );
    // Going back to a plain service gives the port up, though the client sends it along.
    let inside = patch(
        &server,
        &format!("{services}/a"),
        MERGE,
        json!({"spec": {"type": "ClusterIP"}}),
    )
    .await;
    assert_eq!(
        (inside.code, inside.body["spec"]["ports"][0].get("nodePort")),
        (200, None),
        "{}",
        inside.body
    );
    make(&server, services, service("b", 30080)).await;
}

#[tokio::test]
async fn custom_resources_are_not_patched_strategically() {
    let server = server();
    let schema = |spec: Value| json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}});
    let definition = |spec: Value| {
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "things.example.com"}, "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema(spec)}]}})
    };
    let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let untyped = send(&server, ADMIN, "POST", definitions, Some(definition(json!({})))).await;
    refused(
        &untyped,
        422,
        "CustomResourceDefinition.apiextensions.k8s.io \"things.example.com\" is invalid: \
         spec.versions[0].schema.openAPIV3Schema.properties[spec].type: Required value: must not be empty for specified object \
         fields",
    );
    make(&server, definitions, definition(json!({"type": "object"}))).await;
    let things = "/apis/example.com/v1/namespaces/default/things";
    let thing =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a", "finalizers": ["short"]}});
    let made = send(&server, ADMIN, "POST", things, Some(thing)).await;
    assert!(
        made.code == 201 && made.warnings[0].contains("prefer a domain-qualified finalizer name"),
        "{made:?}"
    );
    refused(
        &patch(&server, &format!("{things}/a"), STRATEGIC, json!({})).await,
        415,
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, \
         application/merge-patch+json, application/apply-patch+yaml",
    );
}

//! Bodies are written here by the same numbers that clients use.

use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A field of bytes; short ones only, whose length is one byte.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u8::try_from(bytes.len()).unwrap();
    assert!(length < 0x80 && number < 16);
    [&[number << 3 | 2, length], bytes].concat()
}

fn body(version: &str, kind: &str, content: &[u8]) -> Vec<u8> {
    let name = field(1, [field(1, version), field(2, kind)].concat());
    [MAGIC, &name, &field(2, content)].concat()
}

fn service() -> Vec<u8> {
    // The port has a name nobody set, a number, and as target port the text `http`.
    let target = [&[0x08, 1, 0x10, 0][..], &field(3, "http")].concat();
    let port = [
        field(1, ""),
        field(2, "TCP"),
        vec![0x18, 80],
        field(4, target),
        vec![0x28, 0],
    ]
    .concat();
    let selector = field(2, [field(1, "app"), field(2, "a")].concat());
    let spec = [field(1, port), selector, field(3, "")].concat();
    let metadata = [field(1, "s"), field(2, ""), field(8, "")].concat();
    body(
        "v1",
        "Service",
        &[field(1, metadata), field(2, spec), field(3, field(1, ""))].concat(),
    )
}

#[test]
fn an_object_is_what_its_json_would_have_been() {
    let wanted = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {
        "ports": [{"protocol": "TCP", "port": 80, "targetPort": "http"}], "selector": {"app": "a"}}});
    assert_eq!(object(&service()), Ok(wanted));
}

#[test]
fn bytes_are_shown_as_base64_and_a_missing_value_as_empty() {
    let data = [
        field(2, [field(1, "a"), field(2, [0, 255])].concat()),
        field(2, field(1, "b")),
    ]
    .concat();
    let secret = object(&body("v1", "Secret", &data)).unwrap();
    assert_eq!(secret["data"], json!({"a": "AP8=", "b": ""}));
}

#[test]
fn a_zero_that_was_meant_stays() {
    let deployment = object(&body("apps/v1", "Deployment", &field(2, [0x08, 0])));
    assert_eq!(deployment.unwrap()["spec"], json!({"replicas": 0}));
}

#[test]
fn times_and_lists_in_maps() {
    let deleted = object(&body("v1", "Namespace", &field(1, field(9, [0x08, 60, 0x10, 0])))).unwrap();
    assert_eq!(deleted["metadata"]["deletionTimestamp"], "1970-01-01T00:01:00Z");
    let entry = [field(1, "scopes"), field(2, [field(1, "a"), field(1, "b")].concat())].concat();
    let review = object(&body(
        "authorization.k8s.io/v1",
        "SubjectAccessReview",
        &field(2, field(5, entry)),
    ));
    assert_eq!(review.unwrap()["spec"]["extra"], json!({"scopes": ["a", "b"]}));
}

#[test]
fn options_have_the_version_of_what_they_are_used_on() {
    let options = object(&body("apps/v1", "DeleteOptions", &field(4, "Orphan"))).unwrap();
    assert_eq!(options["propagationPolicy"], "Orphan");
}

#[test]
fn what_is_not_known_is_named() {
    let refused = |bytes: &[u8]| object(bytes).unwrap_err().to_string();
    assert_eq!(
        refused(&body("v1", "Frob", b"")),
        "the kind Frob of version v1 is not read from protobuf; send it as application/json"
    );
    assert!(refused(&body("v1", "ObjectMeta", b"")).contains("kind ObjectMeta"));
    assert!(refused(&body("meta/v1", "ObjectMeta", b"")).contains("kind ObjectMeta"));
    assert_eq!(
        refused(&body("v1", "ConfigMap", &field(15, "x"))),
        "the protobuf message v1.ConfigMap has a field 15, which this server does not know; send it as application/json"
    );
    assert_eq!(
        refused(&body("v1", "ConfigMap", &[0x08, 1])),
        "field 1 of the protobuf message v1.ConfigMap is not bytes"
    );
    assert!(refused(b"{}").contains("does not begin with"));
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in prop::sample::select(KINDS)) {
        let _ = object(&[MAGIC, &bytes].concat());
        let content: Vec<u8> = bytes.into_iter().take(120).collect();
        let _ = object(&body(kind.0, kind.1, &content));
    }

    #[test]
    fn a_cut_or_changed_object_is_refused_or_another(cut in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let whole = service();
        let cut = cut.index(whole.len());
        // Cut between its fields, the envelope is one of an empty object; anywhere else, something is missing.
        if let Ok(read) = object(&whole[..cut]) {
            prop_assert_eq!(read, json!({"apiVersion": "v1", "kind": "Service"}));
        }
        let mut changed = whole;
        let at = at.index(changed.len());
        changed[at] = byte;
        let _ = object(&changed);
    }
}

const KINDS: &[(&str, &str)] = &[
    ("v1", "Pod"),
    ("v1", "Secret"),
    ("v1", "Event"),
    ("apps/v1", "Deployment"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("authentication.k8s.io/v1", "TokenRequest"),
];

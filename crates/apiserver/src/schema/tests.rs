use std::sync::Arc;

use serde_json::{Value, json};

use super::{compile::Compiler, normalise::normalise, validate::*, *};

fn schema(source: &Value) -> Schema {
    Compiler::structural().compile(source, "").unwrap()
}

fn messages(value: &Value, schema: &Schema) -> Vec<String> {
    validate(value, schema, Mode::Written)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn gadget() -> Schema {
    schema(
        &json!({"type": "object", "properties": {"spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
            "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "nul": {"type": "string", "nullable": true},
            "when": {"type": "string", "format": "date-time"},
            "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "peers": {"type": "array", "maxItems": 2, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                      "items": {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}}},
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        }}}}),
    )
}

#[test]
fn unknown_fields_and_nulls_go_and_defaults_come() {
    let mut object = json!({"spec": {"size": 1, "bogus": 1, "when": null, "nul": null, "raw": {"x": null},
                            "peers": [{"name": "a", "w": 1}]}});
    let unknown = normalise(&mut object, &gadget());
    assert_eq!(unknown, ["spec.bogus", "spec.peers[0].w"]);
    assert_eq!(
        object,
        json!({"spec": {"size": 1, "nul": null, "mode": "A", "raw": {"x": null}, "peers": [{"name": "a"}]}})
    );
}

#[test]
fn every_violation_is_worded_as_the_real_server_words_it() {
    let object = json!({"spec": {"size": 0, "mode": "C", "when": "yesterday", "set": ["a", "a"],
                        "peers": [{"name": "a"}, {"name": "a"}]}});
    assert_eq!(
        messages(&object, &gadget()),
        [
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
            "spec.mode: Unsupported value: \"C\": supported values: \"A\", \"B\"",
            "spec.when: Invalid value: \"yesterday\": spec.when in body must be of type date-time: \"yesterday\"",
            "spec.set[1]: Duplicate value: \"a\"",
            "spec.peers[1]: Duplicate value: {\"name\":\"a\"}",
        ]
    );
    assert_eq!(messages(&json!({"spec": {}}), &gadget()), ["spec.size: Required value"]);
    assert_eq!(
        messages(&json!({"spec": {"size": "three"}}), &gadget()),
        ["spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""]
    );
    assert!(messages(&json!({"spec": {"size": 1, "port": "http"}}), &gadget()).is_empty());
    assert_eq!(
        messages(&json!({"spec": {"size": 1, "port": true}}), &gadget()),
        [
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            "<nil>: Invalid value: \"\": \"spec.port\" must validate at least one schema (anyOf)",
            "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer: \"boolean\"",
        ]
    );
}

#[test]
fn every_keyword_has_its_words() {
    for (source, value, text) in [
        (
            json!({"type": "number", "exclusiveMinimum": true, "minimum": 0.5}),
            json!(0.5),
            "Invalid value: 0.5: a in body should be greater than 0.5",
        ),
        (
            json!({"type": "integer", "maximum": 2_000_000}),
            json!(3_000_000),
            "Invalid value: 3000000: a in body should be less than or equal to 2000000",
        ),
        (
            json!({"type": "number", "maximum": 2_000_000}),
            json!(2_000_000.5),
            "Invalid value: 2000000.5: a in body should be less than or equal to 2e+06",
        ),
        (
            json!({"type": "integer", "exclusiveMaximum": true, "maximum": 5}),
            json!(5),
            "Invalid value: 5: a in body should be less than 5",
        ),
        (
            json!({"type": "integer", "multipleOf": 3}),
            json!(4),
            "Invalid value: 4: a in body should be a multiple of 3",
        ),
        (
            json!({"type": "string", "minLength": 2}),
            json!("x"),
            "Invalid value: \"x\": a in body should be at least 2 chars long",
        ),
        (
            json!({"type": "string", "maxLength": 1}),
            json!("xy"),
            "Too long: may not be more than 1 byte",
        ),
        (
            json!({"type": "string", "pattern": "^a$"}),
            json!("b"),
            "Invalid value: \"b\": a in body should match '^a$'",
        ),
        (
            json!({"type": "array", "minItems": 1}),
            json!([]),
            "Invalid value: 0: a in body should have at least 1 items",
        ),
        (
            json!({"type": "array", "maxItems": 1}),
            json!([1, 2]),
            "Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "object", "minProperties": 1}),
            json!({}),
            "Invalid value: 0: a in body should have at least 1 properties",
        ),
        (
            json!({"type": "object", "maxProperties": 2}),
            json!({"a": 1, "b": 2, "c": 3}),
            "Too many: 3: must have at most 2 items",
        ),
        (
            json!({"type": "integer", "enum": [1, 2]}),
            json!(3),
            "Unsupported value: 3: supported values: \"1\", \"2\"",
        ),
        (
            json!({"type": "string", "format": "ipv4"}),
            json!("x"),
            "Invalid value: \"x\": a in body must be of type ipv4: \"x\"",
        ),
    ] {
        let root = schema(&json!({"type": "object", "properties": {"a": source}}));
        assert_eq!(
            messages(&json!({"a": value}), &root),
            [format!("a: {text}")],
            "{source}"
        );
    }
}

#[test]
fn combinations_tell_the_nearest_miss() {
    let one_of = schema(&json!({"type": "object", "properties": {"a": {"type": "object",
        "properties": {"x": {"type": "string"}, "y": {"type": "string"}},
        "oneOf": [{"required": ["x"]}, {"required": ["y"]}]}}}));
    assert_eq!(
        messages(&json!({"a": {}}), &one_of),
        [
            "<nil>: Invalid value: \"\": \"a\" must validate one and only one schema (oneOf). Found none valid",
            "a.x: Required value",
        ]
    );
    assert_eq!(
        messages(&json!({"a": {"x": "1", "y": "2"}}), &one_of),
        ["<nil>: Invalid value: \"\": \"a\" must validate one and only one schema (oneOf). Found 2 valid alternatives"]
    );
    let not = schema(&json!({"type": "object", "properties": {"a": {"type": "integer", "not": {"enum": [1]}}}}));
    assert_eq!(
        messages(&json!({"a": 1}), &not),
        ["<nil>: Invalid value: \"\": \"a\" must not validate the schema (not)"]
    );
    let all = schema(&json!({"type": "object", "properties": {"a": {"type": "integer",
        "allOf": [{"minimum": 1}, {"maximum": 3}]}}}));
    assert_eq!(
        messages(&json!({"a": 4}), &all),
        [
            "<nil>: Invalid value: \"\": \"a\" must validate all the schemas (allOf)",
            "a: Invalid value: 4: a in body should be less than or equal to 3",
        ]
    );
}

#[test]
fn an_update_is_not_blamed_for_what_it_did_not_touch() {
    let root = schema(&json!({"type": "object", "properties": {
        "a": {"type": "integer", "minimum": 5}, "b": {"type": "integer", "minimum": 5},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
              "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer", "minimum": 5}}}},
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}}}}));
    let old = json!({"a": 1, "b": 1, "l": [{"k": "x", "v": 1}], "s": [1, 1]});
    let new = json!({"a": 1, "b": 2, "l": [{"k": "y", "v": 2}, {"k": "x", "v": 1}], "s": [1, 1, 2]});
    let found: Vec<String> = validate_update(&new, &old, &root)
        .into_iter()
        .map(|error| error.field)
        .collect();
    assert_eq!(found, ["b", "l[0].v"]);
}

#[test]
fn a_bad_pattern_or_type_is_an_error_of_the_schema() {
    let bad = Compiler::structural()
        .compile(&json!({"type": "string", "pattern": "("}), "root")
        .unwrap_err();
    assert_eq!(bad.path, "root.pattern");
    assert!(
        Compiler::structural()
            .compile(&json!({"type": "tuple"}), "root")
            .is_err()
    );
}

#[test]
fn builtin_schemas_know_list_types_and_open_objects() {
    let builtin = builtin::Builtin::load(&["io.k8s.api.core.v1.Service", "io.k8s.api.core.v1.Pod"]);
    let service = builtin.schema("io.k8s.api.core.v1.Service");
    let ports = service.field("spec").and_then(|spec| spec.field("ports")).unwrap();
    assert_eq!(ports.list, ListType::Map(vec!["port".into(), "protocol".into()]));
    assert_eq!(ports.strategy.merge_key.as_deref(), Some("port"));
    assert_eq!(ports.element().field("protocol").unwrap().default, Some(json!("TCP")));
    assert!(service.field("spec").unwrap().field("selector").unwrap().atomic);
    let mut object =
        json!({"metadata": {"managedFields": [{"fieldsV1": {"f:a": {}}}]}, "spec": {"nodeName": 1}, "x": 1});
    let pod = builtin.schema("io.k8s.api.core.v1.Pod");
    assert_eq!(normalise(&mut object, &pod), ["x"]);
    assert_eq!(object["metadata"]["managedFields"][0]["fieldsV1"], json!({"f:a": {}}));
    let errors = validate(&object, &pod, Mode::Generated);
    let fields: Vec<&str> = errors.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(fields, ["spec.containers", "spec.nodeName"]);
}

#[test]
fn an_embedded_resource_keeps_its_metadata() {
    let builtin = builtin::Builtin::load(&[]);
    let root = schema(&json!({"type": "object", "properties": {"template": {"type": "object",
        "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}}));
    let root = compile::as_object(root, &builtin.metadata);
    let mut object =
        json!({"kind": "X", "template": {"kind": "Y", "metadata": {"name": "n", "odd": 1}, "spec": {"x": 1}}});
    assert_eq!(
        normalise(&mut object, &root),
        ["template.metadata.odd", "template.spec.x"]
    );
    assert_eq!(object["template"]["metadata"]["name"], "n");
    let _: &Arc<Schema> = &builtin.metadata;
}

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::schema::{Schema, compile::Compiler};

fn schema() -> Schema {
    Compiler::structural()
        .compile(
            &json!({"type": "object", "properties": {
                "metadata": {"type": "object", "properties": {
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                    "finalizers": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}}},
                "data": {"type": "object", "additionalProperties": {"type": "string"}},
                "spec": {"type": "object", "properties": {
                    "size": {"type": "integer"},
                    "sel": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
                    "args": {"type": "array", "items": {"type": "string"}},
                    "ports": {"type": "array", "x-kubernetes-list-type": "map",
                              "x-kubernetes-list-map-keys": ["port", "protocol"],
                              "items": {"type": "object", "properties": {
                                  "port": {"type": "integer"}, "name": {"type": "string"},
                                  "protocol": {"type": "string", "default": "TCP"}}}}}},
            }}),
            "",
        )
        .unwrap()
}

fn manager(name: &str, operation: Operation) -> Manager {
    Manager {
        operation,
        name: name.into(),
        api_version: "v1".into(),
        subresource: String::new(),
    }
}

fn apply(live: &Value, who: &str, config: &Value, force: bool) -> Result<Value, crate::status::Status> {
    let mut managers = Managers::read(live);
    let who = manager(who, Operation::Apply);
    let request = ApplyRequest { who: &who, force };
    let mut result = managers.apply(live, config, &schema(), &request)?;
    managers.write(&mut result);
    Ok(result)
}

fn update(old: &Value, who: &str, mut new: Value) -> Value {
    let mut managers = Managers::read(old);
    managers.update(old, &new, &schema(), &manager(who, Operation::Update), "t");
    managers.write(&mut new);
    new
}

fn fields(object: &Value, who: &str) -> Value {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    entries
        .into_iter()
        .find(|entry| entry["manager"] == who)
        .map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[test]
fn the_last_label_of_the_only_owner_goes_and_the_name_stays() {
    let first = json!({"metadata": {"name": "a", "labels": {"o": "1"}}, "data": {"k": "v"}});
    let live = apply(&json!({"metadata": {"name": "a"}}), "m1", &first, false).unwrap();
    let second = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    let after = apply(&live, "m1", &second, false).unwrap();
    assert_eq!(after["metadata"]["name"], "a");
    assert_eq!(after["metadata"].get("labels"), None);
    assert_eq!(fields(&after, "m1"), json!({"f:data": {"f:k": {}}}));
}

#[test]
fn a_create_owns_what_it_added_with_the_dots_of_the_real_server() {
    let made = update(
        &json!({"metadata": {}}),
        "rec",
        json!({"metadata": {"name": "a", "labels": {"app": "x"}, "finalizers": ["f"]}, "data": {"k": "v"},
               "spec": {"ports": [{"port": 80, "protocol": "TCP"}]}}),
    );
    assert_eq!(
        fields(&made, "rec"),
        json!({"f:data": {".": {}, "f:k": {}},
               "f:metadata": {"f:finalizers": {".": {}, "v:\"f\"": {}}, "f:labels": {".": {}, "f:app": {}}},
               "f:spec": {".": {}, "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}":
                   {".": {}, "f:port": {}, "f:protocol": {}}}}})
    );
}

#[test]
fn an_apply_owns_what_it_states_and_removes_what_it_no_longer_states() {
    let one = apply(
        &json!({"metadata": {}}),
        "m1",
        &json!({"data": {"a": "1", "b": "1"}}),
        false,
    )
    .unwrap();
    assert_eq!(fields(&one, "m1"), json!({"f:data": {"f:a": {}, "f:b": {}}}));
    let two = apply(&one, "m1", &json!({"data": {"a": "1"}}), false).unwrap();
    assert_eq!(two["data"], json!({"a": "1"}));
    let none = apply(&two, "m1", &json!({}), false).unwrap();
    assert_eq!(none.get("data"), None);
}

#[test]
fn a_shared_field_stays_until_its_last_owner_leaves() {
    let one = apply(&json!({"metadata": {}}), "m1", &json!({"data": {"a": "1"}}), false).unwrap();
    let both = apply(&one, "m2", &json!({"data": {"a": "1"}}), false).unwrap();
    let left = apply(&both, "m1", &json!({}), false).unwrap();
    assert_eq!(left["data"], json!({"a": "1"}));
    assert_eq!(fields(&left, "m1"), Value::Null);
}

#[test]
fn another_value_conflicts_and_force_takes_over() {
    let one = apply(
        &json!({"metadata": {}}),
        "m1",
        &json!({"data": {"a": "1", "b": "1"}}),
        false,
    )
    .unwrap();
    let conflict = apply(&one, "m2", &json!({"data": {"a": "2"}}), false).unwrap_err();
    assert_eq!(
        conflict.message,
        "Apply failed with 1 conflict: conflict with \"m1\": .data.a"
    );
    let forced = apply(&one, "m2", &json!({"data": {"a": "2"}}), true).unwrap();
    assert_eq!(forced["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(fields(&forced, "m1"), json!({"f:data": {"f:b": {}}}));
}

#[test]
fn a_plain_write_takes_the_fields_it_changes() {
    let one = apply(
        &json!({"metadata": {}}),
        "m1",
        &json!({"data": {"a": "1", "b": "1"}}),
        false,
    )
    .unwrap();
    let mut edited = one.clone();
    edited["data"]["a"] = "9".into();
    let edited = update(&one, "kubectl", edited);
    assert_eq!(fields(&edited, "m1"), json!({"f:data": {"f:b": {}}}));
    assert_eq!(fields(&edited, "kubectl"), json!({"f:data": {"f:a": {}}}));
    let conflict = apply(&edited, "m1", &json!({"data": {"a": "1", "b": "1"}}), false).unwrap_err();
    assert_eq!(
        conflict.message,
        "Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.a"
    );
}

#[test]
fn list_elements_are_known_by_their_keys_with_defaults() {
    let live = json!({"metadata": {}, "spec": {"ports": [{"port": 53, "protocol": "UDP", "name": "dns"},
                                                         {"port": 80, "protocol": "TCP", "name": "x"}]}});
    let applied = apply(
        &live,
        "m",
        &json!({"spec": {"ports": [{"port": 80, "name": "http"}]}}),
        false,
    )
    .unwrap();
    assert_eq!(
        applied["spec"]["ports"],
        json!([{"port": 53, "protocol": "UDP", "name": "dns"}, {"port": 80, "protocol": "TCP", "name": "http"}])
    );
    let gone = apply(&applied, "m", &json!({"spec": {"ports": [{"port": 81}]}}), false).unwrap();
    assert_eq!(
        gone["spec"]["ports"],
        json!([{"port": 53, "protocol": "UDP", "name": "dns"}, {"port": 81}])
    );
}

#[test]
fn atomic_values_have_one_owner() {
    let one = apply(
        &json!({"metadata": {}}),
        "m1",
        &json!({"spec": {"sel": {"a": "1"}, "args": ["x"]}}),
        false,
    )
    .unwrap();
    assert_eq!(fields(&one, "m1"), json!({"f:spec": {"f:args": {}, "f:sel": {}}}));
    let two = apply(&one, "m2", &json!({"spec": {"sel": {"b": "1"}}}), true).unwrap();
    assert_eq!(two["spec"]["sel"], json!({"b": "1"}));
}

fn config() -> impl Strategy<Value = Value> {
    let data = prop::collection::btree_map("[a-c]", "[12]", 0..3);
    let ports = prop::collection::btree_map(1u16..4, "[ab]", 0..3);
    (data, ports, prop::option::of(0u8..3)).prop_map(|(data, ports, size)| {
        let ports: Vec<Value> = ports
            .into_iter()
            .map(|(port, name)| json!({"port": port, "name": name}))
            .collect();
        let mut config = json!({"data": data, "spec": {"ports": ports}});
        if let Some(size) = size {
            config["spec"]["size"] = size.into();
        }
        config
    })
}

fn states(object: &Value, config: &Value) -> bool {
    let data = config["data"]
        .as_object()
        .unwrap()
        .iter()
        .all(|(key, value)| object["data"].get(key) == Some(value));
    let have = object["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let same = |wanted: &Value| {
        have.iter()
            .any(|port| port["port"] == wanted["port"] && port["name"] == wanted["name"])
    };
    data && config["spec"]["ports"].as_array().unwrap().iter().all(same)
}

proptest! {
    /// The laws of apply: a forced apply gets what it states; applying the same again changes nothing; applying
    /// nothing gives up every field; and the encoded sets read back as themselves.
    #[test]
    fn laws_of_apply(first in config(), second in config(), third in config()) {
        let start = json!({"metadata": {}});
        let one = apply(&start, "m1", &first, true).unwrap();
        let two = apply(&one, "m2", &second, true).unwrap();
        let three = apply(&two, "m1", &third, true).unwrap();
        prop_assert!(states(&three, &third));
        prop_assert_eq!(&apply(&three, "m1", &third, false).unwrap(), &three);
        let gone = apply(&three, "m1", &json!({}), true).unwrap();
        prop_assert_eq!(fields(&gone, "m1"), Value::Null);
        for entry in three["metadata"]["managedFields"].as_array().into_iter().flatten() {
            prop_assert_eq!(FieldSet::decode(&entry["fieldsV1"]).encode(), entry["fieldsV1"].clone());
        }
    }

    /// Comparing finds exactly what a change touched: nothing for an object with itself, and nobody keeps a field that
    /// is gone.
    #[test]
    fn updates_never_leave_owners_of_missing_fields(first in config(), second in config()) {
        let mut start = first.clone();
        start["metadata"] = json!({});
        let mut next = second;
        next["metadata"] = json!({});
        prop_assert_eq!(compare(&start, &start, &schema()), compare::Comparison::default());
        let made = update(&json!({"metadata": {}}), "a", start);
        let changed = update(&made, "b", next.clone());
        let present = of_value(&next, &schema());
        for who in ["a", "b"] {
            let owned = FieldSet::decode(&fields(&changed, who));
            for path in owned.paths() {
                let known = present.paths().iter().any(|have| have.starts_with(&path));
                prop_assert!(known || path.ends_with("data") || path.ends_with("spec") || path.ends_with("ports"), "{path}");
            }
        }
    }
}

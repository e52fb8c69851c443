use serde_json::json;

use super::*;
use crate::schema::compile::Compiler;

/// A schema with its rules.
fn schema(source: &Value) -> Schema {
    let mut schema = Compiler::structural().compile(source, "s").expect("compiles");
    let errors = attach(&mut schema, source, "s");
    assert_eq!(errors, [], "{source}");
    schema
}

fn errors(object: &Value, old: Option<&Value>, source: &Value) -> Vec<String> {
    let verdict = validate(object, old, &schema(source));
    verdict.errors.iter().map(ToString::to_string).collect()
}

/// What is said about a definition with one rule on its `spec`.
fn refused(rule: &Value) -> Vec<String> {
    let source = json!({"type": "object", "properties": {"spec": {"type": "object",
        "properties": {"a": {"type": "integer"}, "m": {"type": "object", "additionalProperties": {"type": "string"}}},
        "x-kubernetes-validations": [rule]}}});
    let mut schema = Compiler::structural().compile(&source, "s").expect("compiles");
    attach(&mut schema, &source, "s")
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn a_broken_rule_is_reported_where_it_says() {
    let source = json!({"type": "object", "properties": {"spec": {"type": "object",
    "properties": {"size": {"type": "integer"}, "mode": {"type": "string"}},
    "x-kubernetes-validations": [
        {"rule": "self.size > 1", "message": "too small", "fieldPath": ".size"},
        {"rule": "self.size != 1", "messageExpression": "'mode is ' + self.mode", "reason": "FieldValueForbidden"},
    ]}}});
    let found = errors(&json!({"spec": {"size": 1, "mode": "A"}}), None, &source);
    assert_eq!(
        found,
        ["spec.size: Invalid value: too small", "spec: Forbidden: mode is A"]
    );
}

#[test]
fn a_message_expression_that_fails_leaves_the_message() {
    let source = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.a == 'x'", "messageExpression": "self.b", "message": "plain"}]});
    assert_eq!(
        errors(&json!({"a": "y", "b": "computed"}), None, &source),
        [": Invalid value: computed"]
    );
    assert_eq!(errors(&json!({"a": "y"}), None, &source), [": Invalid value: plain"]);
    assert_eq!(
        errors(&json!({"a": "y", "b": " "}), None, &source),
        [": Invalid value: plain"]
    );
}

#[test]
fn a_rule_without_message_says_itself_and_an_error_what_it_was() {
    let source = json!({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.a == self.b"}]});
    assert_eq!(
        errors(&json!({"a": 1, "b": 2}), None, &source),
        [": Invalid value: failed rule: self.a == self.b"]
    );
    assert_eq!(
        errors(&json!({"a": 1}), None, &source),
        [": Invalid value: no such key: b evaluating rule: self.a == self.b"]
    );
}

#[test]
fn transitions_compare_with_the_counterpart() {
    let frozen =
        json!({"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "frozen"}]});
    let item = json!({"type": "object", "properties": {"name": {"type": "string"}, "v": frozen.clone()}});
    let source = json!({"type": "object", "properties": {
        "a": frozen.clone(),
        "m": {"type": "object", "additionalProperties": frozen},
        "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": item}}});
    let old = json!({"a": "1", "m": {"k": "1"}, "l": [{"name": "x", "v": "1"}, {"name": "y", "v": "2"}]});
    let new = json!({"a": "2", "m": {"k": "2", "n": "3"}, "l": [{"name": "y", "v": "9"}, {"name": "z", "v": "0"}]});
    assert_eq!(errors(&new, None, &source), [""; 0]);
    assert_eq!(errors(&old, Some(&old), &source), [""; 0]);
    assert_eq!(
        errors(&new, Some(&old), &source),
        [
            "a: Invalid value: \"2\": frozen",
            "m[k]: Invalid value: \"2\": frozen",
            "l[0].v: Invalid value: \"9\": frozen"
        ]
    );
}

#[test]
fn an_optional_old_value_is_there_on_create() {
    let source = json!({"type": "object", "properties": {"a": {"type": "integer", "x-kubernetes-validations": [
        {"rule": "!oldSelf.hasValue() || self >= oldSelf.value()", "optionalOldSelf": true, "message": "may only grow"}]}}});
    assert_eq!(errors(&json!({"a": 1}), None, &source), [""; 0]);
    assert_eq!(
        errors(&json!({"a": 1}), Some(&json!({"a": 2})), &source),
        ["a: Invalid value: 1: may only grow"]
    );
}

#[test]
fn what_was_wrong_before_only_warns() {
    let source = json!({"type": "object", "properties": {"a": {"type": "integer", "x-kubernetes-validations": [
        {"rule": "self > 5", "message": "too small"}]}}});
    let verdict = validate(&json!({"a": 1}), Some(&json!({"a": 1})), &schema(&source));
    assert!(verdict.errors.is_empty());
    assert_eq!(verdict.warnings, ["a: Invalid value: 1: too small"]);
    assert_eq!(
        errors(&json!({"a": 2}), Some(&json!({"a": 1})), &source),
        ["a: Invalid value: 2: too small"]
    );
}

#[test]
fn a_loop_too_long_ends_the_validation() {
    let source = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "integer"}}},
        "x-kubernetes-validations": [
            {"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))"}, {"rule": "false"}]});
    let found = errors(&json!({"l": vec![1; 3000]}), None, &source);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("actual cost limit exceeded"), "{found:?}");
}

#[test]
fn rules_that_cannot_be_are_refused() {
    let at = "s.properties[spec].x-kubernetes-validations[0]";
    let shown = |rule: &str| {
        format!(
            "{{\"Rule\":{rule:?},\"Message\":\"\",\"MessageExpression\":\"\",\"Reason\":null,\"FieldPath\":\"\",\"OptionalOldSelf\":null}}"
        )
    };
    assert_eq!(
        refused(&json!({"rule": "self.b > 1"})),
        [format!(
            "{at}.rule: Invalid value: {}: compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b > 1\n | ....^",
            shown("self.b > 1")
        )]
    );
    assert_eq!(
        refused(&json!({"rule": " "})),
        [format!("{at}.rule: Required value: rule is not specified")]
    );
    assert_eq!(
        refused(&json!({"rule": "self.a\n> 1"})),
        [format!(
            "{at}.message: Required value: message must be specified if rule contains line breaks"
        )]
    );
    assert_eq!(
        refused(&json!({"rule": "self.a > 1", "message": "a\nb"})),
        [format!(
            "{at}.message: Invalid value: \"a\\nb\": message must not contain line breaks"
        )]
    );
    assert_eq!(
        refused(&json!({"rule": "self.a > 1", "fieldPath": ".b"})),
        [format!(
            "{at}.fieldPath: Invalid value: \".b\": fieldPath must be a valid path: does not refer to a valid field: b"
        )]
    );
    assert_eq!(
        refused(&json!({"rule": "self.a > 1", "fieldPath": ".m['x.y']"})),
        [""; 0]
    );
    assert_eq!(
        refused(&json!({"rule": "self.a > 1", "optionalOldSelf": true})),
        [format!(
            "{at}.optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"
        )]
    );
    assert!(refused(&json!({"rule": "self.a > 1", "reason": "Bogus"}))[0].contains("Unsupported value: \"Bogus\""));
}

#[test]
fn old_values_need_a_counterpart() {
    let source = json!({"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}});
    let mut schema = Compiler::structural().compile(&source, "s").expect("compiles");
    let errors = attach(&mut schema, &source, "s");
    let text = "s.properties[l].items.x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": oldSelf cannot be used \
                on the uncorrelatable portion of the schema within s.properties[l]";
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [text]);
}

//! Compiles the rules of a schema, and says what is wrong with them in the API server's words.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Rule, path};
use crate::{
    cel::{Program, Shape},
    field::{FieldError, FieldReason},
    object::{list_at, text_at},
    schema::{ListType, Schema},
};

/// Compiles the rules that stand in the text of a schema into the schema. What does not compile is left out, and said.
pub(crate) fn attach(schema: &mut Schema, source: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let place = Place {
        is_resource: true,
        uncorrelatable: None,
    };
    node(schema, source, path, &place, &mut errors);
    errors
}

struct Place<'a> {
    is_resource: bool,
    /// Where the values stopped having a counterpart in the old object.
    uncorrelatable: Option<&'a str>,
}

fn node(schema: &mut Schema, source: &Value, path: &str, place: &Place<'_>, errors: &mut Vec<FieldError>) {
    let written = list_at(source, &["x-kubernetes-validations"]);
    if !written.is_empty() {
        let shape = Shape::of(schema, place.is_resource);
        for (n, rule) in written.iter().enumerate() {
            let at = format!("{path}.x-kubernetes-validations[{n}]");
            schema.rules.extend(compile(rule, schema, &shape, &at, place, errors));
        }
    }
    let mut below = |child: &mut Arc<Schema>, source: Option<&Value>, path: String, uncorrelatable: Option<&str>| {
        // Only what has rules is copied; schemas share what they do not change.
        if let Some(source) = source.filter(|source| has_rules(source)) {
            let child = Arc::make_mut(child);
            let place = Place {
                is_resource: child.embedded,
                uncorrelatable,
            };
            node(child, source, &path, &place, errors);
        }
    };
    for (name, field) in &mut schema.properties {
        let source = source.get("properties").and_then(|all| all.get(name));
        below(
            field,
            source,
            format!("{path}.properties[{name}]"),
            place.uncorrelatable,
        );
    }
    if let Some(values) = &mut schema.additional {
        below(
            values,
            source.get("additionalProperties"),
            format!("{path}.additionalProperties"),
            place.uncorrelatable,
        );
    }
    if let Some(items) = &mut schema.items {
        let keyed = matches!(schema.list, ListType::Map(_));
        let uncorrelatable = place.uncorrelatable.or((!keyed).then_some(path));
        below(items, source.get("items"), format!("{path}.items"), uncorrelatable);
    }
}

fn has_rules(source: &Value) -> bool {
    match source {
        Value::Object(map) => map.contains_key("x-kubernetes-validations") || map.values().any(has_rules),
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

fn compile(
    written: &Value,
    schema: &Schema,
    shape: &Shape,
    at: &str,
    place: &Place<'_>,
    errors: &mut Vec<FieldError>,
) -> Option<Rule> {
    let text = |field: &str| text_at(written, &[field]);
    let before = errors.len();
    texts(written, at, errors);
    let optional_old = written["optionalOldSelf"] == true;
    let old = if optional_old { Shape::Dyn } else { shape.clone() };
    let variables = [("self", shape.clone()), ("oldSelf", old)];
    let reason = match text("reason") {
        "" | "FieldValueInvalid" => FieldReason::Invalid,
        "FieldValueForbidden" => FieldReason::Forbidden,
        "FieldValueRequired" => FieldReason::Required,
        "FieldValueDuplicate" => FieldReason::Duplicate,
        other => {
            errors.push(FieldError::not_supported(format!("{at}.reason"), other, REASONS));
            FieldReason::Invalid
        }
    };
    let field = match text("fieldPath").trim() {
        "" => String::new(),
        written => path::follow(written, schema).unwrap_or_else(|why| {
            let detail = format!("fieldPath must be a valid path: {why}");
            errors.push(FieldError::invalid(format!("{at}.fieldPath"), written, detail));
            String::new()
        }),
    };
    let source = text("rule").trim();
    if source.is_empty() {
        return None;
    }
    let mut program = |field: &str, source: &str| {
        let compiled = Program::compile(source, &variables);
        compiled
            .map_err(|why| errors.push(FieldError::invalid(format!("{at}.{field}"), internal(written), why)))
            .ok()
    };
    let rule = program("rule", source)?;
    let expression = text("messageExpression").trim();
    let message_expression = (!expression.is_empty())
        .then(|| program("messageExpression", expression))
        .flatten();
    let uses_old = rule.mentions("oldSelf");
    if let Some(list) = place.uncorrelatable.filter(|_| uses_old) {
        let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {list}");
        errors.push(FieldError::invalid(format!("{at}.rule"), source, detail));
    }
    if !uses_old && written.get("optionalOldSelf").is_some_and(Value::is_boolean) {
        let detail = "may not be set if oldSelf is not used in rule";
        errors.push(FieldError::invalid(
            format!("{at}.optionalOldSelf"),
            optional_old,
            detail,
        ));
    }
    (errors.len() == before).then(|| Rule {
        program: rule,
        source: source.to_owned(),
        message: text("message").trim().to_owned(),
        message_expression,
        reason,
        field,
        uses_old,
        optional_old,
    })
}

/// What the texts of a rule must be, before any of them is compiled.
fn texts(rule: &Value, at: &str, errors: &mut Vec<FieldError>) {
    let given = |field: &str| rule.get(field).and_then(Value::as_str).unwrap_or_default();
    let blank = |field: &str| !given(field).is_empty() && given(field).trim().is_empty();
    let broken = |field: &str| given(field).trim().contains(['\n', '\r']);
    let mut invalid = |field: &str, detail: &str| {
        errors.push(FieldError::invalid(format!("{at}.{field}"), given(field), detail));
    };
    if blank("message") {
        invalid("message", "message must be non-empty if specified");
    } else if broken("message") {
        invalid("message", "message must not contain line breaks");
    }
    if blank("fieldPath") {
        invalid("fieldPath", "fieldPath must be non-empty if specified");
    }
    if broken("fieldPath") {
        invalid("fieldPath", "fieldPath must not contain line breaks");
    }
    let mut required = |field: &str, detail: &str| errors.push(FieldError::required(format!("{at}.{field}"), detail));
    if given("rule").trim().is_empty() {
        required("rule", "rule is not specified");
    } else if broken("rule") && given("message").is_empty() {
        required("message", "message must be specified if rule contains line breaks");
    }
    if blank("messageExpression") {
        required("messageExpression", "messageExpression must be non-empty if specified");
    }
}

/// A rule as the API server shows it in errors: its internal form.
fn internal(rule: &Value) -> Value {
    let text = |field: &str| text_at(rule, &[field]);
    json!({
        "Rule": text("rule"),
        "Message": text("message"),
        "MessageExpression": text("messageExpression"),
        "Reason": rule.get("reason"),
        "FieldPath": text("fieldPath"),
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    })
}

const REASONS: [&str; 4] = [
    "FieldValueDuplicate",
    "FieldValueForbidden",
    "FieldValueInvalid",
    "FieldValueRequired",
];

//! What is wrong with a label selector in an object.

use serde_json::Value;

use crate::{
    field::FieldError,
    kinds::names,
    object::{list_at, text_at},
};

/// Everything that is wrong with `{matchLabels, matchExpressions}` at `path`.
pub(super) fn check(selector: &Value, path: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
        let at = format!("{path}.matchLabels");
        let wrong = names::wrong_qualified(key).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(&at, key.as_str(), why)));
        let value = value.as_str().unwrap_or_default();
        let why = names::wrong_label_text(value);
        errors.extend(why.map(|why| FieldError::invalid(&at, value, why)));
    }
    for (n, expression) in list_at(selector, &["matchExpressions"]).iter().enumerate() {
        let at = |field: &str| format!("{path}.matchExpressions[{n}].{field}");
        let has_values = !list_at(expression, &["values"]).is_empty();
        match text_at(expression, &["operator"]) {
            "In" | "NotIn" if !has_values => {
                let why = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(at("values"), why));
            }
            "Exists" | "DoesNotExist" if has_values => {
                let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(at("values"), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                at("operator"),
                other,
                "not a valid selector operator",
            )),
        }
        let key = text_at(expression, &["key"]);
        let wrong = names::wrong_qualified(key).into_iter();
        errors.extend(wrong.map(|why| FieldError::invalid(at("key"), key, why)));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operators_take_values_or_do_not() {
        let wrong = |expression: &Value| {
            let selector = json!({"matchExpressions": [expression]});
            check(&selector, "s")
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert!(wrong(&json!({"key": "a", "operator": "In", "values": ["b"]})).is_empty());
        assert_eq!(
            wrong(&json!({"key": "a", "operator": "In"})),
            ["s.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"]
        );
        assert_eq!(
            wrong(&json!({"key": "a", "operator": "Exists", "values": ["b"]})).len(),
            1
        );
        assert_eq!(
            wrong(&json!({"key": "a", "operator": "Is"})),
            ["s.matchExpressions[0].operator: Invalid value: \"Is\": not a valid selector operator"]
        );
        assert_eq!(check(&json!({"matchLabels": {"a": "-"}}), "s").len(), 1);
    }
}

//! Label and field selectors.

use serde_json::{Map, Value};

use crate::{
    kinds::{Kind, names},
    object::{list_at, strings_at, text_at},
    status::Status,
};

/// All requirements must hold. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    /// Also holds when the label is missing.
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let mut requirements = Vec::new();
        for part in split_outside_brackets(text) {
            if !part.trim().is_empty() {
                requirements.push(requirement(part.trim())?);
            }
        }
        Ok(Self { requirements })
    }

    /// Reads `{matchLabels, matchExpressions}`.
    pub(crate) fn from_object(selector: &Value) -> Self {
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let mut requirements: Vec<Requirement> = labels
            .map(|(key, value)| Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]))
            .collect();
        for expression in list_at(selector, &["matchExpressions"]) {
            let key = text_at(expression, &["key"]).to_owned();
            let values = strings_at(expression, &["values"])
                .into_iter()
                .map(str::to_owned)
                .collect();
            requirements.push(match text_at(expression, &["operator"]) {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "DoesNotExist" => Requirement::Missing(key),
                _ => Requirement::Exists(key),
            });
        }
        Self { requirements }
    }

    /// `{matchLabels, matchExpressions}` as the text that [`LabelSelector::parse`] reads, sorted by keys.
    pub(crate) fn text_of(selector: &Value) -> String {
        let labels = selector["matchLabels"].as_object().into_iter().flatten();
        let mut parts: Vec<(&str, String)> = labels
            .map(|(key, value)| (key.as_str(), format!("{key}={}", value.as_str().unwrap_or_default())))
            .collect();
        for expression in list_at(selector, &["matchExpressions"]) {
            let key = text_at(expression, &["key"]);
            let mut values = strings_at(expression, &["values"]);
            values.sort_unstable();
            let values = values.join(",");
            let part = match text_at(expression, &["operator"]) {
                "In" => format!("{key} in ({values})"),
                "NotIn" => format!("{key} notin ({values})"),
                "DoesNotExist" => format!("!{key}"),
                _ => key.to_owned(),
            };
            parts.push((key, part));
        }
        parts.sort_by_key(|(key, _)| *key);
        let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
        parts.join(",")
    }

    pub(crate) fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        let value = |key: &str| labels.and_then(|labels| labels.get(key)?.as_str());
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => value(key).is_some_and(|have| values.iter().any(|one| one == have)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|have| values.iter().all(|one| one != have)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Missing(key) => value(key).is_none(),
        })
    }
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn requirement(part: &str) -> Result<Requirement, Status> {
    let failed = |why: String| Status::bad_request(format!("unable to parse requirement: {why}"));
    let key = |text: &str| {
        let text = text.trim();
        if names::is_qualified(text) {
            Ok(text.to_owned())
        } else {
            Err(failed(format!("invalid label key {text:?}")))
        }
    };
    let value = |text: &str| {
        let text = text.trim();
        match text.chars().next() {
            Some(operator @ ('=' | '!')) => Err(failed(format!("found '{operator}', expected: identifier"))),
            _ if names::is_label_text(text) => Ok(vec![text.to_owned()]),
            _ => Err(failed(format!(
                "values[0][{text}]: Invalid value: {text:?}: not a valid label value"
            ))),
        }
    };
    if let Some(missing) = part.strip_prefix('!') {
        return Ok(Requirement::Missing(key(missing)?));
    }
    if let Some((name, rest)) = part.split_once(char::is_whitespace) {
        let rest = rest.trim();
        let (is_in, list) = match (rest.strip_prefix("in"), rest.strip_prefix("notin")) {
            (_, Some(list)) => (false, list.trim()),
            (Some(list), _) => (true, list.trim()),
            _ => (true, ""),
        };
        if let Some(list) = list.strip_prefix('(').and_then(|list| list.strip_suffix(')')) {
            let values = list.split(',').map(|value| value.trim().to_owned()).collect();
            return Ok(if is_in {
                Requirement::In(key(name)?, values)
            } else {
                Requirement::NotIn(key(name)?, values)
            });
        }
    }
    match part.split_once("!=") {
        Some((name, wanted)) => Ok(Requirement::NotIn(key(name)?, value(wanted)?)),
        None => match part.split_once("==").or_else(|| part.split_once('=')) {
            Some((name, wanted)) => Ok(Requirement::In(key(name)?, value(wanted)?)),
            None => Ok(Requirement::Exists(key(part)?)),
        },
    }
}

/// Requirements on fields: (path, whether it must be equal, value).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector {
    terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// Reads `metadata.name=a,spec.nodeName!=b`; refuses fields that the kind does not offer.
    pub(crate) fn parse(text: &str, kind: &Kind) -> Result<Self, Status> {
        let mut terms = Vec::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let split = part.split_once("!=").map(|(field, value)| (field, false, value));
            let split = split.or_else(|| part.split_once("==").map(|(field, value)| (field, true, value)));
            let split = split.or_else(|| part.split_once('=').map(|(field, value)| (field, true, value)));
            let Some((field, equal, value)) = split else {
                return Err(Status::bad_request(format!(
                    "invalid selector: '{text}'; can't understand '{part}'"
                )));
            };
            let field = field.trim();
            let always = ["metadata.name", "metadata.namespace"];
            if !always.contains(&field) && !kind.selectable.iter().any(|known| known == field) {
                let known = always.into_iter().chain(kind.selectable.iter().map(String::as_str));
                let known: Vec<String> = known.map(|one| format!("{one:?}")).collect();
                let only = known.join(", ");
                return Err(Status::bad_request(format!(
                    "{field:?} is not a known field selector: only {only}"
                )));
            }
            terms.push((kind.rules.stored_field(field), equal, value.trim().to_owned()));
        }
        Ok(Self { terms })
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|(path, equal, wanted)| {
            let found = path.split('.').try_fold(object, |at, field| at.get(field));
            let text = match found {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Object(map)) => map
                    .get("component")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
                Some(Value::Null) | None if path == "spec.unschedulable" || path == "spec.hostNetwork" => {
                    "false".into()
                }
                Some(Value::Null) | None => String::new(),
                Some(other) => other.to_string(),
            };
            (text == *wanted) == *equal
        })
    }
}

/// What a list or watch is narrowed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Selector {
    pub(crate) fn matches(&self, object: &Value) -> bool {
        let labels = object
            .get("metadata")
            .and_then(|metadata| metadata.get("labels")?.as_object());
        self.labels.matches(labels) && self.fields.matches(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(selector: &str, labels: &Value) -> bool {
        LabelSelector::parse(selector).unwrap().matches(labels.as_object())
    }

    #[test]
    fn every_form_of_label_selector() {
        let labels = json!({"app": "x", "n": "1"});
        for (selector, expected) in [
            ("", true),
            ("app=x", true),
            ("app==x,n=1", true),
            ("app!=x", false),
            ("other!=x", true),
            ("n in (1,2)", true),
            ("n notin (1, 2)", false),
            ("m notin (1)", true),
            ("app", true),
            ("!app", false),
            ("!m", true),
            ("app=", false),
        ] {
            assert_eq!(matches(selector, &labels), expected, "{selector}");
        }
        let error = LabelSelector::parse("a===b").unwrap_err();
        assert_eq!(
            error.message,
            "unable to parse requirement: found '=', expected: identifier"
        );
    }

    #[test]
    fn selectors_of_workloads() {
        let selector = LabelSelector::from_object(&json!({"matchLabels": {"a": "1"},
            "matchExpressions": [{"key": "b", "operator": "In", "values": ["2"]}, {"key": "c", "operator": "DoesNotExist"}]}));
        assert!(selector.matches(json!({"a": "1", "b": "2"}).as_object()));
        assert!(!selector.matches(json!({"a": "1", "b": "2", "c": ""}).as_object()));
    }
}

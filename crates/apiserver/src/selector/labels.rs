//! Label selectors.

use serde_json::{Map, Value};

use super::parse;
use crate::{
    object::{list_at, strings_at, text_at},
    status::Status,
};

/// All requirements must hold. The default matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Requirement {
    In(String, Vec<String>),
    /// Also holds when the label is missing.
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
    /// The label is a number, greater than this one.
    Greater(String, i64),
    Less(String, i64),
}

impl LabelSelector {
    /// Reads `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let requirements = parse::requirements(text).map_err(Status::bad_request)?;
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
        let number = |key: &str| value(key)?.parse::<i64>().ok();
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => value(key).is_some_and(|have| values.iter().any(|one| one == have)),
            Requirement::NotIn(key, values) => value(key).is_none_or(|have| values.iter().all(|one| one != have)),
            Requirement::Exists(key) => value(key).is_some(),
            Requirement::Missing(key) => value(key).is_none(),
            Requirement::Greater(key, bound) => number(key).is_some_and(|have| have > *bound),
            Requirement::Less(key, bound) => number(key).is_some_and(|have| have < *bound),
        })
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
            ("n>0,n<2", true),
            ("n > 1", false),
            ("app>0", false),
            ("in in (in,notin)", false),
            ("app in (,x)", true),
            (" app = x ", true),
        ] {
            assert_eq!(matches(selector, &labels), expected, "{selector}");
        }
    }

    #[test]
    fn selectors_of_workloads() {
        let selector = LabelSelector::from_object(&json!({"matchLabels": {"a": "1"},
            "matchExpressions": [{"key": "b", "operator": "In", "values": ["2"]}, {"key": "c", "operator": "DoesNotExist"}]}));
        assert!(selector.matches(json!({"a": "1", "b": "2"}).as_object()));
        assert!(!selector.matches(json!({"a": "1", "b": "2", "c": ""}).as_object()));
    }
}

//! Label and field selectors.

use serde_json::Value;

use crate::{kinds::Kind, status::Status};

mod labels;
mod parse;

pub(crate) use labels::LabelSelector;

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
            check_known(field, kind)?;
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

/// Every object can be selected by its place; a few kinds offer more, and their refusal does not say what.
fn check_known(field: &str, kind: &Kind) -> Result<(), Status> {
    let is_known =
        field == "metadata.name" || (field == "metadata.namespace" && (kind.namespaced || !kind.is_custom()));
    if is_known || kind.selectable.iter().any(|known| known == field) {
        return Ok(());
    }
    Err(Status::bad_request(
        if kind.is_custom() || !kind.selectable.is_empty() {
            format!("field label not supported: {field}")
        } else {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        },
    ))
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

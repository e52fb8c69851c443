//! Event, in its two groups.
//!
//! The core group and `events.k8s.io` show the same objects under other names of fields. They are stored as the core group has
//! them; [`NewEvents`] turns them over. Managed fields keep the names of the group in which they were written.

use serde_json::{Map, Value};

use super::{NameRule, Rules};
use crate::{field::FieldError, object::text_at, store::Resource};

#[derive(Debug)]
pub(crate) struct Events;

impl Rules for Events {
    fn names(&self) -> NameRule {
        NameRule::PathSegment
    }

    /// Times that Go writes as null when nobody set them.
    fn default(&self, object: &mut Value) {
        nulls(object, &["source"], &["firstTimestamp", "lastTimestamp", "eventTime"]);
    }

    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let (own, involved) = (
            text_at(object, &["metadata", "namespace"]),
            text_at(object, &["involvedObject", "namespace"]),
        );
        let fits = if involved.is_empty() {
            own == "default" || own == "kube-system"
        } else {
            own == involved
        };
        if fits {
            return Vec::new();
        }
        vec![FieldError::invalid(
            "involvedObject.namespace",
            involved,
            "does not match event.namespace",
        )]
    }
}

/// `events.k8s.io`.
#[derive(Debug)]
pub(crate) struct NewEvents;

impl Rules for NewEvents {
    fn names(&self) -> NameRule {
        NameRule::PathSegment
    }

    fn default(&self, object: &mut Value) {
        nulls(
            object,
            &["deprecatedSource"],
            &["deprecatedFirstTimestamp", "deprecatedLastTimestamp"],
        );
    }

    fn validate(&self, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut need = |field: &str| {
            if old.is_none() && text_at(object, &[field]).is_empty() {
                errors.push(FieldError::required(field, ""));
            }
        };
        [
            "eventTime",
            "reportingController",
            "reportingInstance",
            "action",
            "reason",
        ]
        .into_iter()
        .for_each(&mut need);
        if !matches!(text_at(object, &["type"]), "Normal" | "Warning") {
            errors.push(FieldError::invalid(
                "type",
                object["type"].clone(),
                "has invalid value: ",
            ));
        }
        errors
    }

    fn storage(&self) -> Option<Resource> {
        Some(Resource::new("", "events"))
    }

    fn stored_field(&self, path: &str) -> String {
        let (first, rest) = path
            .split_once('.')
            .map_or((path, None), |(first, rest)| (first, Some(rest)));
        let first = FIELDS
            .iter()
            .find(|(new, _)| *new == first)
            .map_or(first, |(_, core)| core);
        rest.map_or_else(|| first.to_owned(), |rest| format!("{first}.{rest}"))
    }

    fn to_stored(&self, object: &mut Value) {
        rename(object, |(new, _)| new, |(_, core)| core);
        object["apiVersion"] = "v1".into();
        nulls(object, &["source"], &["firstTimestamp", "lastTimestamp", "eventTime"]);
    }

    fn to_shown(&self, object: &mut Value) {
        rename(object, |(_, core)| core, |(new, _)| new);
        object["apiVersion"] = "events.k8s.io/v1".into();
        self.default(object);
    }
}

/// Renames the fields of one group to those of the other, in the order that they have.
fn rename(object: &mut Value, from: fn(Pair) -> &'static str, to: fn(Pair) -> &'static str) {
    let Some(map) = object.as_object_mut() else { return };
    let renamed: Map<String, Value> = std::mem::take(map)
        .into_iter()
        .map(
            |(field, value)| match FIELDS.iter().find(|pair| from(**pair) == field) {
                Some(pair) => (to(*pair).to_owned(), value),
                None => (field, value),
            },
        )
        .collect();
    *map = renamed;
}

fn nulls(object: &mut Value, objects: &[&str], times: &[&str]) {
    let Some(map) = object.as_object_mut() else { return };
    for field in objects {
        map.entry(*field).or_insert_with(|| Value::Object(Map::new()));
    }
    for field in times {
        map.entry(*field).or_insert(Value::Null);
    }
}

/// (name in `events.k8s.io`, name in the core group).
type Pair = (&'static str, &'static str);

const FIELDS: &[Pair] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn many_name_their_events_after_an_object_and_a_dot() {
        for rules in [&Events as &dyn Rules, &NewEvents] {
            assert!(rules.names().wrong("web.").is_empty());
        }
    }

    #[test]
    fn an_event_is_the_same_in_both_groups() {
        let mut event = json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "eventTime": "t", "note": "hello",
            "regarding": {"kind": "Pod", "name": "p"}, "reportingController": "c", "related": {"kind": "Node"}});
        NewEvents.default(&mut event);
        let shown = event.clone();
        NewEvents.to_stored(&mut event);
        assert_eq!(
            (&event["message"], &event["involvedObject"]["name"]),
            (&json!("hello"), &json!("p"))
        );
        assert_eq!(event["source"], json!({}));
        NewEvents.to_shown(&mut event);
        assert_eq!(event, shown);
        let again = event.clone();
        NewEvents.to_shown(&mut event);
        assert_eq!(event, again, "showing twice changes nothing");
    }
}

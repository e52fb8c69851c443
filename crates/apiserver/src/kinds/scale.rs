//! The `scale` subresource: the number of replicas of any kind, in one shape.
//!
//! A definition says where a kind keeps its numbers; built-in kinds keep them where [`Scale::of_pods`] says. Reading gives an `autoscaling/v1` Scale made of them; writing one changes
//! the wanted number and nothing else.

use serde_json::{Map, Value, json};

use crate::{
    field::FieldError,
    object::{METADATA_ORDER, Object as _, text_at},
    selector::LabelSelector,
};

/// Where a kind keeps its numbers: names of fields, outermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    replicas: Vec<String>,
    current: Vec<String>,
    selector: Selector,
}

/// Where a kind keeps the selector of what it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Selector {
    /// As the text that is shown.
    Text(Vec<String>),
    /// As a LabelSelector in `spec.selector`.
    Object,
}

impl Scale {
    /// What a version's `subresources.scale` says.
    pub(crate) fn read(version: &Value) -> Option<Self> {
        let written = version.get("subresources")?.get("scale")?;
        let path = |field: &str| {
            let names = text_at(written, &[field]).trim_start_matches('.').split('.');
            names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        Some(Self {
            replicas: path("specReplicasPath"),
            current: path("statusReplicasPath"),
            selector: Selector::Text(path("labelSelectorPath")),
        })
    }

    /// That of a built-in kind which keeps a number of pods.
    pub(crate) fn of_pods() -> Self {
        let replicas = |of: &str| vec![of.to_owned(), "replicas".to_owned()];
        Self {
            replicas: replicas("spec"),
            current: replicas("status"),
            selector: Selector::Object,
        }
    }

    /// The Scale of an object.
    pub(crate) fn of(&self, object: &Value) -> Value {
        let mut metadata = Map::new();
        let shown = METADATA_ORDER.iter().filter(|field| SHOWN.contains(field));
        for field in shown {
            if let Some(value) = object.meta(field) {
                metadata.insert((*field).to_owned(), value.clone());
            }
        }
        let number = |path: &[String]| at(object, path).and_then(Value::as_i64).unwrap_or_default();
        let mut spec = Map::new();
        match number(&self.replicas) {
            0 => {}
            replicas => {
                spec.insert("replicas".into(), replicas.into());
            }
        }
        let mut status = json!({"replicas": number(&self.current)});
        let selector = match &self.selector {
            Selector::Text(path) => at(object, path).and_then(Value::as_str).unwrap_or_default().to_owned(),
            Selector::Object => LabelSelector::text_of(&object["spec"]["selector"]),
        };
        if !selector.is_empty() {
            status["selector"] = selector.into();
        }
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
    }

    /// Sets the wanted number.
    pub(crate) fn set(&self, object: &mut Value, replicas: i64) {
        let mut node = object;
        for name in &self.replicas {
            if !node.is_object() {
                *node = json!({});
            }
            node = &mut node[name.as_str()];
        }
        *node = replicas.into();
    }

    /// What is wrong with the numbers of an object: those that a write of it, or of its status, can change.
    pub(crate) fn check(&self, object: &Value, is_status: bool) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = if is_status { &self.current } else { &self.replicas };
        let field = format!(".{}", path.join("."));
        match at(object, path).filter(|_| !path.is_empty()) {
            None => {}
            Some(value) => match value.as_i64() {
                None => errors.push(FieldError::invalid(field.clone(), 0, mismatch(&field, value, "int64"))),
                Some(number) if number < 0 => {
                    errors.push(FieldError::invalid(field, number, "should be a non-negative integer"));
                }
                Some(number) if number > i64::from(i32::MAX) => {
                    let detail = format!("should be less than or equal to {}", i32::MAX);
                    errors.push(FieldError::invalid(field, number, detail));
                }
                Some(_) => {}
            },
        }
        if let Selector::Text(path) = &self.selector
            && is_status
            && !path.is_empty()
            && let Some(value) = at(object, path).filter(|value| !value.is_string())
        {
            let field = format!(".{}", path.join("."));
            let detail = mismatch(&field, value, "string");
            errors.push(FieldError::invalid(field, "", detail));
        }
        errors
    }
}

/// What a Scale that a client sends must be.
pub(crate) fn wanted(scale: &Value) -> Result<i64, FieldError> {
    let replicas = scale["spec"]
        .get("replicas")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    if replicas < 0 {
        let detail = "must be greater than or equal to 0";
        return Err(FieldError::invalid("spec.replicas", replicas, detail));
    }
    Ok(replicas)
}

fn at<'a>(object: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(object, |at, name| at.get(name))
}

/// The type of a value as Go names it.
fn mismatch(field: &str, value: &Value, wanted: &str) -> String {
    let (shown, kind) = match value {
        Value::String(text) => (text.clone(), "string"),
        Value::Bool(_) => (value.to_string(), "bool"),
        Value::Number(number) if number.is_f64() => (value.to_string(), "float64"),
        Value::Number(_) => (value.to_string(), "int64"),
        Value::Array(_) => (value.to_string(), "[]interface {}"),
        Value::Object(_) => (value.to_string(), "map[string]interface {}"),
        Value::Null => ("<nil>".into(), "<nil>"),
    };
    format!("{field} accessor error: {shown} is of the type {kind}, expected {wanted}")
}

/// The metadata that a Scale repeats.
const SHOWN: [&str; 5] = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];

#[cfg(test)]
mod tests {
    use super::*;

    fn scale() -> Scale {
        let version = json!({"subresources": {"scale": {"specReplicasPath": ".spec.size",
            "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}}});
        Scale::read(&version).unwrap()
    }

    #[test]
    fn a_scale_shows_the_numbers_and_sets_one() {
        let mut object = json!({"metadata": {"name": "a", "resourceVersion": "3", "labels": {"x": "y"}},
            "spec": {"size": 2}, "status": {"replicas": 1, "selector": "a=b"}});
        let shown = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "a", "resourceVersion": "3"},
            "spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "a=b"}});
        assert_eq!(scale().of(&object), shown);
        scale().set(&mut object, 7);
        assert_eq!(object["spec"]["size"], 7);
        let mut bare = json!({});
        scale().set(&mut bare, 1);
        assert_eq!(bare, json!({"spec": {"size": 1}}));
    }

    #[test]
    fn pods_are_selected_as_their_labels_say() {
        let expressions = json!([{"key": "tier", "operator": "In", "values": ["b", "a"]}, {"key": "old", "operator": "DoesNotExist"},
            {"key": "zone", "operator": "NotIn", "values": ["x"]}, {"key": "app", "operator": "Exists"}]);
        let object = json!({"metadata": {"name": "a"}, "status": {"replicas": 2},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"run": "web"}, "matchExpressions": expressions}}});
        let shown = Scale::of_pods().of(&object);
        assert_eq!(shown["spec"], json!({"replicas": 3}));
        assert_eq!(
            shown["status"],
            json!({"replicas": 2, "selector": "app,!old,run=web,tier in (a,b),zone notin (x)"})
        );
    }

    #[test]
    fn numbers_are_checked_where_they_can_change() {
        let text = |object: &Value, is_status| {
            let errors = scale().check(object, is_status);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            text(&json!({"spec": {"size": "three"}}), false),
            [".spec.size: Invalid value: 0: .spec.size accessor error: three is of the type string, expected int64"]
        );
        assert_eq!(
            text(&json!({"spec": {"size": -1}}), false),
            [".spec.size: Invalid value: -1: should be a non-negative integer"]
        );
        assert_eq!(text(&json!({"spec": {"size": -1}}), true), [""; 0]);
        assert_eq!(text(&json!({"status": {"selector": 1}}), true).len(), 1);
    }
}

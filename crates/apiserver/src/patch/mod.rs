//! The three patches that change an object without owning fields. All are pure: object and patch in, object out.

use json_patch::jsonptr::Pointer;
use serde_json::Value;

use crate::{gotext, schema::Schema, status::Status};

mod strategic;

use strategic::StrategicError;

/// A patch, and how to read it.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// RFC 7386.
    Merge(Value),
    /// RFC 6902.
    Json(json_patch::Patch),
    /// Kubernetes' own: lists merge by key.
    Strategic(Value),
}

impl Patch {
    /// The patched object.
    pub(crate) fn apply(&self, object: &Value, schema: &Schema) -> Result<Value, Status> {
        match self {
            Self::Merge(patch) => {
                let mut object = object.clone();
                json_patch::merge(&mut object, patch);
                Ok(object)
            }
            Self::Json(patch) => {
                let mut object = object.clone();
                json_patch::patch(&mut object, patch).map_err(|_| Status::unprocessable())?;
                Ok(object)
            }
            Self::Strategic(patch) => {
                strategic::apply(object, patch, schema).map_err(|error| match error {
                    StrategicError::NotAnObject => Status::bad_request(error.to_string()),
                    // Mistakes of the client, though the API takes them for its own.
                    _ => Status::internal(error.to_string()),
                })
            }
        }
    }

    /// What the API shows when the patched object is none of its kind: the patched object, in which the maps that were touched are
    /// sorted; or only the patch, if that is a strategic one.
    pub(crate) fn shown(&self, mut patched: Value) -> String {
        match self {
            Self::Strategic(patch) => return gotext::plain(patch),
            Self::Merge(patch) => sort_along(&mut patched, patch),
            Self::Json(operations) => {
                for operation in &operations.0 {
                    sort_towards(&mut patched, operation.path());
                }
            }
        }
        patched.to_string()
    }
}

fn sort_along(patched: &mut Value, patch: &Value) {
    if let (Value::Object(patched), Value::Object(patch)) = (patched, patch) {
        patched.sort_keys();
        for (name, below) in patch {
            if let Some(value) = patched.get_mut(name) {
                sort_along(value, below);
            }
        }
    }
}

fn sort_towards(patched: &mut Value, path: &Pointer) {
    if let Value::Object(map) = patched {
        map.sort_keys();
    }
    let Some((first, rest)) = path.split_front() else {
        return;
    };
    let below = match patched {
        Value::Object(map) => map.get_mut(&*first.decoded()),
        Value::Array(items) => first.decoded().parse().ok().and_then(|n: usize| items.get_mut(n)),
        _ => None,
    };
    if let (Some(below), false) = (below, rest.is_root()) {
        sort_towards(below, rest);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_refusal_shows_is_sorted_where_the_patch_went() {
        let patched =
            json!({"metadata": {"name": "a", "labels": {"b": "1", "a": "2"}}, "data": {"b": 1, "a": 2}, "bogus": 1});
        let merge = Patch::Merge(json!({"data": {"b": 1}, "bogus": 1}));
        let text = r#"{"bogus":1,"data":{"a":2,"b":1},"metadata":{"name":"a","labels":{"b":"1","a":"2"}}}"#;
        assert_eq!(merge.shown(patched.clone()), text);
        let operations = json!([{"op": "add", "path": "/data/b", "value": 1}]);
        let json = Patch::Json(serde_json::from_value(operations).unwrap());
        assert_eq!(json.shown(patched.clone()), text);
        let strategic = Patch::Strategic(json!({"data": {"b": 1}, "bogus": 1}));
        assert_eq!(strategic.shown(patched), "map[bogus:1 data:map[b:1]]");
    }
}

//! Objects that may be malformed.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::PartialObjectMeta;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object, or why it is none: in a list or a watch, one that is malformed does not take the others with it.
///
/// It does what [`kube::core::DeserializeGuard`] does, and reads JSON only: it needs no tree of the object between its text and itself,
/// which agents that follow thousands of objects would spend much of their time on.
///
/// ```
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use k8s_runtime::Guarded;
///
/// let text = r#"[{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}, "data": 1}]"#;
/// let [a, b] = serde_json::from_str::<[Guarded<ConfigMap>; 2]>(text).unwrap();
/// assert!(a.0.is_ok());
/// assert!(b.0.unwrap_err().why.contains("expected a map"));
/// ```
#[derive(Debug, Clone)]
pub struct Guarded<K>(pub Result<K, Malformed>);

/// An object that cannot be read.
#[derive(Debug, Clone)]
pub struct Malformed {
    /// Why not.
    pub why: String,
    /// Who it is.
    pub metadata: ObjectMeta,
}

impl<'de, K: Resource + DeserializeOwned> Deserialize<'de> for Guarded<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        Ok(Self(match serde_json::from_str(text.get()) {
            Ok(object) => Ok(object),
            Err(error) => {
                let part: PartialObjectMeta<K> = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
                Err(Malformed {
                    why: error.to_string(),
                    metadata: part.metadata,
                })
            }
        }))
    }
}

impl<K: Resource> Resource for Guarded<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &Self::DynamicType) -> Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &Self::DynamicType) -> Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|malformed| &malformed.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0
            .as_mut()
            .map_or_else(|malformed| &mut malformed.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;
    use kube::ResourceExt;
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::json;

    use super::*;

    fn items() -> serde_json::Value {
        let metadata = |name| json!({"name": name, "namespace": "shop", "resourceVersion": "7"});
        json!([
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata("good"), "spec": {"clusterIP": "10.0.0.1"}},
            {"apiVersion": "v1", "kind": "Service", "metadata": metadata("bad"), "spec": {"ports": "none"}},
        ])
    }

    fn told(object: &Guarded<Service>) -> (String, Option<String>, Option<String>) {
        let why = object.0.as_ref().err().map(|malformed| malformed.why.clone());
        (object.name_any(), object.namespace(), why)
    }

    fn check(objects: &[Guarded<Service>]) {
        let shop = || Some("shop".to_owned());
        let [good, bad] = objects else { panic!("two objects") };
        assert_eq!(told(good), ("good".to_owned(), shop(), None));
        let (name, namespace, why) = told(bad);
        assert_eq!((name.as_str(), namespace), ("bad", shop()));
        assert!(why.unwrap().contains("expected a sequence"));
        assert_eq!(
            bad.resource_version().as_deref(),
            Some("7"),
            "a watch goes on from here"
        );
    }

    #[test]
    fn a_malformed_object_in_a_list_leaves_the_others() {
        let list = json!({"apiVersion": "v1", "kind": "ServiceList", "metadata": {}, "items": items()});
        check(
            &serde_json::from_str::<ObjectList<Guarded<Service>>>(&list.to_string())
                .unwrap()
                .items,
        );
    }

    #[test]
    fn a_malformed_object_in_a_watch_leaves_the_others() {
        let events = items()
            .as_array()
            .unwrap()
            .iter()
            .map(|object| {
                let line = format!("{{\"type\":\"ADDED\",\"object\":{object}}}");
                match serde_json::from_str(&line).unwrap() {
                    WatchEvent::Added(object) => object,
                    other => panic!("{other:?}"),
                }
            })
            .collect::<Vec<_>>();
        check(&events);
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        assert!(serde_json::from_str::<Guarded<Service>>("[]").is_err());
        assert!(serde_json::from_str::<Guarded<Service>>("{\"metadata\": 1}").is_err());
    }
}

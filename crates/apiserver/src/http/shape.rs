//! Objects as the client wants to see them: whole, as a Table, or only their metadata.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value, json};

use super::{negotiate::Shape, query::Query};
use crate::{
    kinds::{Kind, columns},
    object::Object as _,
    rest::List,
};

/// A stored object in the version of an endpoint, without copying it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub object: &'a Value,
    pub api_version: &'a str,
    /// Items of a built-in list carry no kind and apiVersion.
    pub typed: bool,
}

impl Serialize for View<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(object) = self.object.as_object() else {
            return self.object.serialize(serializer);
        };
        let mut map = serializer.serialize_map(None)?;
        for (field, value) in object {
            match field.as_str() {
                "kind" | "apiVersion" if !self.typed => {}
                "apiVersion" => map.serialize_entry(field, self.api_version)?,
                _ => map.serialize_entry(field, value)?,
            }
        }
        map.end()
    }
}

/// How one request wants its objects.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub kind: Arc<Kind>,
    shape: Shape,
    /// `None`, `Metadata` or `Object`: what a Table's rows carry.
    include: String,
    now: Timestamp,
    api_version: String,
    /// The client has been told the columns: only the first event of a watch describes them.
    knows_columns: bool,
}

impl Viewer {
    pub(crate) fn new(kind: &Arc<Kind>, shape: Shape, query: &Query, now: Timestamp) -> Self {
        let include = query.text("includeObject").to_owned();
        Self {
            api_version: kind.api_version(),
            kind: Arc::clone(kind),
            shape,
            include,
            now,
            knows_columns: false,
        }
    }

    /// The body for one object.
    pub(crate) fn one(&self, object: &Value) -> Value {
        if self.converts() {
            let mut shown = object.clone();
            self.kind.rules.to_shown(&mut shown);
            return self.shaped(&shown);
        }
        self.shaped(object)
    }

    /// Whether objects are kept in another form than this kind's.
    fn converts(&self) -> bool {
        self.kind.rules.storage().is_some()
    }

    fn shaped(&self, object: &Value) -> Value {
        match self.shape {
            Shape::Table => self.table(&[object], object.resource_version(), None, None),
            Shape::Metadata => metadata_of(object),
            _ => {
                let mut object = object.clone();
                object["apiVersion"] = self.api_version.clone().into();
                object
            }
        }
    }

    /// One line of a watch.
    pub(crate) fn event(&mut self, kind: &str, object: &Value, out: &mut Vec<u8>) {
        #[derive(Serialize)]
        struct Event<'a, T> {
            r#type: &'a str,
            object: T,
        }
        let line = match self.shape {
            Shape::Object if !self.converts() => {
                let object = View {
                    object,
                    api_version: &self.api_version,
                    typed: true,
                };
                serde_json::to_writer(&mut *out, &Event { r#type: kind, object })
            }
            _ => serde_json::to_writer(
                &mut *out,
                &Event {
                    r#type: kind,
                    object: self.one(object),
                },
            ),
        };
        debug_assert!(line.is_ok(), "writing JSON to memory cannot fail");
        self.knows_columns = true;
        out.push(b'\n');
    }

    /// The object of a bookmark.
    pub(crate) fn bookmark(&self, revision: &str, initial_end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": revision});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        match self.shape {
            Shape::Table => {
                json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": self.definitions(), "rows": []})
            }
            Shape::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            _ => json!({"kind": self.kind.kind, "apiVersion": self.api_version, "metadata": metadata}),
        }
    }

    /// The body for a list.
    pub(crate) fn list(&self, list: &List) -> ListBody {
        let mut items = list.items.clone();
        if self.converts() {
            items
                .iter_mut()
                .for_each(|object| self.kind.rules.to_shown(Arc::make_mut(object)));
        }
        let revision = list.revision.to_string();
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), revision.clone().into());
        if let Some(token) = &list.continue_token {
            metadata.insert("continue".into(), token.clone().into());
        } else if self.kind.is_custom() {
            // Lists of custom resources always have it.
            metadata.insert("continue".into(), "".into());
        }
        if let Some(remaining) = list.remaining.filter(|_| list.continue_token.is_some()) {
            metadata.insert("remainingItemCount".into(), remaining.into());
        }
        match self.shape {
            Shape::Table => {
                let objects: Vec<&Value> = items.iter().map(|object| &**object).collect();
                ListBody::Made(self.table(&objects, &revision, list.continue_token.as_deref(), list.remaining))
            }
            Shape::Metadata => {
                let items: Vec<Value> = items.iter().map(|object| metadata_of(object)).collect();
                ListBody::Made(
                    json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
                                      "metadata": metadata, "items": items}),
                )
            }
            _ => ListBody::Objects {
                kind: self.kind.list_kind.clone(),
                api_version: self.api_version.clone(),
                metadata,
                items,
                typed: self.kind.is_custom(),
            },
        }
    }

    fn definitions(&self) -> Value {
        if self.knows_columns {
            return Value::Null;
        }
        self.kind.columns.iter().map(columns::Column::definition).collect()
    }

    fn table(&self, objects: &[&Value], revision: &str, token: Option<&str>, remaining: Option<usize>) -> Value {
        let mut metadata = json!({"resourceVersion": revision});
        if let Some(token) = token {
            metadata["continue"] = token.into();
        }
        if let Some(remaining) = remaining.filter(|_| token.is_some()) {
            metadata["remainingItemCount"] = remaining.into();
        }
        let rows: Vec<Value> = objects
            .iter()
            .map(|object| {
                let mut row = json!({"cells": columns::row(&self.kind, object, self.now)});
                match self.include.as_str() {
                    "None" => row["object"] = Value::Null,
                    "Object" => row["object"] = (*object).clone(),
                    _ => row["object"] = metadata_of(object),
                }
                row
            })
            .collect();
        json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
               "columnDefinitions": self.definitions(), "rows": rows})
    }
}

/// A list's body; whole objects are written straight from the store.
#[derive(Debug)]
pub(crate) enum ListBody {
    Made(Value),
    Objects {
        kind: String,
        api_version: String,
        metadata: Map<String, Value>,
        items: Vec<Arc<Value>>,
        typed: bool,
    },
}

impl Serialize for ListBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Made(value) => value.serialize(serializer),
            Self::Objects {
                kind,
                api_version,
                metadata,
                items,
                typed,
            } => {
                let mut map = serializer.serialize_map(Some(4))?;
                map.serialize_entry("kind", kind)?;
                map.serialize_entry("apiVersion", api_version)?;
                map.serialize_entry("metadata", metadata)?;
                let items: Vec<View<'_>> = items
                    .iter()
                    .map(|object| View {
                        object,
                        api_version,
                        typed: *typed,
                    })
                    .collect();
                map.serialize_entry("items", &items)?;
                map.end()
            }
        }
    }
}

fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

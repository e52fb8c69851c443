//! The `managedFields` of one object: reading, changing and writing them.

use serde_json::{Map, Value};

use super::{FieldSet, compare, fieldset::Step, merge, of_value, prune};
use crate::{
    object::{Object as _, ObjectMut as _},
    schema::Schema,
    status::Status,
};

/// How a manager got its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

/// Who writes. The same name counts as another manager for each operation, version and subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub operation: Operation,
    pub name: String,
    pub api_version: String,
    pub subresource: String,
}

impl Manager {
    /// As a conflict names it.
    fn display(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

#[derive(Clone, Debug)]
struct Entry {
    manager: Manager,
    fields: FieldSet,
    time: String,
}

/// Everybody's fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Managers {
    entries: Vec<Entry>,
}

impl Managers {
    /// Reads an object's managedFields.
    pub(crate) fn read(object: &Value) -> Self {
        let entries = object
            .meta("managedFields")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|entry| {
                let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                let operation = if text("operation") == "Apply" {
                    Operation::Apply
                } else {
                    Operation::Update
                };
                Entry {
                    manager: Manager {
                        operation,
                        name: text("manager"),
                        api_version: text("apiVersion"),
                        subresource: text("subresource"),
                    },
                    fields: FieldSet::decode(entry.get("fieldsV1").unwrap_or(&Value::Null)),
                    time: text("time"),
                }
            });
        Self {
            entries: entries.collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.fields.is_empty())
    }

    /// Writes them: applied sets first, then by time and name, as the API sorts them.
    pub(crate) fn write(mut self, object: &mut Value) {
        self.entries.retain(|entry| !entry.fields.is_empty());
        self.entries.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.manager.operation, entry.time.clone(), entry.manager.clone());
            key(a).cmp(&key(b))
        });
        if self.entries.is_empty() {
            object.drop_meta("managedFields");
            return;
        }
        let entries: Vec<Value> = self.entries.iter().map(Entry::encode).collect();
        object.drop_meta("managedFields");
        object.set_meta("managedFields", entries);
    }

    /// A plain write turned `old` into `new`.
    pub(crate) fn update(&mut self, old: &Value, new: &Value, schema: &Schema, who: &Manager, now: &str) {
        let comparison = compare(&stated(old), &stated(new), schema);
        let changed = ownable(comparison.changed());
        let mut lost = changed.clone();
        lost.union(&comparison.removed);
        for entry in self.entries.iter_mut().filter(|entry| entry.manager != *who) {
            entry.fields.subtract(&lost);
        }
        match self.entries.iter_mut().find(|entry| entry.manager == *who) {
            Some(entry) => {
                entry.fields.subtract(&comparison.removed);
                if !changed.is_empty() {
                    entry.fields.union(&changed);
                    now.clone_into(&mut entry.time);
                }
            }
            None => self.entries.push(Entry {
                manager: who.clone(),
                fields: changed,
                time: now.to_owned(),
            }),
        }
    }

    /// Applies a configuration over the live object and returns the result, or the conflicts.
    pub(crate) fn apply(
        &mut self,
        live: &Value,
        config: &Value,
        schema: &Schema,
        request: &ApplyRequest<'_>,
    ) -> Result<Value, Status> {
        let who = request.who;
        let fields = ownable(of_value(&stated(config), schema));
        let last = self
            .entries
            .iter()
            .find(|entry| entry.manager == *who)
            .map(|entry| entry.fields.clone());
        match self.entries.iter_mut().find(|entry| entry.manager == *who) {
            Some(entry) => entry.fields = fields,
            // Its time is that of a change ([`Managers::touch`]): sharing what is there already changes nothing.
            None => self.entries.push(Entry {
                manager: who.clone(),
                fields,
                time: String::new(),
            }),
        }
        let mut merged = merge(live, &stated(config), schema);
        if let Some(last) = last.filter(|last| !last.is_empty()) {
            let mut owned = FieldSet::default();
            self.entries.iter().for_each(|entry| owned.union(&entry.fields));
            // Nobody's, and always there: the name is in it.
            owned.at(Step::Field("metadata".into())).member = true;
            prune(&mut merged, &last, &owned, schema);
        }
        let comparison = compare(&stated(live), &stated(&merged), schema);
        let changed = comparison.changed();
        let conflicts: Vec<(String, FieldSet)> = self
            .entries
            .iter()
            .filter(|entry| entry.manager != *who)
            .map(|entry| (entry.manager.display(), entry.fields.intersection(&changed)))
            .filter(|(_, fields)| !fields.is_empty())
            .collect();
        if !conflicts.is_empty() && !request.force {
            let named = conflicts
                .iter()
                .flat_map(|(who, set)| set.paths().into_iter().map(|path| (who.clone(), path)));
            return Err(Status::apply_conflict(&named.collect::<Vec<_>>()));
        }
        let mut lost = changed;
        lost.union(&comparison.removed);
        for entry in self.entries.iter_mut().filter(|entry| entry.manager != *who) {
            entry.fields.subtract(&lost);
        }
        Ok(merged)
    }

    /// Notes that an apply changed the object at `now`.
    pub(crate) fn touch(&mut self, who: &Manager, now: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.manager == *who) {
            now.clone_into(&mut entry.time);
        }
    }
}

/// The parameters of one apply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ApplyRequest<'a> {
    pub who: &'a Manager,
    pub force: bool,
}

impl Entry {
    fn encode(&self) -> Value {
        let mut map = Map::new();
        let mut set = |field: &str, value: Value| {
            map.insert(field.to_owned(), value);
        };
        set("manager", self.manager.name.clone().into());
        set(
            "operation",
            if self.manager.operation == Operation::Apply {
                "Apply"
            } else {
                "Update"
            }
            .into(),
        );
        set("apiVersion", self.manager.api_version.clone().into());
        if !self.time.is_empty() {
            set("time", self.time.clone().into());
        }
        set("fieldsType", "FieldsV1".into());
        set("fieldsV1", self.fields.encode());
        if !self.manager.subresource.is_empty() {
            set("subresource", self.manager.subresource.clone().into());
        }
        Value::Object(map)
    }
}

/// The object without what nobody can own: its type, and the metadata that the server keeps.
fn stated(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(map) = object.as_object_mut() {
        map.shift_remove("apiVersion");
        map.shift_remove("kind");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|field, _| !SERVER_OWNED.contains(&field.as_str()));
        }
    }
    object
}

/// Nobody owns metadata as a whole.
fn ownable(mut fields: FieldSet) -> FieldSet {
    let mut metadata = FieldSet::default();
    metadata.at(Step::Field("metadata".into())).member = true;
    fields.subtract(&metadata);
    fields
}

const SERVER_OWNED: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

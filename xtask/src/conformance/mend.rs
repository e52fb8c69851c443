//! Some steps are missing from a set of recordings: what they would have made is made here, before the step that needs it.
//!
//! Nothing here looks at what our server answers to the step itself: only at what the recorded one must have held.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::path::Path;
use super::recording::Recording;
use super::replay::Replay;

/// Every object that the recordings show, by its path.
#[derive(Debug, Default)]
pub(crate) struct Shown<'a> {
    /// In order of the recordings: the number of the recording, and the object.
    objects: HashMap<String, Vec<(&'a str, &'a Value)>>,
    /// The CustomResourceDefinition of a group and plural.
    definitions: HashMap<(String, String), &'a Value>,
}

impl<'a> Shown<'a> {
    pub(crate) fn of(recordings: &'a [Recording]) -> Self {
        let mut shown = Self::default();
        for recording in recordings {
            let Some(path) = Path::parse(&recording.request.path) else {
                continue;
            };
            let bodies = recording.response.body.iter();
            let events = recording.events().iter().map(|timed| &timed.event["object"]);
            for body in bodies.chain(events).filter(|_| recording.succeeded()) {
                let items = body["items"]
                    .as_array()
                    .map_or(std::slice::from_ref(body), Vec::as_slice);
                items
                    .iter()
                    .for_each(|object| shown.add(&recording.name, &path, object));
            }
        }
        shown
    }

    fn add(&mut self, recording: &'a str, path: &Path, object: &'a Value) {
        let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default();
        let of_another_kind = ["Table", "Status", "PartialObjectMetadata", "Scale", "TokenRequest"];
        let is_part = object["kind"]
            .as_str()
            .is_some_and(|kind| of_another_kind.contains(&kind));
        if text("name").is_empty() || text("uid").is_empty() || is_part {
            return;
        }
        let path = path.of(text("namespace"), text("name")).object();
        self.objects.entry(path).or_default().push((recording, object));
        if object["kind"] == "CustomResourceDefinition" {
            let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let key = (of(&object["spec"]["group"]), of(&object["spec"]["names"]["plural"]));
            self.definitions.entry(key).or_insert(object);
        }
    }

    /// The kind of the objects of a collection, if one was shown.
    fn kind(&self, path: &Path) -> String {
        let start = path.of("", "").object();
        let mut shown = self.objects.iter().filter(|(at, _)| at.starts_with(&start));
        let kind = shown.find_map(|(_, states)| states.first()?.1["kind"].as_str());
        kind.unwrap_or("Mending").to_owned()
    }

    /// What is known of an object before a step: its last state before it, or the first one after.
    fn before(&self, path: &str, recording: &str) -> Option<&'a Value> {
        let states = self.objects.get(path)?;
        let earlier = states.iter().rev().find(|(at, _)| *at < recording);
        earlier.or_else(|| states.first()).map(|(_, object)| *object)
    }
}

/// Whether two entries of managedFields say the same, but for the time.
fn is_same_share(one: &Value, other: &Value) -> bool {
    let fields = ["manager", "operation", "apiVersion", "subresource", "fieldsV1"];
    fields.iter().all(|field| one[field] == other[field])
}

impl Replay<'_> {
    /// Makes what the recorded server must have held before this step, and removes what it cannot have held.
    pub(crate) async fn mend(&mut self, recording: &Recording) {
        self.mend_group(recording).await;
        let Some(path) = Path::parse(&recording.request.path) else {
            return;
        };
        self.mend_definition(recording, &path).await;
        let is_write = recording.request.method != "GET" && recording.succeeded();
        if !path.namespace.is_empty() && (is_write || recording.response.events.is_some()) {
            self.mend_namespace(&path.namespace).await;
        }
        let path = path.of(&path.namespace, self.names.ours(&path.name).unwrap_or(&path.name));
        match (recording.request.method.as_str(), recording.response.status) {
            ("POST", status) if path.name.is_empty() => {
                let name = recording.request.body["metadata"]["name"].as_str().unwrap_or_default();
                let path = path.of(&path.namespace, name);
                let is_real = !name.is_empty() && !recording.request.path.contains("dryRun");
                if status == 201 && is_real {
                    self.remove(&path).await;
                } else if status == 409 && is_real && !self.exists(&path).await {
                    let known = self.shown.before(&path.object(), &recording.name);
                    let object = known.unwrap_or(&recording.request.body).clone();
                    self.make(&path, &object).await;
                }
            }
            ("GET" | "DELETE", 200) if path.name.is_empty() => self.mend_items(recording, &path).await,
            ("POST", 201) if !path.subresource_of(recording).is_empty() => {
                let known = self.shown.before(&path.object(), &recording.name).cloned();
                let mut object = known.unwrap_or_else(|| anything(&path.plural, &path.name));
                if recording.request.body["kind"] == "Binding" {
                    // It was bound by this step, so it was not before.
                    self.remove(&path).await;
                    object["spec"].as_object_mut().map(|spec| spec.remove("nodeName"));
                }
                if !self.exists(&path).await {
                    self.mend_namespace(&path.namespace).await;
                    self.make(&path, &object).await;
                }
            }
            (_, 201) if path.subresource_of(recording).is_empty() => self.remove(&path).await,
            (_, 404) if path.subresource_of(recording).is_empty() => self.remove(&path).await,
            (_, 200 | 201 | 409 | 422) if !self.exists(&path).await => {
                if let Some(object) = self.shown.before(&path.object(), &recording.name) {
                    self.make(&path, &object.clone()).await;
                } else if recording.request.method == "DELETE" {
                    // Its answer may be a Status, which shows no object.
                    self.make(&path, &json!({"metadata": {"name": path.name}})).await;
                }
            }
            _ => {}
        }
    }

    async fn mend_definition(&mut self, recording: &Recording, path: &Path) {
        let key = (path.group().to_owned(), path.plural.clone());
        let served = recording.response.status != 404 || !path.name.is_empty();
        let Some(definition) = self.shown.definitions.get(&key).copied() else {
            if served && recording.response.status < 500 && is_custom(path.group()) {
                let (_, version) = path.version.rsplit_once('/').unwrap_or_default();
                let kind = self.shown.kind(path);
                self.define(
                    path.group(),
                    &path.plural,
                    &kind,
                    !path.namespace.is_empty(),
                    &[version],
                )
                .await;
            }
            return;
        };
        let name = definition["metadata"]["name"].as_str().unwrap_or_default();
        let at = Path::parse("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").expect("a constant");
        let at = at.of("", name);
        if served && !self.exists(&at).await {
            self.make(&at, definition).await;
        }
    }

    /// A group that was served has a kind, whatever that was.
    async fn mend_group(&self, recording: &Recording) {
        let Some(body) = recording
            .response
            .body
            .as_ref()
            .filter(|body| body["kind"] == "APIGroup")
        else {
            return;
        };
        let group = body["name"].as_str().unwrap_or_default();
        let versions = body["versions"].as_array().into_iter().flatten();
        let versions: Vec<&str> = versions.filter_map(|version| version["version"].as_str()).collect();
        if is_custom(group) {
            self.define(group, "mendings", "Mending", true, &versions).await;
        }
    }

    /// Defines a kind that keeps everything, if nothing serves its group.
    async fn define(&self, group: &str, plural: &str, kind: &str, namespaced: bool, versions: &[&str]) {
        if self
            .admin("GET", &format!("/apis/{group}"), None)
            .await
            .status
            .is_success()
        {
            return;
        }
        let version = |(n, name): (usize, &&str)| {
            json!({"name": name, "served": true, "storage": n == 0, "schema": {"openAPIV3Schema":
                {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
        };
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {"group": group, "scope": if namespaced { "Namespaced" } else { "Cluster" },
                "names": {"plural": plural, "kind": kind},
                "versions": versions.iter().enumerate().map(version).collect::<Vec<_>>()},
        });
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.admin("POST", path, Some(&definition)).await;
    }

    pub(crate) async fn mend_namespace(&mut self, namespace: &str) {
        let path = Path::parse("/api/v1/namespaces").expect("a constant").of("", namespace);
        if !self.exists(&path).await {
            let known = self.shown.before(&path.object(), "").cloned();
            let object = known.unwrap_or_else(|| json!({"metadata": {"name": namespace}}));
            self.make(&path, &object).await;
        }
    }

    async fn mend_items(&mut self, recording: &Recording, path: &Path) {
        let body = recording.response.body.as_ref();
        for item in body.and_then(|body| body["items"].as_array()).into_iter().flatten() {
            let text = |key: &str| item["metadata"][key].as_str().unwrap_or_default();
            let path = path.of(text("namespace"), self.names.ours(text("name")).unwrap_or(text("name")));
            if item["kind"] != "PartialObjectMetadata" && !path.name.is_empty() && !self.exists(&path).await {
                if !path.namespace.is_empty() {
                    self.mend_namespace(&path.namespace).await;
                }
                self.make(&path, item).await;
            }
        }
    }

    pub(crate) async fn exists(&self, path: &Path) -> bool {
        self.admin("GET", &path.object(), None).await.status.is_success()
    }

    /// Creates an object as it was shown, with its status.
    pub(crate) async fn make(&mut self, path: &Path, shown: &Value) {
        let mut object = self.names.translate_body(shown, 0);
        let manager = object["metadata"]["managedFields"][0]["manager"]
            .as_str()
            .unwrap_or("unknown");
        let query = format!("?fieldManager={}", manager.replace(' ', "%20"));
        if shown["metadata"]["deletionTimestamp"].is_string()
            && let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut()
        {
            // These came with the deletion.
            finalizers.retain(|finalizer| finalizer != "foregroundDeletion" && finalizer != "orphan");
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.retain(|key, _| !SERVER_SET.contains(&key.as_str()));
        }
        if let (Some(object), "namespaces") = (object.as_object_mut(), path.plural.as_str()) {
            // Both are the server's own.
            object.retain(|key, _| key != "spec" && key != "status");
        }
        // A definition's is the server's own as well.
        let status = object
            .get("status")
            .filter(|_| object["kind"] != "CustomResourceDefinition")
            .cloned();
        let made = self.admin("POST", &(path.collection() + &query), Some(&object)).await;
        if !made.status.is_success() {
            return;
        }
        self.mended += 1;
        if let Some(status) = status {
            let patch = json!({"status": status});
            self.admin("PATCH", &format!("{}/status{query}", path.object()), Some(&patch))
                .await;
        }
        self.own(path, shown).await;
        let made = self.admin("GET", &path.object(), None).await.json();
        let text = |object: &Value, key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
        self.names.learn(&text(shown, "uid"), &text(&made, "uid"));
        self.names
            .learn_revision(&text(shown, "resourceVersion"), &text(&made, "resourceVersion"));
    }

    /// Gives the fields of an object to the managers that the recorded server showed, unless they have them already, beside what the
    /// server has added itself.
    async fn own(&self, path: &Path, shown: &Value) {
        let managers = &shown["metadata"]["managedFields"];
        if managers.as_array().is_none_or(Vec::is_empty) {
            return;
        }
        let mut object = self.admin("GET", &path.object(), None).await.json();
        let managers = self.names.translate_body(managers, 0);
        let list = |managers: &Value| managers.as_array().cloned().unwrap_or_default();
        let held = list(&object["metadata"]["managedFields"]);
        if list(&managers)
            .iter()
            .all(|shown| held.iter().any(|one| is_same_share(one, shown)))
        {
            return;
        }
        object["metadata"]["managedFields"] = managers;
        let shown = object["metadata"]["managedFields"]
            .as_array()
            .and_then(|managers| managers.first());
        let first = shown.map(|first| first["manager"].as_str().unwrap_or("unknown").replace(' ', "%20"));
        let at = format!("{}?fieldManager={}", path.object(), first.unwrap_or_default());
        self.admin("PUT", &at, Some(&object)).await;
    }

    /// Removes an object at once, whatever holds it.
    pub(crate) async fn remove(&mut self, path: &Path) {
        let held = self.admin("GET", &path.object(), None).await;
        if !held.status.is_success() {
            return;
        }
        let released = json!({"metadata": {"finalizers": null}});
        self.admin("PATCH", &path.object(), Some(&released)).await;
        self.admin("DELETE", &format!("{}?gracePeriodSeconds=0", path.object()), None)
            .await;
        if path.plural == "namespaces" {
            let released =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": path.name}, "spec": {}});
            self.admin("PUT", &format!("{}/finalize", path.object()), Some(&released))
                .await;
        }
    }
}

impl Path {
    /// The subresource of the recorded path, of which this is the object.
    fn subresource_of(&self, recording: &Recording) -> String {
        Self::parse(&recording.request.path).map_or_else(String::new, |path| path.subresource)
    }
}

/// Whether a group can come from a definition: not those of Kubernetes itself.
fn is_custom(group: &str) -> bool {
    group.contains('.') && !group.ends_with(".k8s.io")
}

/// An object of which nothing but its existence is known.
fn anything(plural: &str, name: &str) -> Value {
    let mut object = json!({"metadata": {"name": name}});
    if plural == "pods" {
        object["spec"] = json!({"containers": [{"name": "c", "image": "i"}]});
    }
    object
}

/// What a client cannot say of an object.
const SERVER_SET: &[&str] = &[
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "managedFields",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
];

//! OpenAPI v3: one document a group and version, made when it is asked for.
//!
//! kubectl reads from it which fields exist (`explain`, client-side apply) and that the server checks fields itself (the
//! `fieldValidation` parameter of the patch operation).

use std::collections::BTreeSet;

use axum::response::Response;
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::{Call, respond};
use crate::{
    kinds::{Kind, Origin, Registry},
    object::{list_at, text_at},
    schema::builtin,
    server::Server,
    status::Status,
    store::{Key, Resource},
};

/// The list of documents. A hash names the content, so that clients may cache it for good.
pub(crate) fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path = document_path(&group, &version);
            let url = format!("{path}?hash={}", hash(registry, &group, &version));
            let name = path.trim_start_matches("/openapi/v3/").to_owned();
            paths.insert(name, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// Built-in schemas change with the program only, custom ones with their definition: both show in their fields' names.
fn hash(registry: &Registry, group: &str, version: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(concat!(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), "1"));
    for kind in registry.of_version(group, version) {
        hasher.update(format!("{group}/{version}/{}", kind.resource.plural));
        if kind.is_custom() {
            hasher.update(format!("{:?}", kind.schema));
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

pub(crate) fn document(
    server: &Server,
    registry: &Registry,
    group: &str,
    version: &str,
    call: &Call,
) -> Result<Response, Status> {
    let kinds: Vec<&Kind> = registry.of_version(group, version).map(|kind| &**kind).collect();
    if kinds.is_empty() {
        return Err(Status::no_such_page());
    }
    let hash = hash(registry, group, version);
    let asked = call.query.text("hash");
    if !asked.is_empty() && !asked.eq_ignore_ascii_case(&hash) {
        return Ok(elsewhere(group, version, &hash));
    }
    let definitions = builtin::definitions();
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for kind in kinds {
        let name = match &kind.origin {
            Origin::Builtin { definition } => (*definition).to_owned(),
            Origin::Custom { crd } => {
                let name = custom_name(kind);
                if let Some(schema) = custom_schema(server, crd, kind) {
                    schemas.insert(name.clone(), schema);
                }
                name
            }
        };
        add_schema(&name, &definitions, &mut schemas);
        if let Some(schema) = schemas.get_mut(&name) {
            schema["x-kubernetes-group-version-kind"] = json!([identity(kind)]);
        }
        add_paths(kind, &name, &mut paths);
    }
    for name in ["DeleteOptions", "Status", "ObjectMeta"] {
        add_schema(
            &format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}"),
            &definitions,
            &mut schemas,
        );
    }
    let body = json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "1.33"},
        "paths": paths,
        "components": {"schemas": schemas},
    });
    Ok(tagged(respond::body(200, &body, &call.accept), &hash))
}

/// Where the document is, for whoever has an old hash.
fn elsewhere(group: &str, version: &str, hash: &str) -> Response {
    let path = format!("{}?hash={hash}", document_path(group, version));
    let mut response = respond::bytes_of(301, "application/json", Vec::new());
    if let Ok(location) = HeaderValue::from_str(&path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    tagged(response, hash)
}

/// Names the content, which depends on what the client accepts.
fn tagged(mut response: Response, hash: &str) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{hash}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/openapi/v3/api/{version}")
    } else {
        format!("/openapi/v3/apis/{group}/{version}")
    }
}

fn identity(kind: &Kind) -> Value {
    json!({"group": kind.group(), "version": kind.version, "kind": kind.kind})
}

/// `dev.tombolo.v1alpha1.Gateway` for group `tombolo.dev`: as the real server names them.
fn custom_name(kind: &Kind) -> String {
    let reversed: Vec<&str> = kind.group().rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind)
}

fn custom_schema(server: &Server, crd: &str, kind: &Kind) -> Option<Value> {
    let key = Key::new(
        &Resource::new("apiextensions.k8s.io", "customresourcedefinitions"),
        "",
        crd,
    );
    let definition = server.store().get(&key).cloned()?;
    let versions = list_at(&definition, &["spec", "versions"]);
    let version = versions
        .iter()
        .find(|version| text_at(version, &["name"]) == kind.version)?;
    let mut schema = version.get("schema")?.get("openAPIV3Schema")?.clone();
    let metadata = "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    for (field, described) in [
        (
            "apiVersion",
            json!({"type": "string", "description": "The versioned schema of this representation of an object."}),
        ),
        (
            "kind",
            json!({"type": "string", "description": "The REST resource this object represents."}),
        ),
        (
            "metadata",
            json!({"allOf": [{"$ref": metadata}], "description": "Standard object's metadata."}),
        ),
    ] {
        crate::object::child_mut(&mut schema, "properties").insert(field.into(), described);
    }
    Some(schema)
}

/// Adds a definition and everything that it refers to.
fn add_schema(name: &str, definitions: &Map<String, Value>, schemas: &mut Map<String, Value>) {
    if !schemas.contains_key(name) {
        let Some(definition) = definitions.get(name) else {
            return;
        };
        let mut schema = definition.clone();
        wrap_references(&mut schema);
        schemas.insert(name.to_owned(), schema);
    }
    let mut missing = BTreeSet::new();
    references(&schemas[name], &mut missing);
    for name in missing {
        if !schemas.contains_key(&name) {
            add_schema(&name, definitions, schemas);
        }
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map
                .get("$ref")
                .and_then(Value::as_str)
                .and_then(|text| text.rsplit('/').next())
            {
                found.insert(name.to_owned());
            }
            map.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

/// OpenAPI v3 ignores what stands beside a `$ref`, so the reference moves into an `allOf`.
fn wrap_references(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.len() > 1
                && map.get("$ref").is_some_and(Value::is_string)
                && let Some(reference) = map.shift_remove("$ref")
            {
                map.insert("allOf".into(), json!([{"$ref": reference}]));
            }
            map.values_mut().for_each(wrap_references);
        }
        Value::Array(items) => items.iter_mut().for_each(wrap_references),
        _ => {}
    }
}

fn add_paths(kind: &Kind, name: &str, paths: &mut Map<String, Value>) {
    let root = if kind.group().is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group(), kind.version)
    };
    let root = if kind.namespaced {
        format!("{root}/namespaces/{{namespace}}")
    } else {
        root
    };
    let all = format!("{root}/{}", kind.resource.plural);
    let content = json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{name}")}}});
    let query = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let operation = |action: &str| {
        let mut operation = json!({
            "operationId": format!("{action}{}{}", kind.version, kind.kind),
            "responses": {"200": {"description": "OK", "content": content}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": identity(kind),
        });
        if ["post", "put", "patch"].contains(&action) {
            operation["parameters"] = json!([query("dryRun"), query("fieldManager"), query("fieldValidation")]);
            operation["requestBody"] = json!({"content": content});
        }
        operation
    };
    let in_path = |name: &str| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}});
    let mut parameters: Vec<Value> = if kind.namespaced {
        vec![in_path("namespace")]
    } else {
        Vec::new()
    };
    let verbs = kind.verbs();
    let mut collection = json!({"post": operation("post")});
    if verbs.contains(&"list") {
        collection["get"] = operation("list");
    }
    collection["parameters"] = parameters.clone().into();
    paths.insert(all.clone(), collection);
    if verbs.contains(&"get") {
        parameters.push(in_path("name"));
        let one = json!({"get": operation("get"), "put": operation("put"), "patch": operation("patch"),
                         "delete": operation("delete"), "parameters": parameters});
        paths.insert(format!("{all}/{{name}}"), one);
    }
}

//! Paths that are not resources: what is served, in which versions, and how the server is.

use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Call, negotiate::Shape, oidc, openapi, respond};
use crate::{
    kinds::{Kind, Registry},
    server::Server,
    status::Status,
    store::{Key, Resource},
};

pub(crate) fn answer(server: &Server, call: &Call) -> Result<Response, Status> {
    if call.method != Method::GET {
        return Err(Status::method_not_allowed());
    }
    if let Some(answer) = oidc::answer(server, call) {
        return answer;
    }
    let registry = server.registry();
    let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        [""] => Ok(respond::body(200, &json!({"paths": roots(&registry)}), &call.accept)),
        ["version"] => Ok(respond::bytes_of(200, "application/json", pretty(&version()))),
        ["healthz" | "livez" | "readyz", ..] => Ok(health(server, call)),
        ["api" | "apis"] => match call.accept.shape() {
            Shape::Discovery(version) => Ok(aggregated(&registry, call, version, parts[0] == "api")),
            _ if parts[0] == "api" => Ok(respond::body(200, &core_versions(server), &call.accept)),
            _ => Ok(respond::body(200, &groups(&registry), &call.accept)),
        },
        ["api", version] => resources(&registry, "", version, call),
        ["apis", group] => {
            let found = registry.groups().into_iter().find(|(name, _)| name == group);
            let (name, versions) = found.ok_or_else(Status::no_such_page)?;
            let mut body = json!({"kind": "APIGroup", "apiVersion": "v1"});
            if let (Value::Object(body), Value::Object(group)) = (&mut body, group_entry(&name, &versions)) {
                body.extend(group);
            }
            Ok(respond::body(200, &body, &call.accept))
        }
        ["apis", group, version] => resources(&registry, group, version, call),
        ["openapi", "v3"] => {
            // Compact JSON under this media type: so the real server has it.
            let index = serde_json::to_vec(&openapi::index(&registry)).unwrap_or_default();
            Ok(respond::bytes_of(200, "text/plain; charset=utf-8", index))
        }
        ["openapi", "v3", "api", version] => openapi::document(server, &registry, "", version, call),
        ["openapi", "v3", "apis", group, version] => openapi::document(server, &registry, group, version, call),
        _ => Err(Status::no_such_page()),
    }
}

/// Whether an APIService announces this group and version as another server's. No other server is ever asked.
pub(crate) fn is_elsewhere(server: &Server, group: &str, version: &str) -> bool {
    let services = Resource::new("apiregistration.k8s.io", "apiservices");
    let announced = server
        .store()
        .get(&Key::new(&services, "", &format!("{version}.{group}")))
        .cloned();
    announced.is_some_and(|service| service["spec"]["service"].is_object())
}

fn roots(registry: &Registry) -> Vec<String> {
    let first = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"];
    let mut roots: Vec<String> = first.map(str::to_owned).into();
    for (group, versions) in registry.groups().into_iter().filter(|(group, _)| !group.is_empty()) {
        roots.push(format!("/apis/{group}"));
        roots.extend(versions.iter().map(|version| format!("/apis/{group}/{version}")));
    }
    roots.extend(
        [
            "/healthz",
            "/livez",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    roots.sort_unstable();
    roots
}

/// The Kubernetes version whose behaviour this is.
fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR, "gitVersion": format!("v1.{MINOR}.0+embedded"), "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    })
}

fn pretty(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap_or_default()
}

fn health(server: &Server, call: &Call) -> Response {
    let verbose = call.query.has("verbose");
    let (code, text) = match server.health() {
        Ok(()) if verbose => (
            200,
            format!(
                "[+]ping ok\n[+]journal ok\n{} check passed\n",
                call.path.trim_matches('/')
            ),
        ),
        Ok(()) => (200, "ok".to_owned()),
        Err(why) => (
            500,
            format!(
                "[+]ping ok\n[-]journal failed: {why}\n{} check failed\n",
                call.path.trim_matches('/')
            ),
        ),
    };
    respond::bytes_of(code, "text/plain; charset=utf-8", text)
}

fn core_versions(server: &Server) -> Value {
    let address = server.advertise.map(|address| address.to_string()).unwrap_or_default();
    json!({"kind": "APIVersions", "versions": ["v1"],
           "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]})
}

fn group_entry(name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions[0]})
}

fn groups(registry: &Registry) -> Value {
    let named = registry.groups().into_iter().filter(|(name, _)| !name.is_empty());
    let groups: Vec<Value> = named.map(|(name, versions)| group_entry(&name, &versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// The resources of one version, each followed by its subresources.
fn resources(registry: &Registry, group: &str, version: &str, call: &Call) -> Result<Response, Status> {
    let mut resources = Vec::new();
    for kind in registry.of_version(group, version) {
        let mut entry = json!({"name": *kind.resource.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
                               "kind": kind.kind, "verbs": kind.verbs()});
        if !kind.short_names.is_empty() {
            entry["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            entry["categories"] = json!(kind.categories);
        }
        if !kind.traits.review {
            entry["storageVersionHash"] = kind.storage_version_hash().into();
        }
        resources.push(entry);
        for sub in kind.subresources() {
            let mut entry = json!({"name": format!("{}/{}", kind.resource.plural, sub.name), "singularName": "",
                                   "namespaced": kind.namespaced});
            if (sub.group.as_str(), sub.version.as_str()) != (group, version) {
                entry["group"] = sub.group.into();
                entry["version"] = sub.version.into();
            }
            entry["kind"] = sub.kind.into();
            entry["verbs"] = json!(sub.verbs);
            resources.push(entry);
        }
    }
    if resources.is_empty() {
        return Err(Status::no_such_page());
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let body =
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources});
    Ok(respond::body(200, &body, &call.accept))
}

/// Everything in one document, with an ETag.
fn aggregated(registry: &Registry, call: &Call, version: &'static str, core: bool) -> Response {
    let items: Vec<Value> = registry
        .groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = registry.of_version(&group, version).map(|kind| entry(kind)).collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if core { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let body = json!({"kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                      "metadata": {}, "items": items});
    let bytes = respond::json(&body);
    let tag: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let tag = format!("\"{tag}\"");
    let kind = match version {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    let mut response = respond::bytes_of(200, kind, bytes);
    if call.if_none_match == tag {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}

fn entry(kind: &Kind) -> Value {
    let of = |group: &str, version: &str, name: &str| json!({"group": group, "version": version, "kind": name});
    let own = if kind.is_custom() {
        of(kind.group(), &kind.version, &kind.kind)
    } else {
        of("", "", &kind.kind)
    };
    let mut entry = json!({
        "resource": *kind.resource.plural, "responseKind": own,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs(),
    });
    if !kind.short_names.is_empty() {
        entry["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        entry["categories"] = json!(kind.categories);
    }
    let subresources: Vec<Value> = kind
        .subresources()
        .into_iter()
        .map(|sub| {
            let is_of_the_same_version = (sub.group.as_str(), &sub.version) == (kind.group(), &kind.version);
            let shown = match sub.kind == kind.kind {
                true => own.clone(),
                false if is_of_the_same_version => of("", "", &sub.kind),
                false => of(&sub.group, &sub.version, &sub.kind),
            };
            json!({"subresource": sub.name, "responseKind": shown, "verbs": sub.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        entry["subresources"] = subresources.into();
    }
    entry
}

const MINOR: &str = "33";

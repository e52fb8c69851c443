//! Paths of resources.

use http::Method;

use crate::{status::Status, store::Resource};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Discovery, health, OpenAPI, or nothing.
    Path,
    Resource(Target),
}

/// A resource, an object in it, or a subresource of that. Unused parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub group: String,
    pub version: String,
    pub namespace: String,
    pub plural: String,
    pub name: String,
    pub subresource: String,
}

impl Route {
    /// `/api/v1/…` and `/apis/group/version/…` with a resource behind are resources; everything else is a path.
    pub(crate) fn parse(path: &str) -> Self {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Self::Path,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..] if !(group.is_empty() && is_namespace_part(plural)) => {
                (*namespace, [&[*plural], rest].concat())
            }
            rest => ("", rest.to_vec()),
        };
        let (plural, name, subresource) = match rest.as_slice() {
            [plural] => (*plural, "", String::new()),
            [plural, name] => (*plural, *name, String::new()),
            [plural, name, sub @ ..] => (*plural, *name, sub.join("/")),
            [] => return Self::Path,
        };
        // Reading a namespace is authorised within it.
        let own = if group.is_empty() && plural == "namespaces" {
            name
        } else {
            namespace
        };
        let text = |text: &str| text.to_owned();
        Self::Resource(Target {
            group: text(group),
            version: text(version),
            namespace: text(own),
            plural: text(plural),
            name: text(name),
            subresource,
        })
    }
}

impl Target {
    pub(crate) fn resource(&self) -> Resource {
        Resource::new(&self.group, &self.plural)
    }

    /// The verb of a request, as authorisation and discovery name it.
    pub(crate) fn verb(&self, method: &Method, is_watch: bool) -> Result<&'static str, Status> {
        let one = !self.name.is_empty();
        match (method.as_str(), one) {
            ("GET", true) => Ok("get"),
            ("GET", false) if is_watch => Ok("watch"),
            ("GET", false) => Ok("list"),
            ("POST", false) => Ok("create"),
            ("POST", true) if !self.subresource.is_empty() => Ok("create"),
            ("PUT", true) => Ok("update"),
            ("PATCH", true) => Ok("patch"),
            ("DELETE", true) => Ok("delete"),
            ("DELETE", false) => Ok("deletecollection"),
            _ => Err(Status::method_not_allowed()),
        }
    }
}

/// `/api/v1/namespaces/x/status` is about the namespace, not in it.
fn is_namespace_part(part: &str) -> bool {
    matches!(part, "status" | "finalize")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str) -> [String; 6] {
        match Route::parse(path) {
            Route::Resource(t) => [t.group, t.version, t.namespace, t.plural, t.name, t.subresource],
            Route::Path => Default::default(),
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(target("/api/v1/pods"), ["", "v1", "", "pods", "", ""]);
        assert_eq!(
            target("/api/v1/namespaces/a/pods/p/status"),
            ["", "v1", "a", "pods", "p", "status"]
        );
        assert_eq!(target("/api/v1/namespaces/a"), ["", "v1", "a", "namespaces", "a", ""]);
        assert_eq!(
            target("/api/v1/namespaces/a/status"),
            ["", "v1", "a", "namespaces", "a", "status"]
        );
        assert_eq!(
            target("/apis/apps/v1/namespaces/a/deployments"),
            ["apps", "v1", "a", "deployments", "", ""]
        );
        assert_eq!(target("/apis/x.io/v1/things/t"), ["x.io", "v1", "", "things", "t", ""]);
        for path in [
            "/",
            "/api",
            "/api/v1",
            "/apis/apps",
            "/apis/apps/v1",
            "/healthz",
            "/openapi/v3/api/v1",
        ] {
            assert_eq!(Route::parse(path), Route::Path, "{path}");
        }
    }
}

//! Where a request goes.

/// A path of the resource API, in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// `/api/v1` or `/apis/<group>/<version>`.
    pub(crate) version: String,
    /// Empty for what has none.
    pub(crate) namespace: String,
    pub(crate) plural: String,
    /// Empty for a collection.
    pub(crate) name: String,
    /// Empty for the object itself.
    pub(crate) subresource: String,
}

impl Path {
    /// `None` for what is not a resource: discovery, health, OpenAPI.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let (version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => (format!("/api/{version}"), rest),
            ["apis", group, version, rest @ ..] => (format!("/apis/{group}/{version}"), rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => (*namespace, rest),
            rest => ("", rest),
        };
        let at = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        Some(Self {
            version,
            namespace: namespace.to_owned(),
            plural: rest.first().map(|plural| (*plural).to_owned())?,
            name: at(1),
            subresource: at(2),
        })
    }

    pub(crate) fn group(&self) -> &str {
        self.version
            .strip_prefix("/apis/")
            .map_or("", |rest| rest.split('/').next().unwrap_or_default())
    }

    pub(crate) fn collection(&self) -> String {
        if self.namespace.is_empty() {
            format!("{}/{}", self.version, self.plural)
        } else {
            format!("{}/namespaces/{}/{}", self.version, self.namespace, self.plural)
        }
    }

    pub(crate) fn object(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }

    /// An object of the same kind.
    pub(crate) fn of(&self, namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fall_into_parts() {
        let path = Path::parse("/apis/apps/v1/namespaces/a/deployments/b/status?x=1").unwrap();
        assert_eq!(path.object(), "/apis/apps/v1/namespaces/a/deployments/b");
        assert_eq!((path.group(), path.subresource.as_str()), ("apps", "status"));
        let namespace = Path::parse("/api/v1/namespaces/a/finalize").unwrap();
        assert_eq!(namespace.object(), "/api/v1/namespaces/a");
        assert_eq!(namespace.subresource, "finalize");
        assert_eq!(Path::parse("/api/v1/namespaces").unwrap().name, "");
        assert_eq!(Path::parse("/apis/apps"), None);
        assert_eq!(Path::parse("/readyz"), None);
    }
}

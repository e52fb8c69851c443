//! What a policy or a binding is about: kinds, operations, labels.

use serde_json::Value;

use super::{Request, namespace};
use crate::{
    object::{Object as _, list_at, strings_at, text_at},
    selector::LabelSelector,
    store::Txn,
};

/// `matchConstraints` of a policy, or `matchResources` of a binding.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// None: everything.
    included: Vec<ResourceRule>,
    excluded: Vec<ResourceRule>,
    namespaces: LabelSelector,
    objects: LabelSelector,
    /// Another version of the same resource counts too.
    equivalent: bool,
}

#[derive(Clone, Debug)]
struct ResourceRule {
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    operations: Vec<String>,
    names: Vec<String>,
    scope: String,
}

impl Scope {
    pub(super) fn read(written: &Value) -> Self {
        let rules = |field: &str| list_at(written, &[field]).iter().map(ResourceRule::read).collect();
        Self {
            included: rules("resourceRules"),
            excluded: rules("excludeResourceRules"),
            namespaces: LabelSelector::from_object(&written["namespaceSelector"]),
            objects: LabelSelector::from_object(&written["objectSelector"]),
            equivalent: text_at(written, &["matchPolicy"]) != "Exact",
        }
    }

    pub(super) fn covers(&self, txn: &Txn<'_>, request: &Request<'_>) -> bool {
        let meets = |rules: &[ResourceRule]| rules.iter().any(|rule| rule.covers(request, self.equivalent));
        !meets(&self.excluded)
            && (self.included.is_empty() || meets(&self.included))
            && self.covers_namespace(txn, request)
            && self.covers_labels(request)
    }

    /// A namespace is judged by its own labels, what is in none always counts.
    fn covers_namespace(&self, txn: &Txn<'_>, request: &Request<'_>) -> bool {
        let kind = request.write.kind;
        if kind.group().is_empty() && &*kind.resource.plural == "namespaces" {
            let own = request.object.or(request.old);
            return own.is_none_or(|own| self.namespaces.matches(labels(own)));
        }
        if !kind.namespaced {
            return true;
        }
        let found = namespace(txn, request.write.namespace);
        self.namespaces.matches(found.as_deref().and_then(labels))
    }

    fn covers_labels(&self, request: &Request<'_>) -> bool {
        let mut objects = request.object.iter().chain(&request.old);
        objects.any(|object| self.objects.matches(labels(object)))
    }
}

impl ResourceRule {
    fn read(written: &Value) -> Self {
        let texts = |field: &str| strings_at(written, &[field]).into_iter().map(str::to_owned).collect();
        Self {
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            operations: texts("operations"),
            names: texts("resourceNames"),
            scope: text_at(written, &["scope"]).to_owned(),
        }
    }

    fn covers(&self, request: &Request<'_>, equivalent: bool) -> bool {
        let kind = request.write.kind;
        let lists = |list: &[String], wanted: &str| list.iter().any(|one| one == "*" || one == wanted);
        let version = lists(&self.versions, &kind.version)
            || (equivalent
                && self.versions.iter().any(|version| {
                    request
                        .write
                        .registry
                        .find(kind.group(), version, &kind.resource.plural)
                        .is_some()
                }));
        let scope = match self.scope.as_str() {
            "Namespaced" => kind.namespaced,
            "Cluster" => !kind.namespaced,
            _ => true,
        };
        lists(&self.operations, request.operation.name())
            && lists(&self.groups, kind.group())
            && version
            && scope
            && (self.names.is_empty() || self.names.iter().any(|name| name == request.name))
            && self
                .resources
                .iter()
                .any(|pattern| is_resource(pattern, &kind.resource.plural, request.write.subresource))
    }
}

/// `pods`, `pods/status`, `pods/*`, `*/status`, `*` (no subresources), `*/*`.
fn is_resource(pattern: &str, plural: &str, subresource: &str) -> bool {
    let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
    let whole = resource == "*" || resource == plural;
    whole && (sub == subresource || (sub == "*"))
}

fn labels(object: &Value) -> Option<&serde_json::Map<String, Value>> {
    object.meta("labels").and_then(Value::as_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_resources() {
        let cases = [
            ("pods", "pods", "", true),
            ("pods", "pods", "status", false),
            ("pods/status", "pods", "status", true),
            ("pods/*", "pods", "status", true),
            ("pods/*", "pods", "", true),
            ("*", "pods", "", true),
            ("*", "pods", "status", false),
            ("*/scale", "gadgets", "scale", true),
            ("*/*", "pods", "status", true),
            ("nodes", "pods", "", false),
        ];
        for (pattern, plural, sub, expected) in cases {
            assert_eq!(is_resource(pattern, plural, sub), expected, "{pattern} {plural}/{sub}");
        }
    }
}

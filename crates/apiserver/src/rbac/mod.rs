//! Role-based access control: is there a role, bound to this user, with a rule that covers the request?
//!
//! Roles and bindings are ordinary objects in the store and are read as they are, so a change counts from the next request on.
//! Members of `system:masters` may do everything, so that no edit can lock everybody out.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    auth::User,
    object::{Object as _, list_at, strings_at, text_at},
    store::{Key, Place, Resource, Txn},
};

pub(crate) mod bootstrap;
mod escalation;

pub(crate) use escalation::check as check_escalation;

/// What a request wants to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Resource {
        verb: String,
        group: String,
        resource: String,
        subresource: String,
        namespace: String,
        name: String,
    },
    Path {
        verb: String,
        path: String,
    },
}

/// Why the action is allowed; none if it is not.
pub(crate) fn allows(txn: &Txn<'_>, user: &User, action: &Action) -> Option<String> {
    if user.is_master() {
        return Some(String::new());
    }
    let namespace = match action {
        Action::Resource { namespace, .. } => namespace.as_str(),
        Action::Path { .. } => "",
    };
    bound(txn, user, namespace).into_iter().find_map(|bound| {
        let role = bound.role(txn)?;
        let mut rules = rules(&role).iter();
        rules.any(|rule| covers(rule, action)).then(|| bound.reason())
    })
}

/// All rules that a user has in a namespace (or, without one, for the whole cluster).
pub(crate) fn grants(txn: &Txn<'_>, user: &User, namespace: &str) -> Vec<Value> {
    let roles = bound(txn, user, namespace)
        .into_iter()
        .filter_map(|bound| bound.role(txn));
    roles.flat_map(|role| rules(&role).to_vec()).collect()
}

/// The rules of a role that a binding refers to; none if there is no such role.
pub(crate) fn rules_of(txn: &Txn<'_>, reference: &Value, namespace: &str) -> Option<Vec<Value>> {
    Some(rules(&*role_of(txn, reference, namespace)?).to_vec())
}

fn role_of(txn: &Txn<'_>, reference: &Value, namespace: &str) -> Option<Arc<Value>> {
    let name = text_at(reference, &["name"]);
    let key = match text_at(reference, &["kind"]) {
        "Role" => Key::new(&resource("roles"), namespace, name),
        _ => Key::new(&resource("clusterroles"), "", name),
    };
    txn.get(&key)
}

fn rules(role: &Value) -> &[Value] {
    list_at(role, &["rules"])
}

/// A binding that names a user.
struct Bound<'a> {
    binding: Arc<Value>,
    /// Where it holds; empty for the whole cluster.
    namespace: &'a str,
    /// As what it names the user.
    subject: String,
}

/// The bindings that name a user, those of the whole cluster first.
fn bound<'a>(txn: &Txn<'_>, user: &User, namespace: &'a str) -> Vec<Bound<'a>> {
    let mut found = Vec::new();
    let mut look = |bindings: Vec<(Place, Arc<Value>)>, namespace: &'a str| {
        found.extend(bindings.into_iter().filter_map(|(_, binding)| {
            let subject = subject_of(&binding, user, namespace)?;
            Some(Bound {
                binding,
                namespace,
                subject,
            })
        }));
    };
    look(txn.list(&resource("clusterrolebindings"), None), "");
    if !namespace.is_empty() {
        look(txn.list(&resource("rolebindings"), Some(namespace)), namespace);
    }
    found
}

impl Bound<'_> {
    /// The role; one that does not exist grants nothing.
    fn role(&self, txn: &Txn<'_>) -> Option<Arc<Value>> {
        role_of(txn, &self.binding["roleRef"], self.namespace)
    }

    fn reason(&self) -> String {
        let reference = &self.binding["roleRef"];
        let (kind, role) = (text_at(reference, &["kind"]), text_at(reference, &["name"]));
        let (name, namespace, subject) = (self.binding.name(), self.namespace, &self.subject);
        let through = match namespace {
            "" => format!("ClusterRoleBinding \"{name}\""),
            _ => format!("RoleBinding \"{name}/{namespace}\""),
        };
        format!("RBAC: allowed by {through} of {kind} \"{role}\" to {subject}")
    }
}

fn subject_of(binding: &Value, user: &User, namespace: &str) -> Option<String> {
    let subjects = binding.get("subjects")?.as_array()?;
    subjects.iter().find_map(|subject| {
        let name = text_at(subject, &["name"]);
        match text_at(subject, &["kind"]) {
            "User" => (user.name == name).then(|| format!("User \"{name}\"")),
            "Group" => user
                .groups
                .iter()
                .any(|group| group == name)
                .then(|| format!("Group \"{name}\"")),
            "ServiceAccount" => {
                let own = text_at(subject, &["namespace"]);
                let own = if own.is_empty() { namespace } else { own };
                let full = format!("system:serviceaccount:{own}:{name}");
                (user.name == full).then(|| format!("ServiceAccount \"{name}/{own}\""))
            }
            _ => None,
        }
    })
}

/// Whether a rule covers an action.
pub(crate) fn covers(rule: &Value, action: &Action) -> bool {
    let has = |field: &str, wanted: &str| {
        strings_at(rule, &[field])
            .into_iter()
            .any(|one| one == "*" || one == wanted)
    };
    match action {
        Action::Resource {
            verb,
            group,
            resource,
            subresource,
            name,
            ..
        } => {
            let names = strings_at(rule, &["resourceNames"]);
            has("verbs", verb)
                && has("apiGroups", group)
                && covers_resource(rule, resource, subresource)
                && (names.is_empty() || names.contains(&name.as_str()))
        }
        Action::Path { verb, path } => {
            let urls = strings_at(rule, &["nonResourceURLs"]);
            has("verbs", verb)
                && urls.into_iter().any(|url| match url.strip_suffix('*') {
                    Some(prefix) => path.starts_with(prefix),
                    None => path == url,
                })
        }
    }
}

fn covers_resource(rule: &Value, resource: &str, subresource: &str) -> bool {
    strings_at(rule, &["resources"])
        .into_iter()
        .any(|one| match one.split_once('/') {
            _ if one == "*" => true,
            None => subresource.is_empty() && one == resource,
            Some((parent, sub)) => {
                (parent == "*" || parent == resource) && sub == subresource && !subresource.is_empty()
            }
        })
}

fn resource(plural: &str) -> Resource {
    Resource::new("rbac.authorization.k8s.io", plural)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn action(verb: &str, group: &str, resource: &str, subresource: &str, name: &str) -> Action {
        let [verb, group, resource, subresource, name] = [verb, group, resource, subresource, name].map(str::to_owned);
        Action::Resource {
            verb,
            group,
            resource,
            subresource,
            namespace: "ns".into(),
            name,
        }
    }

    #[test]
    fn a_rule_covers_what_it_says_and_no_more() {
        let rule = json!({"verbs": ["get", "create"], "apiGroups": [""], "resources": ["secrets", "serviceaccounts/token"],
                          "resourceNames": ["one"]});
        assert!(covers(&rule, &action("get", "", "secrets", "", "one")));
        assert!(!covers(&rule, &action("get", "", "secrets", "", "two")));
        assert!(!covers(&rule, &action("list", "", "secrets", "", "")));
        assert!(!covers(&rule, &action("get", "apps", "secrets", "", "one")));
        assert!(covers(&rule, &action("create", "", "serviceaccounts", "token", "one")));
        assert!(!covers(&rule, &action("create", "", "serviceaccounts", "", "one")));
        let any = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
        assert!(covers(&any, &action("patch", "x", "y", "status", "z")));
        let paths = json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/api/*"]});
        let path = |path: &str| Action::Path {
            verb: "get".into(),
            path: path.into(),
        };
        assert!(
            covers(&paths, &path("/api/v1")) && covers(&paths, &path("/healthz")) && !covers(&paths, &path("/metrics"))
        );
    }
}

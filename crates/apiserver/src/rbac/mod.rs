//! Role-based access control: is there a role, bound to this user, with a rule that covers the request?
//!
//! Roles and bindings are ordinary objects in the store and are read as they are, so a change counts from the next request on.
//! Members of `system:masters` may do everything, so that no edit can lock everybody out.

use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::{
    auth::User,
    object::{Object as _, list_at, strings_at, text_at},
    store::{Key, Resource, Txn},
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

/// What allows an action.
#[derive(Debug)]
pub(crate) enum Grant<'a> {
    /// Membership of `system:masters`.
    Master,
    Bound(Bound<'a>),
}

/// What allows the action; none if nothing does.
pub(crate) fn allows<'a>(txn: &'a Txn<'_>, user: &'a User, action: &'a Action) -> Option<Grant<'a>> {
    if user.is_master() {
        return Some(Grant::Master);
    }
    let namespace = match action {
        Action::Resource { namespace, .. } => namespace.as_str(),
        Action::Path { .. } => "",
    };
    let mut bound = bound(txn, user, namespace);
    let grant = bound.find(|bound| {
        let role = bound.role(txn);
        role.is_some_and(|role| rules(&role).iter().any(|rule| covers(rule, action)))
    });
    grant.map(Grant::Bound)
}

/// All rules that a user has in a namespace (or, without one, for the whole cluster).
pub(crate) fn grants(txn: &Txn<'_>, user: &User, namespace: &str) -> Vec<Value> {
    let roles = bound(txn, user, namespace).filter_map(|bound| bound.role(txn));
    roles.flat_map(|role| rules(&role).to_vec()).collect()
}

/// The rules of a role that a binding refers to; none if there is no such role.
pub(crate) fn rules_of(txn: &Txn<'_>, reference: &Value, namespace: &str) -> Option<Vec<Value>> {
    Some(rules(&*role_of(txn, reference, namespace)?).to_vec())
}

fn role_of(txn: &Txn<'_>, reference: &Value, namespace: &str) -> Option<Arc<Value>> {
    let name = text_at(reference, &["name"]);
    let key = match text_at(reference, &["kind"]) {
        "Role" => Key::new(&ROLES, namespace, name),
        _ => Key::new(&CLUSTER_ROLES, "", name),
    };
    txn.get(&key)
}

fn rules(role: &Value) -> &[Value] {
    list_at(role, &["rules"])
}

/// A binding that names a user.
#[derive(Debug)]
pub(crate) struct Bound<'a> {
    binding: &'a Value,
    /// Where it holds; empty for the whole cluster.
    namespace: &'a str,
    /// As what it names the user.
    subject: &'a Value,
}

/// The bindings that name a user, those of the whole cluster first.
fn bound<'a>(txn: &'a Txn<'_>, user: &'a User, namespace: &'a str) -> impl Iterator<Item = Bound<'a>> {
    let of_cluster = txn.objects(&CLUSTER_ROLE_BINDINGS, None).map(|binding| (binding, ""));
    let of_namespace = txn.objects(&ROLE_BINDINGS, Some(namespace));
    let of_namespace = of_namespace
        .filter(move |_| !namespace.is_empty())
        .map(move |binding| (binding, namespace));
    of_cluster.chain(of_namespace).filter_map(|(binding, namespace)| {
        let mut subjects = list_at(binding, &["subjects"]).iter();
        let subject = subjects.find(|subject| names(subject, user, namespace))?;
        Some(Bound {
            binding,
            namespace,
            subject,
        })
    })
}

impl Grant<'_> {
    /// Why, as an access review says it.
    pub(crate) fn reason(&self) -> String {
        let Self::Bound(bound) = self else {
            return String::new();
        };
        let reference = &bound.binding["roleRef"];
        let (kind, role) = (text_at(reference, &["kind"]), text_at(reference, &["name"]));
        let (name, namespace, subject) = (bound.binding.name(), bound.namespace, bound.subject());
        let through = match namespace {
            "" => format!("ClusterRoleBinding \"{name}\""),
            _ => format!("RoleBinding \"{name}/{namespace}\""),
        };
        format!("RBAC: allowed by {through} of {kind} \"{role}\" to {subject}")
    }
}

impl Bound<'_> {
    /// The role; one that does not exist grants nothing.
    fn role(&self, txn: &Txn<'_>) -> Option<Arc<Value>> {
        role_of(txn, &self.binding["roleRef"], self.namespace)
    }

    fn subject(&self) -> String {
        let (kind, name) = (text_at(self.subject, &["kind"]), text_at(self.subject, &["name"]));
        match kind {
            "ServiceAccount" => format!("{kind} \"{name}/{}\"", own_namespace(self.subject, self.namespace)),
            _ => format!("{kind} \"{name}\""),
        }
    }
}

/// Whether a subject of a binding, which holds in `namespace`, is this user.
fn names(subject: &Value, user: &User, namespace: &str) -> bool {
    let name = text_at(subject, &["name"]);
    match text_at(subject, &["kind"]) {
        "User" => user.name == name,
        "Group" => user.groups.iter().any(|group| group == name),
        "ServiceAccount" => {
            let account = user.name.strip_prefix("system:serviceaccount:");
            account.and_then(|account| account.split_once(':')) == Some((own_namespace(subject, namespace), name))
        }
        _ => false,
    }
}

/// The namespace of a service account; without one that of its binding.
fn own_namespace<'a>(subject: &'a Value, namespace: &'a str) -> &'a str {
    match text_at(subject, &["namespace"]) {
        "" => namespace,
        own => own,
    }
}

/// Whether a rule covers an action.
pub(crate) fn covers(rule: &Value, action: &Action) -> bool {
    let has = |field: &str, wanted: &str| {
        let mut stated = list_at(rule, &[field]).iter().filter_map(Value::as_str);
        stated.any(|one| one == "*" || one == wanted)
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
    let mut stated = list_at(rule, &["resources"]).iter().filter_map(Value::as_str);
    stated.any(|one| match one.split_once('/') {
        _ if one == "*" => true,
        None => subresource.is_empty() && one == resource,
        Some((parent, sub)) => (parent == "*" || parent == resource) && sub == subresource && !subresource.is_empty(),
    })
}

static CLUSTER_ROLES: LazyLock<Resource> = LazyLock::new(|| resource("clusterroles"));
static CLUSTER_ROLE_BINDINGS: LazyLock<Resource> = LazyLock::new(|| resource("clusterrolebindings"));
static ROLES: LazyLock<Resource> = LazyLock::new(|| resource("roles"));
static ROLE_BINDINGS: LazyLock<Resource> = LazyLock::new(|| resource("rolebindings"));

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

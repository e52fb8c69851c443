//! Role-based access control: is there a role, bound to this user, with a rule that covers the request?
//!
//! Roles and bindings are ordinary objects in the store and are read as they are, so a change counts from the next request on.
//! Members of `system:masters` may do everything, so that no edit can lock everybody out.

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

/// One granted rule and through what it was granted.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub rule: Value,
    pub reason: String,
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
    grants(txn, user, namespace)
        .into_iter()
        .find(|grant| covers(&grant.rule, action))
        .map(|grant| grant.reason)
}

/// All rules that a user has in a namespace (or, without one, for the whole cluster).
pub(crate) fn grants(txn: &Txn<'_>, user: &User, namespace: &str) -> Vec<Grant> {
    let mut grants = Vec::new();
    for (_, binding) in txn.list(&resource("clusterrolebindings"), None) {
        if let Some(subject) = subject_of(&binding, user, "") {
            let through = format!("ClusterRoleBinding \"{}\"", binding.name());
            add(txn, &binding, "", &through, &subject, &mut grants);
        }
    }
    if !namespace.is_empty() {
        for (_, binding) in txn.list(&resource("rolebindings"), Some(namespace)) {
            if let Some(subject) = subject_of(&binding, user, namespace) {
                let through = format!("RoleBinding \"{}/{namespace}\"", binding.name());
                add(txn, &binding, namespace, &through, &subject, &mut grants);
            }
        }
    }
    grants
}

/// The rules of a role that a binding refers to; none if there is no such role.
pub(crate) fn rules_of(txn: &Txn<'_>, reference: &Value, namespace: &str) -> Option<Vec<Value>> {
    let name = text_at(reference, &["name"]);
    let key = match text_at(reference, &["kind"]) {
        "Role" => Key::new(&resource("roles"), namespace, name),
        _ => Key::new(&resource("clusterroles"), "", name),
    };
    let role = txn.get(&key)?;
    Some(list_at(&role, &["rules"]).to_vec())
}

fn add(txn: &Txn<'_>, binding: &Value, namespace: &str, through: &str, subject: &str, grants: &mut Vec<Grant>) {
    let reference = &binding["roleRef"];
    let (kind, name) = (text_at(reference, &["kind"]), text_at(reference, &["name"]));
    let reason = format!("RBAC: allowed by {through} of {kind} \"{name}\" to {subject}");
    // A role that does not exist grants nothing.
    let rules = rules_of(txn, reference, namespace).unwrap_or_default().into_iter();
    grants.extend(rules.map(|rule| Grant {
        rule,
        reason: reason.clone(),
    }));
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

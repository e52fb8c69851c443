//! Nobody may grant what they do not have: who writes a role must hold its rules, who writes a binding those of its role, unless
//! they hold the verb `escalate` or `bind` on it.

use serde_json::{Value, json};

use super::{Action, allows, covers, grants, rules_of};
use crate::{
    auth::User,
    object::{Object as _, list_at, strings_at, text_at},
    status::Status,
    store::{Resource, Txn},
};

/// Checks a role or binding about to be written.
pub(crate) fn check(txn: &Txn<'_>, user: &User, resource: &Resource, object: &Value) -> Result<(), Status> {
    if &*resource.group != "rbac.authorization.k8s.io" || user.is_master() {
        return Ok(());
    }
    let namespace = object.namespace();
    let (verb, target, name, rules) = match &*resource.plural {
        "roles" | "clusterroles" => (
            "escalate",
            &*resource.plural,
            object.name(),
            list_at(object, &["rules"]).to_vec(),
        ),
        _ => {
            let reference = &object["roleRef"];
            let target = if text_at(reference, &["kind"]) == "Role" {
                "roles"
            } else {
                "clusterroles"
            };
            let name = text_at(reference, &["name"]);
            (
                "bind",
                target,
                name,
                rules_of(txn, reference, namespace).unwrap_or_default(),
            )
        }
    };
    let special = Action::Resource {
        verb: verb.into(),
        group: resource.group.to_string(),
        resource: target.into(),
        subresource: String::new(),
        namespace: namespace.into(),
        name: name.into(),
    };
    if allows(txn, user, &special).is_some() {
        return Ok(());
    }
    // What a role will grant once it exists, nobody can hold yet.
    if verb == "bind" && rules_of(txn, &object["roleRef"], namespace).is_none() {
        return Err(Status::not_found(&Resource::new(&resource.group, target), name));
    }
    let held = grants(txn, user, namespace);
    let missing: Vec<Value> = rules
        .iter()
        .flat_map(single)
        .filter(|one| !held.iter().any(|rule| contains(rule, one)))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let missing: Vec<String> = missing.iter().map(describe).collect();
    let what = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        missing.join("\n")
    );
    Err(Status::forbidden(resource, object.name(), &what))
}

/// A rule as rules with one verb, group, resource and name each.
fn single(rule: &Value) -> Vec<Value> {
    let all = |field: &str| {
        strings_at(rule, &[field])
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let mut parts = Vec::new();
    for verb in all("verbs") {
        for url in all("nonResourceURLs") {
            parts.push(json!({"verbs": [&verb], "nonResourceURLs": [url]}));
        }
        for group in all("apiGroups") {
            for resource in all("resources") {
                let names = all("resourceNames");
                if names.is_empty() {
                    parts.push(json!({"verbs": [&verb], "apiGroups": [&group], "resources": [&resource]}));
                }
                parts.extend(names.iter().map(|name| {
                    json!({"verbs": [&verb], "apiGroups": [&group], "resources": [&resource], "resourceNames": [name]})
                }));
            }
        }
    }
    parts
}

/// Whether a held rule grants all that a single one does.
fn contains(held: &Value, one: &Value) -> bool {
    let first = |field: &str| {
        strings_at(one, &[field])
            .first()
            .copied()
            .unwrap_or_default()
            .to_owned()
    };
    let path = first("nonResourceURLs");
    if !path.is_empty() {
        return covers(
            held,
            &Action::Path {
                verb: first("verbs"),
                path,
            },
        );
    }
    let resource = first("resources");
    let (resource, subresource) = resource.split_once('/').unwrap_or((&resource, ""));
    covers(
        held,
        &Action::Resource {
            verb: first("verbs"),
            group: first("apiGroups"),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: String::new(),
            name: first("resourceNames"),
        },
    )
}

fn describe(rule: &Value) -> String {
    let names = [
        ("APIGroups", "apiGroups"),
        ("Resources", "resources"),
        ("ResourceNames", "resourceNames"),
        ("NonResourceURLs", "nonResourceURLs"),
        ("Verbs", "verbs"),
    ];
    let parts = names
        .iter()
        .filter_map(|(shown, field)| Some(format!("{shown}:{}", rule.get(field)?)));
    format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_rule_contains_its_parts_only() {
        let held = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/status"]});
        assert!(single(&held).iter().all(|one| contains(&held, one)));
        assert!(!contains(
            &held,
            &json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"]})
        ));
        assert!(!contains(
            &held,
            &json!({"verbs": ["get"], "apiGroups": [""], "resources": ["*"]})
        ));
        assert_eq!(
            describe(&json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]})),
            "{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
        );
    }
}

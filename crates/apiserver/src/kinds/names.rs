//! The syntax of names.

use std::cmp::Reverse;

/// RFC 1123 label: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 characters.
pub(crate) fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_label_spelled(name)
}

fn is_label_spelled(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if inner(*first) && inner(*last))
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters. How long one of the labels is does not matter here.
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && is_subdomain_spelled(name)
}

fn is_subdomain_spelled(name: &str) -> bool {
    name.split('.').all(is_label_spelled)
}

/// `app.kubernetes.io/name`.
pub(crate) fn is_qualified(name: &str) -> bool {
    let (prefix, rest) = name
        .rsplit_once('/')
        .map_or((None, name), |(prefix, rest)| (Some(prefix), rest));
    prefix.is_none_or(is_dns_subdomain) && is_label_text(rest) && !rest.is_empty()
}

/// What is wrong with a qualified name, in the API's words.
pub(crate) fn wrong_qualified(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let part = match name.split('/').collect::<Vec<_>>().as_slice() {
        [part] => *part,
        [prefix, part] => {
            if prefix.is_empty() {
                wrong.push("prefix part must be non-empty".to_owned());
            } else if !is_dns_subdomain(prefix) {
                wrong.push(format!("prefix part {SUBDOMAIN}"));
            }
            *part
        }
        _ => {
            return vec![format!(
                "a qualified name must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                 alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '{QUALIFIED}') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if part.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if part.len() > 63 {
        wrong.push("name part must be no more than 63 bytes".to_owned());
    }
    let spelled = part.get(..63).unwrap_or(part);
    if part.is_empty() || !is_label_text(spelled) {
        wrong.push(format!(
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
             character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{QUALIFIED}')"
        ));
    }
    wrong
}

/// What is wrong with a label's value, in the API's words.
pub(crate) fn wrong_label_text(text: &str) -> Option<String> {
    if text.len() > 63 {
        Some("must be no more than 63 bytes".to_owned())
    } else if is_label_text(text) {
        None
    } else {
        Some(format!(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and \
             end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
             '({QUALIFIED})?')"
        ))
    }
}

/// What a label's value may be.
pub(crate) fn is_label_text(text: &str) -> bool {
    let edge = |byte: &u8| byte.is_ascii_alphanumeric();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(inner) && bytes.first().is_none_or(edge) && bytes.last().is_none_or(edge)
}

/// Which names a kind takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NameRule {
    #[default]
    Subdomain,
    Label,
    /// A name that can stand in a path: RBAC objects may be called `system:node`.
    PathSegment,
}

impl NameRule {
    /// What is wrong with a name, in the API's words.
    pub(crate) fn wrong(self, name: &str) -> Vec<String> {
        match self {
            Self::Subdomain => wrong_subdomain(name),
            Self::Label => wrong_dns_label(name),
            Self::PathSegment => wrong_path_segment(name),
        }
    }
}

/// What is wrong with a subdomain, in the API's words.
pub(crate) fn wrong_subdomain(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, 253);
    if !is_subdomain_spelled(name) {
        wrong.push(SUBDOMAIN.to_owned());
    }
    wrong
}

/// What is wrong with a label of a domain name, in the API's words.
pub(crate) fn wrong_dns_label(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, 63);
    if !is_label_spelled(name) {
        let only_dots = is_subdomain_spelled(name);
        wrong.push(if only_dots { "must not contain dots" } else { LABEL }.to_owned());
    }
    wrong
}

/// What is wrong with the name of a container's port, in the API's words.
pub(crate) fn wrong_port_name(name: &str) -> Vec<String> {
    let mut wrong = too_long(name, 15);
    let mut unless = |holds: bool, why: &str| {
        if !holds {
            wrong.push(why.to_owned());
        }
    };
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    unless(
        name.bytes().all(inner) && !name.is_empty(),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    unless(
        name.bytes().any(|byte| byte.is_ascii_lowercase()),
        "must contain at least one letter (a-z)",
    );
    unless(!name.contains("--"), "must not contain consecutive hyphens");
    unless(
        !name.starts_with('-') && !name.ends_with('-'),
        "must not begin or end with a hyphen",
    );
    wrong
}

fn wrong_path_segment(name: &str) -> Vec<String> {
    if name == "." || name == ".." {
        return vec![format!("may not be '{name}'")];
    }
    let illegal = ["/", "%"].into_iter().filter(|part| name.contains(part));
    illegal.map(|part| format!("may not contain '{part}'")).collect()
}

fn too_long(name: &str, limit: usize) -> Vec<String> {
    if name.len() > limit {
        vec![format!("must be no more than {limit} bytes")]
    } else {
        Vec::new()
    }
}

/// Orders API versions: GA above beta above alpha, higher numbers first, anything else last and by name.
pub(crate) fn version_priority(version: &str) -> (u8, u64, u64, Reverse<String>) {
    let parsed = version.strip_prefix('v').and_then(|rest| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..digits].parse().ok()?;
        let (stage, minor) = match &rest[digits..] {
            "" => (3, "0"),
            tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
                (Some(minor), _) => (2, minor),
                (_, Some(minor)) => (1, minor),
                _ => return None,
            },
        };
        Some((stage, major, minor.parse().ok()?))
    });
    let (stage, major, minor) = parsed.unwrap_or((0, 0, 0));
    (stage, major, minor, Reverse(version.to_owned()))
}

/// Where a group stands among the others, which is after the built-in ones.
pub(crate) fn group_rank(group: &str) -> usize {
    let known = GROUPS.iter().position(|known| *known == group);
    known.unwrap_or(GROUPS.len())
}

/// The built-in groups by their priority.
const GROUPS: [&str; 13] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
];

const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start \
    and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
    alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert!(is_dns_label("a-1") && !is_dns_label("-a") && !is_dns_label("A") && !is_dns_label(""));
        assert!(is_dns_subdomain("a.b-c") && !is_dns_subdomain("a..b") && !is_dns_subdomain("Bad_Name"));
        assert!(is_qualified("app.kubernetes.io/name") && !is_qualified("/x") && !is_qualified("a b"));
        assert!(is_label_text("") && is_label_text("A_b.c") && !is_label_text("-x"));
    }

    #[test]
    fn wrong_names_are_explained() {
        for name in ["a b", "", "x/", "/x", "a/b/c", "Bad_Name/x", "-x"] {
            assert!(!wrong_qualified(name).is_empty() && !is_qualified(name), "{name}");
        }
        assert!(wrong_qualified("app.kubernetes.io/name").is_empty());
        assert!(wrong_label_text("-x").is_some() && wrong_label_text("").is_none());
        assert_eq!(
            wrong_label_text(&"x".repeat(64)).unwrap(),
            "must be no more than 63 bytes"
        );
    }

    #[test]
    fn every_rule_tells_all_that_is_wrong() {
        let long = "x".repeat(300);
        assert_eq!(NameRule::Subdomain.wrong(&long), ["must be no more than 253 bytes"]);
        assert_eq!(NameRule::Label.wrong(&long), ["must be no more than 63 bytes"]);
        assert_eq!(NameRule::Label.wrong("a.b"), ["must not contain dots"]);
        assert_eq!(NameRule::Label.wrong("A"), [LABEL]);
        assert_eq!(NameRule::PathSegment.wrong(".."), ["may not be '..'"]);
        assert_eq!(
            NameRule::PathSegment.wrong("a/b%"),
            ["may not contain '/'", "may not contain '%'"]
        );
        assert!(NameRule::PathSegment.wrong("system:node").is_empty());
        assert!(wrong_port_name("http-2").is_empty());
        assert_eq!(wrong_port_name("8080"), ["must contain at least one letter (a-z)"]);
    }

    #[test]
    fn versions_sort_as_kubernetes_sorts_them() {
        let mut versions = ["v1alpha1", "foo1", "v2", "v1beta2", "v1", "v10beta1", "v1beta1"];
        versions.sort_by_cached_key(|version| Reverse(version_priority(version)));
        assert_eq!(
            versions,
            ["v2", "v1", "v10beta1", "v1beta2", "v1beta1", "v1alpha1", "foo1"]
        );
    }
}

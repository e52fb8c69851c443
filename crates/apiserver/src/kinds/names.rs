//! The syntax of names.

use std::cmp::Reverse;

use crate::field::FieldError;

/// RFC 1123 label: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63 characters.
pub(crate) fn is_dns_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last)) if inner(*first) && inner(*last))
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
        && bytes.len() <= 63
}

/// RFC 1123 subdomain: labels joined by dots, at most 253 characters.
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253
        && name
            .split('.')
            .all(|part| is_dns_label(part) || (part.len() > 63 && is_dns_label(&part[..63])))
}

/// A name that can stand in a path: RBAC objects may be called `system:node`.
pub(crate) fn is_path_segment(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '%'])
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
    PathSegment,
}

impl NameRule {
    pub(crate) fn check(self, field: &str, name: &str) -> Option<FieldError> {
        let detail = match self {
            Self::Subdomain if !is_dns_subdomain(name) => SUBDOMAIN,
            Self::Label if !is_dns_label(name) => LABEL,
            Self::PathSegment if !is_path_segment(name) => "may not contain '/' or '%', nor be '.' or '..'",
            _ => return None,
        };
        Some(FieldError::invalid(field, name, detail))
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
    fn versions_sort_as_kubernetes_sorts_them() {
        let mut versions = ["v1alpha1", "foo1", "v2", "v1beta2", "v1", "v10beta1", "v1beta1"];
        versions.sort_by_cached_key(|version| Reverse(version_priority(version)));
        assert_eq!(
            versions,
            ["v2", "v1", "v10beta1", "v1beta2", "v1beta1", "v1alpha1", "foo1"]
        );
    }
}

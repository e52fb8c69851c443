//! What differs between a recorded answer and ours.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use super::names::{Names, masked};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// `status`, `header warning`, or a path into the body such as `.metadata.labels`.
    pub(crate) place: String,
    theirs: String,
    ours: String,
}

impl Difference {
    pub(crate) fn new(place: &str, theirs: impl Into<String>, ours: impl Into<String>) -> Self {
        Self {
            place: place.to_owned(),
            theirs: theirs.into(),
            ours: ours.into(),
        }
    }

    /// The same difference, in a part of something larger.
    pub(crate) fn under(mut self, place: &str) -> Self {
        self.place.insert_str(0, place);
        self
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: recorded {}, ours {}", self.place, self.theirs, self.ours)
    }
}

/// Compares two bodies; learns names from them on the way.
pub(crate) fn bodies(names: &mut Names, theirs: &Value, ours: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut walk = Walk {
        names,
        differences: &mut differences,
        by_name: DISCOVERY.iter().any(|kind| theirs["kind"] == *kind),
    };
    walk.value("", "", &settled(theirs), &settled(ours));
    differences
}

/// Several causes of one refusal come in the order in which a map was walked, which is another one every time; the message
/// repeats them.
fn settled(body: &Value) -> Cow<'_, Value> {
    let causes = body["details"]["causes"].as_array().filter(|causes| causes.len() > 1);
    let Some(causes) = causes.filter(|_| body["reason"] == "Invalid") else {
        return Cow::Borrowed(body);
    };
    let mut causes = causes.clone();
    causes.sort_by_key(Value::to_string);
    let mut body = body.clone();
    if let Some((start, list)) = body["message"]
        .as_str()
        .and_then(|message| message.split_once(" is invalid: ["))
    {
        let mut left = list.to_owned();
        for cause in &causes {
            let text = |key: &str| cause[key].as_str().unwrap_or_default();
            left = left.replacen(&format!("{}: {}", text("field"), text("message")), "", 1);
        }
        body["message"] = format!("{start} is invalid: [{left}").into();
    }
    body["details"]["causes"] = causes.into();
    Cow::Owned(body)
}

struct Walk<'a> {
    names: &'a mut Names,
    differences: &'a mut Vec<Difference>,
    /// Lists hold things with names: what is missing from one says nothing about the others.
    by_name: bool,
}

impl Walk<'_> {
    fn value(&mut self, place: &str, key: &str, theirs: &Value, ours: &Value) {
        match (theirs, ours) {
            (Value::Object(theirs_fields), Value::Object(ours_fields)) => {
                self.generated(theirs, ours);
                for (key, value) in theirs_fields {
                    let place = format!("{place}.{key}");
                    match ours_fields.get(key) {
                        Some(other) => self.value(&place, key, value, other),
                        None => self.differ(&place, &short(value), "nothing"),
                    }
                }
                for (key, value) in ours_fields.iter().filter(|(key, _)| !theirs_fields.contains_key(*key)) {
                    self.differ(&format!("{place}.{key}"), "nothing", &short(value));
                }
            }
            (Value::Array(theirs_items), Value::Array(ours_items)) if key == "managedFields" => {
                self.managers(place, theirs_items, ours_items);
            }
            (Value::Array(theirs_items), Value::Array(ours_items))
                if self.by_name && theirs_items.iter().chain(ours_items).all(Value::is_object) =>
            {
                self.named(place, key, theirs_items, ours_items);
            }
            (Value::Array(theirs_items), Value::Array(ours_items)) => {
                if theirs_items.len() != ours_items.len() {
                    let count = |items: &[Value]| format!("{} items {}", items.len(), short(&items.into()));
                    self.differ(place, &count(theirs_items), &count(ours_items));
                    return;
                }
                for (index, (theirs, ours)) in theirs_items.iter().zip(ours_items).enumerate() {
                    self.value(&format!("{place}[{index}]"), key, theirs, ours);
                }
            }
            (Value::String(theirs), Value::String(ours)) => self.text(place, key, theirs, ours),
            // Allocated from a range at random.
            (Value::Number(_), Value::Number(_)) if key == "nodePort" => {}
            _ if theirs == ours => {}
            _ => self.differ(place, &short(theirs), &short(ours)),
        }
    }

    fn named(&mut self, place: &str, key: &str, theirs: &[Value], ours: &[Value]) {
        let names_of = |items: &[Value]| -> Vec<String> { items.iter().map(name_of).collect() };
        let (their_names, our_names) = (names_of(theirs), names_of(ours));
        let only = |names: &[String], others: &[String]| -> Vec<String> {
            let only = names.iter().filter(|name| !others.contains(name));
            only.cloned().collect()
        };
        let common = |names: &[String], others: &[String]| -> Vec<String> {
            let common = names.iter().filter(|name| others.contains(name));
            common.cloned().collect()
        };
        for (what, found, theirs_has) in [
            ("missing", only(&their_names, &our_names), true),
            ("added", only(&our_names, &their_names), false),
        ] {
            if !found.is_empty() {
                let (found, nothing) = (found.join(" "), "nothing".to_owned());
                let (left, right) = if theirs_has { (found, nothing) } else { (nothing, found) };
                self.differ(&format!("{place} {what}"), &left, &right);
            }
        }
        let (their_order, our_order) = (common(&their_names, &our_names), common(&our_names, &their_names));
        if their_order != our_order {
            self.differ(&format!("{place} order"), &their_order.join(" "), &our_order.join(" "));
        }
        for (name, item) in their_names.iter().zip(theirs) {
            if let Some(at) = our_names.iter().position(|own| own == name) {
                self.value(&format!("{place}[{name}]"), key, item, &ours[at]);
            }
        }
    }

    /// Entries of the same second are sorted by manager, those of different ones by time: how fast a server was is no difference.
    fn managers(&mut self, place: &str, theirs: &[Value], ours: &[Value]) {
        let order = |entry: &&Value| {
            ["manager", "operation", "subresource", "apiVersion"]
                .map(|key| entry[key].as_str().unwrap_or("").to_owned())
        };
        let sorted = |entries: &[Value]| {
            let mut entries: Vec<Value> = entries.to_vec();
            entries.sort_by_key(|entry| order(&entry));
            Value::Array(entries)
        };
        self.value(place, "", &sorted(theirs), &sorted(ours));
    }

    fn text(&mut self, place: &str, key: &str, theirs: &str, ours: &str) {
        if let Some((theirs, ours)) = described(theirs).zip(claims(ours)) {
            self.value(&format!("{place} claims"), "", &theirs, &ours);
        }
        let same = match key {
            "uid" | "token" | "continue" | "clusterIP" | "clusterIPs"
                if theirs != ours && !matches!(theirs, "None" | "") =>
            {
                !ours.is_empty() && self.names.is_same(theirs, ours)
            }
            "resourceVersion" => {
                self.names.learn_revision(theirs, ours);
                theirs.parse::<u64>().is_ok() == ours.parse::<u64>().is_ok()
            }
            "hash" => theirs.is_empty() == ours.is_empty(),
            _ => {
                theirs == ours
                    || self.names.ours(theirs) == Some(ours)
                    || masked(&self.names.translate(theirs)) == masked(ours)
            }
        };
        if !same {
            self.differ(place, &format!("{theirs:?}"), &format!("{ours:?}"));
        }
    }

    /// Names that the server made up: the same prefix, then as many characters.
    fn generated(&mut self, theirs: &Value, ours: &Value) {
        let name = |object: &Value| -> Option<(String, String)> {
            let of = |key: &str| object[key].as_str().map(str::to_owned);
            of("generateName").zip(of("name"))
        };
        if let (Some((prefix, theirs)), Some((_, ours))) = (name(theirs), name(ours))
            && theirs.starts_with(&prefix)
            && ours.starts_with(&prefix)
            && theirs.len() == ours.len()
        {
            self.names.learn(&theirs, &ours);
        }
    }

    fn differ(&mut self, place: &str, theirs: &str, ours: &str) {
        self.differences.push(Difference::new(place, theirs, ours));
    }
}

/// What a part of a discovery document describes.
fn name_of(item: &Value) -> String {
    let names = [
        "resource",
        "subresource",
        "name",
        "groupVersion",
        "version",
        "clientCIDR",
    ];
    let own = names.iter().find_map(|key| item[key].as_str());
    own.or(item["metadata"]["name"].as_str()).unwrap_or_default().to_owned()
}

/// The kinds of discovery documents.
const DISCOVERY: [&str; 3] = ["APIGroupList", "APIGroupDiscoveryList", "APIResourceList"];

/// The claims of a token that the recorder replaced by what it contains: `<JWT header {…} payload {…}>`.
fn described(text: &str) -> Option<Value> {
    let (_, payload) = text.strip_prefix("<JWT ")?.strip_suffix('>')?.split_once(" payload ")?;
    serde_json::from_str(payload).ok().map(since_issued)
}

/// The claims of a token.
fn claims(token: &str) -> Option<Value> {
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&payload).ok().map(since_issued)
}

/// Times count from when the token was issued.
fn since_issued(mut claims: Value) -> Value {
    let issued = claims["iat"].as_i64().unwrap_or_default();
    for claim in ["/exp", "/nbf", "/iat", "/kubernetes.io/warnafter"] {
        if let Some(at) = claims.pointer_mut(claim)
            && let Some(second) = at.as_i64()
        {
            *at = (second - issued).into();
        }
    }
    claims
}

/// A value on a part of a line.
fn short(value: &Value) -> String {
    const LIMIT: usize = 300;
    let text = value.to_string();
    if text.chars().count() <= LIMIT {
        return text;
    }
    let start: String = text.chars().take(LIMIT).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(theirs: &Value, ours: &Value) -> Vec<String> {
        let found = bodies(&mut Names::default(), theirs, ours);
        found.into_iter().map(|difference| difference.place).collect()
    }

    #[test]
    fn what_differs_from_run_to_run_does_not_count() {
        let theirs = json!({"metadata": {"uid": "a", "resourceVersion": "5", "creationTimestamp": "2026-11-21T00:29:33Z",
            "generateName": "x-", "name": "x-abcde"}, "ref": {"uid": "a"}});
        let ours = json!({"metadata": {"uid": "b", "resourceVersion": "9", "creationTimestamp": "2026-12-01T10:00:00Z",
            "generateName": "x-", "name": "x-fghij"}, "ref": {"uid": "b"}});
        assert_eq!(places(&theirs, &ours), Vec::<String>::new());
    }

    #[test]
    fn the_order_of_causes_does_not_count_but_their_number_does() {
        let status = |fields: &[&str]| {
            let causes: Vec<Value> = fields
                .iter()
                .map(|field| json!({"field": field, "message": "bad"}))
                .collect();
            let list: Vec<String> = fields.iter().map(|field| format!("{field}: bad")).collect();
            json!({"reason": "Invalid", "message": format!("X is invalid: [{}]", list.join(", ")), "details": {"causes": causes}})
        };
        assert_eq!(places(&status(&["a", "b"]), &status(&["b", "a"])), Vec::<String>::new());
        assert_ne!(places(&status(&["a", "b"]), &status(&["b", "c"])), Vec::<String>::new());
        assert_ne!(
            places(&status(&["a", "b"]), &status(&["a", "b", "c"])),
            Vec::<String>::new()
        );
    }

    #[test]
    fn parts_of_discovery_are_compared_by_name() {
        let list = |groups: &[(&str, u32)]| {
            let groups: Vec<Value> = groups.iter().map(|(name, n)| json!({"name": name, "n": n})).collect();
            json!({"kind": "APIGroupList", "groups": groups})
        };
        assert_eq!(
            places(
                &list(&[("a", 1), ("b", 1), ("c", 1)]),
                &list(&[("c", 1), ("a", 2), ("d", 1)])
            ),
            [".groups missing", ".groups added", ".groups order", ".groups[a].n"]
        );
    }

    #[test]
    fn of_tokens_the_claims_count() {
        let token = |claims: &Value| format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        let theirs =
            json!({"token": r#"<JWT header {"alg":"RS256"} payload {"aud":["a"],"exp":160,"iat":100,"jti":"x"}>"#});
        let ours = |exp: u32| json!({"token": token(&json!({"aud": ["a"], "exp": exp, "iat": 500, "jti": "x"}))});
        assert_eq!(places(&theirs, &ours(560)), Vec::<String>::new());
        assert_eq!(places(&theirs, &ours(600)), [".token claims.exp"]);
    }

    #[test]
    fn everything_else_counts() {
        let theirs = json!({"a": 1, "b": [1, 2], "c": {"d": "x"}, "u": [{"uid": "a"}, {"uid": "a"}]});
        let ours = json!({"a": 2, "b": [1], "c": {"e": "x"}, "u": [{"uid": "b"}, {"uid": "c"}]});
        assert_eq!(places(&theirs, &ours), [".a", ".b", ".c.d", ".c.e", ".u[1].uid"]);
    }
}

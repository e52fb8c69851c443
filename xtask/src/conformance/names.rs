//! What the recorded server called a thing, and what ours calls it.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Values that differ from run to run.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// uids, tokens, continue tokens, generated names.
    exact: HashMap<String, String>,
    /// Revisions by group of recordings: groups may come from several servers.
    revisions: HashMap<String, BTreeMap<u64, u64>>,
    group: String,
}

impl Names {
    pub(crate) fn enter(&mut self, group: &str) {
        group.clone_into(&mut self.group);
    }

    /// Whether `ours` can be what was `theirs`: either that is known, or it is learned now.
    pub(crate) fn is_same(&mut self, theirs: &str, ours: &str) -> bool {
        let known = self.exact.entry(theirs.to_owned()).or_insert_with(|| ours.to_owned());
        known == ours
    }

    /// A later value takes the place of an earlier one.
    pub(crate) fn learn(&mut self, theirs: &str, ours: &str) {
        if !theirs.is_empty() && !ours.is_empty() {
            self.exact.insert(theirs.to_owned(), ours.to_owned());
        }
    }

    pub(crate) fn ours(&self, theirs: &str) -> Option<&str> {
        self.exact.get(theirs).map(String::as_str)
    }

    pub(crate) fn learn_revision(&mut self, theirs: &str, ours: &str) {
        if let (Ok(theirs), Ok(ours)) = (theirs.parse(), ours.parse()) {
            self.revisions
                .entry(self.group.clone())
                .or_default()
                .insert(theirs, ours);
        }
    }

    /// Our revision of a recorded one. One never seen is the newest seen before it, and `newest` when it is past all that was seen;
    /// one far in the future stays there.
    pub(crate) fn revision(&self, theirs: &str, newest: u64) -> String {
        const FUTURE: u64 = 100_000;
        let Ok(number) = theirs.parse::<u64>() else {
            return theirs.to_owned();
        };
        if number <= 1 || number >= FUTURE {
            return theirs.to_owned();
        }
        let Some(seen) = self.revisions.get(&self.group) else {
            return newest.to_string();
        };
        if seen.range(number..).next().is_none() {
            return newest.to_string();
        }
        let before = seen.range(..=number).next_back();
        before.map_or(1, |(_, ours)| *ours).to_string()
    }

    /// A recorded text with our names in it.
    pub(crate) fn translate(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // A token is described by names that stand in it: the longest goes first.
        let mut known: Vec<(&String, &String)> = self.exact.iter().collect();
        known.sort_by_key(|(theirs, _)| std::cmp::Reverse(theirs.len()));
        for (theirs, ours) in known {
            if text.contains(theirs.as_str()) {
                text = text.replace(theirs.as_str(), ours);
            }
        }
        text
    }

    /// The same for every text of a body; revisions by [`Names::revision`].
    pub(crate) fn translate_body(&self, body: &Value, newest: u64) -> Value {
        match body {
            Value::String(text) => Value::String(self.translate(text)),
            Value::Array(items) => items.iter().map(|item| self.translate_body(item, newest)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| match value.as_str() {
                    Some(revision) if key == "resourceVersion" => (key.clone(), self.revision(revision, newest).into()),
                    _ => (key.clone(), self.translate_body(value, newest)),
                })
                .collect(),
            other => other.clone(),
        }
    }
}

/// A text in which uids, times, revisions and hashes are masked.
pub(crate) fn masked(text: &str) -> String {
    static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let masks = [
            (r"^too old resource version: \d+ \(\d+\)$", "too old resource version"),
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", "<precise time>"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>"),
            (r"(?i)(resource ?version[^()]*\()\d+\)", "${1}<revision>)"),
            (r"hash=[0-9A-Za-z]+", "hash=<hash>"),
            (r"^\d+[smhd](\d+[smh])?$", "<age>"),
        ];
        let compiled = masks.map(|(mask, shown)| (Regex::new(mask).expect("a constant"), shown));
        compiled.into()
    });
    MASKS.iter().fold(text.to_owned(), |text, (mask, shown)| {
        mask.replace_all(&text, *shown).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_keep_their_order() {
        let mut names = Names::default();
        names.enter("b");
        names.learn_revision("100", "7");
        names.learn_revision("110", "9");
        let ours = |theirs| names.revision(theirs, 20);
        assert_eq!(
            [
                ours("0"),
                ours("1"),
                ours("99"),
                ours("100"),
                ours("105"),
                ours("110"),
                ours("111")
            ],
            ["0", "1", "1", "7", "7", "9", "20"]
        );
        assert_eq!([ours("abc"), ours("999999999")], ["abc", "999999999"]);
    }

    #[test]
    fn what_a_thing_is_called_is_learned_once() {
        let mut names = Names::default();
        assert!(names.is_same("u1", "v1"));
        assert!(names.is_same("u1", "v1"));
        assert!(!names.is_same("u1", "v2"));
        assert_eq!(names.translate("uid u1!"), "uid v1!");
    }

    #[test]
    fn times_and_uids_are_masked() {
        assert_eq!(
            masked("at 2026-11-21T00:29:33Z by 5249a734-3464-4529-aba0-fe91f9b36389"),
            "at <time> by <uid>"
        );
        assert_eq!(masked("3m10s"), masked("5s"));
        assert_ne!(masked("s"), masked("5s"));
    }
}

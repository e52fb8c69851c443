//! The part of JSONPath that printer columns use: `.a.b`, `['a.b']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`, and `\.` in names.

use std::borrow::Cow;

use serde_json::Value;

/// A parsed path. What cannot be parsed finds nothing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    steps: Option<Vec<Step>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(usize),
    Every,
    /// Elements whose field has this text.
    Where(Vec<String>, String),
}

impl Path {
    pub(crate) fn parse(text: &str) -> Self {
        Self {
            steps: parse(text.trim()),
        }
    }

    /// The first value that the path leads to.
    pub(crate) fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        find(value, self.steps.as_ref()?)
    }
}

fn find<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(value);
    };
    let mut each = value.as_array().map_or(&[][..], Vec::as_slice).iter();
    match step {
        Step::Field(name) => find(value.get(name)?, rest),
        Step::Index(at) => find(value.get(at)?, rest),
        Step::Every => each.find_map(|item| find(item, rest)),
        Step::Where(path, wanted) => {
            let matches = |item: &&Value| {
                let found = path.iter().try_fold(*item, |at, field| at.get(field));
                found.is_some_and(|found| text_of(found) == *wanted)
            };
            each.filter(matches).find_map(|item| find(item, rest))
        }
    }
}

fn text_of(value: &Value) -> Cow<'_, str> {
    value.as_str().map_or_else(|| value.to_string().into(), Cow::from)
}

fn parse(text: &str) -> Option<Vec<Step>> {
    let text = text
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'))
        .unwrap_or(text);
    let mut steps = Vec::new();
    let mut rest = text.strip_prefix('$').unwrap_or(text);
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let end = if bracket.starts_with('?') {
                bracket.find(")]")? + 1
            } else {
                bracket.find(']')?
            };
            steps.push(in_brackets(&bracket[..end])?);
            rest = &bracket[end + 1..];
        } else {
            let (name, after) = field(rest.strip_prefix('.')?);
            if !name.is_empty() {
                steps.push(Step::Field(name));
            }
            rest = after;
        }
    }
    Some(steps)
}

fn field(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => name.extend(chars.next().map(|(_, escaped)| escaped)),
            '.' | '[' => return (name, &text[at..]),
            other => name.push(other),
        }
    }
    (name, "")
}

fn in_brackets(inner: &str) -> Option<Step> {
    if inner == "*" {
        return Some(Step::Every);
    }
    if let Some(name) = unquoted(inner) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(filter) = inner.strip_prefix("?(").and_then(|rest| rest.strip_suffix(')')) {
        let (path, wanted) = filter.split_once("==")?;
        let path = path.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        let wanted = wanted.trim();
        return Some(Step::Where(path, unquoted(wanted).unwrap_or(wanted).to_owned()));
    }
    inner.parse().ok().map(Step::Index)
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_find_fields_elements_and_matches() {
        let value = json!({"a": {"b.c": 1, "list": [{"t": "x", "v": 1}, {"t": "y", "v": 2}]}});
        let first = |path: &str| Path::parse(path).first(&value).cloned();
        assert_eq!(first(r".a.b\.c"), Some(json!(1)));
        assert_eq!(first(".a['b.c']"), Some(json!(1)));
        assert_eq!(first(".a.list[1].v"), Some(json!(2)));
        assert_eq!(first(".a.list[*].t"), Some(json!("x")));
        assert_eq!(first(".a.list[?(@.t==\"y\")].v"), Some(json!(2)));
        assert_eq!(first(".a.list[?(@.t=='z')].v"), None);
        assert_eq!(first(".a[").as_ref(), None);
    }
}

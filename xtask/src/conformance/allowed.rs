//! The allow-list: what is outside, each with its reason.

use anyhow::{Context, ensure};

use super::compare::Difference;

/// The entries of `allowed.txt`.
#[derive(Debug)]
pub(crate) struct Allowed(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    recording: &'static str,
    place: &'static str,
    reason: &'static str,
}

impl Allowed {
    pub(crate) fn list() -> anyhow::Result<Self> {
        Self::parse(include_str!("allowed.txt"))
    }

    fn parse(text: &'static str) -> anyhow::Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let entries = lines.map(|line| {
            let mut parts = line.splitn(3, '|').map(str::trim);
            let entry = parts.next().zip(parts.next()).zip(parts.next());
            let ((recording, place), reason) =
                entry.with_context(|| format!("allow-list: {line:?} is not `recording | place | reason`"))?;
            ensure!(!reason.is_empty(), "allow-list: {line:?} gives no reason");
            Ok(Entry {
                recording,
                place,
                reason,
            })
        });
        entries.collect::<anyhow::Result<_>>().map(Self)
    }

    /// Why a recording may differ as it does: every difference must be allowed; the reason is that of the first.
    pub(crate) fn reason(&self, recording: &str, differences: &[Difference]) -> Option<&'static str> {
        let mut reasons = differences.iter().map(|difference| {
            let mut entries = self.0.iter();
            entries.find(|entry| covers(entry.recording, recording) && covers(entry.place, &difference.place))
        });
        let first = reasons.next()??;
        reasons.all(|entry| entry.is_some()).then_some(first.reason)
    }
}

/// Whether a text starts with a pattern, in which `*` stands for anything.
fn covers(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    for part in parts {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_must_be_allowed() {
        let allowed = Allowed::parse("# comment\na0 | .groups | fewer kinds\n").unwrap();
        let at = |place| Difference::new(place, "x", "y");
        assert_eq!(allowed.reason("a01-x", &[at(".groups[1]")]), Some("fewer kinds"));
        assert_eq!(allowed.reason("a01-x", &[at(".groups"), at("status")]), None);
        assert_eq!(allowed.reason("b01-x", &[at(".groups")]), None);
        assert!(Allowed::parse("a | b").is_err());
        Allowed::list().unwrap();
    }
}

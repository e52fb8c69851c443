use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

/// What stands between a daemon and its job. Cheap to clone; every clone is the same list.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    entries: Arc<Mutex<BTreeMap<&'static str, Entry>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Holds,
    Fails(String),
    Note(String),
}

impl Readiness {
    /// A list on which each of these checks fails until it is said to hold.
    pub fn awaiting(checks: &[&'static str]) -> Self {
        let readiness = Self::default();
        for check in checks {
            readiness.fails(check, "not yet");
        }
        readiness
    }

    /// The check holds.
    pub fn holds(&self, check: &'static str) {
        self.set(check, Entry::Holds);
    }

    /// The check fails, for this reason.
    pub fn fails(&self, check: &'static str, reason: impl Into<String>) {
        self.set(check, Entry::Fails(reason.into()));
    }

    /// Something that an operator should read, but that does not keep the daemon from its job.
    pub fn note(&self, name: &'static str, text: impl Into<String>) {
        self.set(name, Entry::Note(text.into()));
    }

    /// Whether every check holds.
    pub fn is_ready(&self) -> bool {
        !self.lock().values().any(|entry| matches!(entry, Entry::Fails(_)))
    }

    /// One line a check, as Kubernetes writes them.
    pub fn report(&self) -> String {
        let mut report = String::new();
        for (name, entry) in &*self.lock() {
            // Writing to a String cannot fail.
            let _ = match entry {
                Entry::Holds => writeln!(report, "[+]{name} ok"),
                Entry::Fails(reason) => writeln!(report, "[-]{name} failed: {reason}"),
                Entry::Note(text) => writeln!(report, "[ ]{name}: {text}"),
            };
        }
        report.push_str(if self.is_ready() {
            "readyz check passed\n"
        } else {
            "readyz check failed\n"
        });
        report
    }

    fn set(&self, name: &'static str, entry: Entry) {
        self.lock().insert(name, entry);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Entry>> {
        // The map is whole after every operation, so a panic elsewhere while it was held does no harm.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_check_holds_and_notes_do_not_count() {
        let readiness = Readiness::awaiting(&["engine", "snapshot"]);
        readiness.note("age", "serving a saved snapshot");
        assert!(!readiness.is_ready());
        readiness.holds("engine");
        readiness.fails("snapshot", "no API server yet");
        assert!(readiness.report().contains("[-]snapshot failed: no API server yet"));
        readiness.holds("snapshot");
        assert!(readiness.is_ready());
        assert!(readiness.report().contains("[ ]age: serving a saved snapshot"));
    }
}

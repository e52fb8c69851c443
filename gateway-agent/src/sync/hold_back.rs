//! In a burst of exports, names are to resolve before what is told about them is written.

use std::time::{Duration, Instant};

use super::write::Write;

/// Keeps back what can wait while there is anything else to write, for some seconds.
#[derive(Debug, Default)]
pub(super) struct HoldBack {
    since: Option<Instant>,
}

impl HoldBack {
    /// What of a round's writes is to be sent now. The next round wants the rest again.
    pub(super) fn sift(&mut self, mut writes: Vec<Write>, now: Instant) -> Vec<Write> {
        if writes.iter().all(Write::can_wait) {
            self.since = None;
        } else if now.saturating_duration_since(*self.since.get_or_insert(now)) < HOLD_BACK {
            writes.retain(|write| !write.can_wait());
        } else {
            self.since = None;
        }
        writes
    }

    /// Whether there is more to send, which a round has to come for.
    pub(super) fn holds(&self) -> bool {
        self.since.is_some()
    }
}

/// The longest time.
pub(super) const HOLD_BACK: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use k8s_api::mcs::ServiceImport;
    use serde_json::json;

    use super::super::write::Side;
    use super::*;

    #[test]
    fn what_can_wait_goes_when_nothing_else_is_left_or_after_a_while() {
        let import = ServiceImport::new(
            "cart",
            serde_json::from_value(json!({"type": "Headless", "ports": []})).unwrap(),
        );
        let urgent = Write::delete(Side::Local, &import);
        let status = Write::status(Side::Local, &import, &json!({}));
        let only = |write: &Write| vec![write.clone()];
        let both = || vec![urgent.clone(), status.clone()];
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut hold_back = HoldBack::default();
        assert_eq!(hold_back.sift(both(), at(0)), only(&urgent));
        assert!(hold_back.holds());
        assert_eq!(hold_back.sift(only(&status), at(100)), only(&status));
        assert!(!hold_back.holds());
        assert_eq!(hold_back.sift(both(), at(200)), only(&urgent));
        assert_eq!(hold_back.sift(both(), at(5100)), only(&urgent));
        assert_eq!(hold_back.sift(both(), at(5200)), both(), "it may never come to an end");
    }
}

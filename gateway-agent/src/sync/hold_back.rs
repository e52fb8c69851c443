//! In a burst of exports, names are to resolve before what is told about them is written, and other clusters come before the own one.

use std::time::{Duration, Instant};

use super::write::{Rank, Write};

/// Keeps back what can wait while there is anything else to write, for some seconds.
#[derive(Debug, Default)]
pub(super) struct HoldBack {
    since: Option<Instant>,
}

impl HoldBack {
    /// What of a round's writes is to be sent now. The next round wants the rest again.
    pub(super) fn sift(&mut self, mut writes: Vec<Write>, now: Instant) -> Vec<Write> {
        let ranks = || writes.iter().map(Write::rank);
        let last = if ranks().filter(|rank| *rank == Rank::Names).count() > FEW {
            Rank::Names
        } else if ranks().any(|rank| rank != Rank::Words) {
            Rank::Home
        } else {
            Rank::Words
        };
        let is_all = last == Rank::Words;
        if is_all || now.saturating_duration_since(*self.since.get_or_insert(now)) >= HOLD_BACK {
            self.since = None;
        } else {
            writes.retain(|write| write.rank() <= last);
        }
        writes
    }

    /// Whether there is more to send, which a round has to come for.
    pub(super) fn holds(&self) -> bool {
        self.since.is_some()
    }
}

/// With up to so many writes that names need, those for the names of our own services at home go along.
const FEW: usize = 16;
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
        let name = Write::delete(Side::Local, &import);
        let home = Write::apply(Side::Local, &import).after_others();
        let status = Write::status(Side::Local, &import, &json!({}));
        let all = || vec![name.clone(), home.clone(), status.clone()];
        let burst = || [vec![name.clone(); FEW + 1], vec![home.clone(), status.clone()]].concat();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut hold_back = HoldBack::default();
        assert_eq!(hold_back.sift(burst(), at(0)), burst()[..=FEW]);
        assert!(hold_back.holds());
        assert_eq!(hold_back.sift(all(), at(50)), all()[..2]);
        assert_eq!(hold_back.sift(all()[1..].to_vec(), at(100)), all()[1..2]);
        assert!(hold_back.holds());
        assert_eq!(hold_back.sift(all()[2..].to_vec(), at(150)), all()[2..]);
        assert!(!hold_back.holds());
        assert_eq!(hold_back.sift(burst(), at(200)), burst()[..=FEW]);
        assert_eq!(hold_back.sift(burst(), at(5100)), burst()[..=FEW]);
        assert_eq!(
            hold_back.sift(burst(), at(5200)),
            burst(),
            "it may never come to an end"
        );
    }
}

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How many handshakes were let through in this second, and whose they were once there were many.
///
/// A cookie proves that a sender owns its address, and nothing more: whoever does could have us compute curves all day. So above
/// the limit every address has a share, and all of them together have as many again as the limit.
pub(super) struct Crowd {
    since: Instant,
    admitted: u64,
    by_sender: HashMap<IpAddr, u32>,
}

impl Crowd {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            admitted: 0,
            by_sender: HashMap::new(),
        }
    }

    /// Begins a new second if this one is over.
    pub(super) fn forget(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= SECOND {
            self.since = now;
            self.admitted = 0;
            self.by_sender.clear();
        }
    }

    /// Whether a handshake may go on that the limiter let through: one of the first so many of this second, or one whose sender has
    /// proved its address and has not used up its share.
    pub(super) fn admit(&mut self, from: IpAddr, limit: u64) -> bool {
        if self.admitted >= limit {
            // Each entry has admitted at least one, so the table is no larger than the limit.
            if self.admitted >= limit.saturating_mul(2) {
                return false;
            }
            let used = self.by_sender.entry(owner(from)).or_default();
            if *used == SHARE {
                return false;
            }
            *used += 1;
        }
        self.admitted += 1;
        true
    }
}

/// What one party owns at least: an address of IPv4, or 64 bits of network of IPv6.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);
/// More gateways than this behind one address have to try again, and only in a flood.
const SHARE: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(crowd: &mut Crowd, from: &str, tries: u32) -> u32 {
        let from = from.parse().unwrap();
        (0..tries).map(|_| u32::from(crowd.admit(from, 200))).sum()
    }

    #[test]
    fn above_the_limit_every_owner_has_a_share_until_the_second_is_over() {
        let now = Instant::now();
        let mut crowd = Crowd::new(now);
        assert_eq!(admitted(&mut crowd, "192.0.2.1", 200), 200, "nobody is counted yet");
        assert_eq!(admitted(&mut crowd, "192.0.2.1", 100), SHARE);
        assert_eq!(
            admitted(&mut crowd, "192.0.2.2", 10),
            10,
            "another is not held to account for it"
        );
        assert_eq!(admitted(&mut crowd, "::ffff:192.0.2.1", 10), 0);
        assert_eq!(admitted(&mut crowd, "2001:db8::1", 30), 30);
        assert_eq!(
            admitted(&mut crowd, "2001:db8::2", 30),
            SHARE - 30,
            "one network is one owner"
        );
        crowd.forget(now + SECOND / 2);
        assert_eq!(admitted(&mut crowd, "192.0.2.1", 1), 0);
        crowd.forget(now + SECOND);
        assert_eq!(admitted(&mut crowd, "192.0.2.1", 200), 200);
    }

    #[test]
    fn many_owners_together_get_as_many_again_as_the_limit() {
        let mut crowd = Crowd::new(Instant::now());
        let admitted: u32 = (0..=255)
            .map(|last| admitted(&mut crowd, &format!("192.0.2.{last}"), 10))
            .sum();
        assert_eq!(admitted, 400);
        assert!(crowd.by_sender.len() <= 200);
    }
}

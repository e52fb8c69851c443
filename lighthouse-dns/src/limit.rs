//! Response-rate limiting: no client network costs more than its share.
//!
//! Queries over UDP can bear a forged source, and then each response hits a victim. So every client network (/24, /56) has a
//! bucket of responses that refills at the allowed rate. When it is empty, every second response is dropped and the others are
//! cut: a real client then comes again over TCP, and a victim gets no more bytes than the attacker sent. Who shows a cookie of ours
//! has proven its address and is not limited.
//!
//! Buckets lie in a table of fixed size. Two networks that fall on one bucket take it from each other, each time full: memory
//! is bounded, and the mistake is to answer.

use std::net::IpAddr;

/// What to do with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Send it.
    Send,
    /// Send it without records, marked as cut.
    CutShort,
    /// Send nothing.
    Drop,
}

/// The buckets of one thread.
#[derive(Debug)]
pub(crate) struct Limiter {
    /// Responses a second and network; zero means no limit.
    rate: u32,
    buckets: Box<[Bucket]>,
    hasher: ahash::RandomState,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    network: u64,
    tokens: u32,
    /// Milliseconds, as the caller counts them.
    filled: u64,
    is_next_dropped: bool,
}

impl Limiter {
    /// So many responses a second for each client network; zero means no limit.
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate,
            buckets: vec![Bucket::default(); if rate == 0 { 0 } else { BUCKETS }].into(),
            hasher: ahash::RandomState::new(),
        }
    }

    /// Takes a response from the client's bucket. `now` is in milliseconds since any moment.
    pub(crate) fn judge(&mut self, client: IpAddr, now: u64) -> Verdict {
        if self.buckets.is_empty() {
            return Verdict::Send;
        }
        let network = network(client);
        let place = self.hasher.hash_one(network) as usize % self.buckets.len();
        let bucket = &mut self.buckets[place];
        if bucket.network != network {
            *bucket = Bucket {
                network,
                tokens: self.rate,
                filled: now,
                is_next_dropped: false,
            };
        }
        let earned = now.saturating_sub(bucket.filled).saturating_mul(self.rate.into()) / 1000;
        if earned > 0 {
            let tokens = earned.saturating_add(bucket.tokens.into()).min(self.rate.into());
            bucket.tokens = u32::try_from(tokens).expect("at most the rate");
            bucket.filled = now;
        }
        if let Some(tokens) = bucket.tokens.checked_sub(1) {
            bucket.tokens = tokens;
            return Verdict::Send;
        }
        bucket.is_next_dropped = !bucket.is_next_dropped;
        if bucket.is_next_dropped {
            Verdict::CutShort
        } else {
            Verdict::Drop
        }
    }
}

/// The network that an address counts for: what one customer of a provider usually has. Never zero.
fn network(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => 1 << 32 | u64::from(address.to_bits() >> 8),
        IpAddr::V6(address) => 1 << 63 | u64::try_from(address.to_bits() >> 72).expect("56 bits are left"),
    }
}

const BUCKETS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn beyond_the_rate_responses_are_cut_and_dropped_in_turn_until_the_bucket_refills() {
        let mut limiter = Limiter::new(2);
        let verdicts: Vec<_> = (0..6).map(|_| limiter.judge(ip("192.0.2.1"), 0)).collect();
        use Verdict::{CutShort, Drop, Send};
        assert_eq!(verdicts, [Send, Send, CutShort, Drop, CutShort, Drop]);
        assert_eq!(limiter.judge(ip("192.0.2.77"), 400), CutShort);
        assert_eq!(limiter.judge(ip("192.0.2.77"), 500), Send);
        assert_eq!(limiter.judge(ip("198.51.100.1"), 500), Send);
    }

    #[test]
    fn networks_are_24_and_56_bits() {
        assert_eq!(network(ip("192.0.2.1")), network(ip("::ffff:192.0.2.255")));
        assert_ne!(network(ip("192.0.2.1")), network(ip("192.0.3.1")));
        assert_eq!(network(ip("2001:db8:0:100::1")), network(ip("2001:db8:0:1ff::1")));
        assert_ne!(network(ip("2001:db8:0:100::1")), network(ip("2001:db8:0:200::1")));
    }

    #[test]
    fn rate_zero_is_no_limit() {
        let mut limiter = Limiter::new(0);
        assert!((0..100_000).all(|_| limiter.judge(ip("192.0.2.1"), 0) == Verdict::Send));
    }

    proptest! {
        /// However queries come, no network gets more than a full bucket and what it earned since.
        #[test]
        fn no_network_gets_more_than_its_rate(rate in 1u32..50, gaps in proptest::collection::vec(0u64..200, 1..300)) {
            let mut limiter = Limiter::new(rate);
            let (mut now, mut sent) = (0, 0u64);
            for gap in gaps {
                now += gap;
                sent += u64::from(limiter.judge(ip("192.0.2.1"), now) == Verdict::Send);
            }
            prop_assert!(sent <= u64::from(rate) + now * u64::from(rate) / 1000);
        }
    }
}

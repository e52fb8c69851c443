use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use boringtun::noise::rate_limiter::RateLimiter;
use boringtun::x25519;
use model::PublicKey;

use super::crowd::Crowd;
use crate::key::PrivateKey;

/// What all lanes know together of handshakes. Asked once a handshake, so it may lock.
///
/// The limiter is one, so that a flood is bounded whoever it claims to be from and whichever lane it names, and so is the [`Crowd`] of
/// those who can prove their address. And so is the memory of
/// the times in initiations: every session remembers the last one of its own, so that without this one that was recorded on one lane
/// could be replayed on another.
pub(crate) struct Handshakes {
    public_key: x25519::PublicKey,
    state: Mutex<State>,
}

struct State {
    limit: u64,
    limiter: Arc<RateLimiter>,
    crowd: Crowd,
    times: HashMap<PublicKey, Times>,
}

/// The times of one peer's last initiations. Its lanes shake hands at about the same time over different paths, so that they arrive in any
/// order: within these few, only what was there before is refused.
#[derive(Default)]
struct Times {
    /// The latest that was forgotten; it and what is before it is refused.
    floor: [u8; TIMESTAMP],
    known: BTreeSet<[u8; TIMESTAMP]>,
}

impl Handshakes {
    pub(crate) fn new(key: &PrivateKey) -> Self {
        Self::with_limit(key, MIN_HANDSHAKES_PER_SECOND)
    }

    pub(super) fn with_limit(key: &PrivateKey, limit: u64) -> Self {
        Self {
            public_key: *key.public(),
            state: Mutex::new(State {
                limit,
                limiter: Arc::new(RateLimiter::new(key.public(), limit)),
                crowd: Crowd::new(Instant::now()),
                times: HashMap::new(),
            }),
        }
    }

    /// Allows for as many sessions as there are to be.
    pub(crate) fn set_limit(&self, sessions: usize) {
        let limit = MIN_HANDSHAKES_PER_SECOND.max(4 * sessions as u64);
        let mut state = self.lock();
        if limit != state.limit {
            state.limit = limit;
            state.limiter = Arc::new(RateLimiter::new(&self.public_key, limit));
            state.crowd = Crowd::new(Instant::now());
        }
    }

    pub(super) fn limiter(&self) -> Arc<RateLimiter> {
        self.lock().limiter.clone()
    }

    /// Whether a message that the limiter let through may cost us the arithmetic of a handshake.
    pub(super) fn is_affordable(&self, from: IpAddr) -> bool {
        let mut state = self.lock();
        let limit = state.limit;
        state.crowd.admit(from, limit)
    }

    /// Lets time pass: what was counted in a second is forgotten after it.
    pub(super) fn tick(&self, now: Instant) {
        let mut state = self.lock();
        state.crowd.forget(now);
        // It looks at the clock itself.
        state.limiter.reset_count();
    }

    /// Whether no lane has seen this initiation of the peer, and it is not too old to tell. From now on it was seen. To be asked of
    /// authentic ones only.
    pub(super) fn is_new(&self, peer: &PublicKey, timestamp: [u8; TIMESTAMP]) -> bool {
        let mut state = self.lock();
        let times = state.times.entry(*peer).or_default();
        if timestamp <= times.floor || !times.known.insert(timestamp) {
            return false;
        }
        if times.known.len() > KNOWN_TIMES
            && let Some(oldest) = times.known.pop_first()
        {
            times.floor = oldest;
        }
        true
    }

    /// Forgets those that are peers no more.
    pub(super) fn retain(&self, is_peer: impl Fn(&PublicKey) -> bool) {
        self.lock().times.retain(|key, _| is_peer(key));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of a TAI64N time: seconds, then nanoseconds, most significant first, so that they compare as they are.
pub(super) const TIMESTAMP: usize = 12;
/// Twice as many as there can be lanes.
const KNOWN_TIMES: usize = 32;
/// At boringtun's default of 10 a restart beside many peers is answered with cookies and seconds of waiting.
const MIN_HANDSHAKES_PER_SECOND: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_new_once_in_any_order_and_old_ones_are_refused() {
        let key = PrivateKey::generate();
        let handshakes = Handshakes::new(&key);
        let (peer, other) = (key.public_key(), PrivateKey::generate().public_key());
        assert!(handshakes.is_new(&peer, [2; 12]));
        assert!(handshakes.is_new(&peer, [1; 12]), "overtaken on the way");
        assert!(handshakes.is_new(&other, [2; 12]));
        for time in 3..=KNOWN_TIMES as u8 + 2 {
            assert!(handshakes.is_new(&peer, [time; 12]));
        }
        for time in 0..=KNOWN_TIMES as u8 + 2 {
            assert!(!handshakes.is_new(&peer, [time; 12]), "{time}");
        }
        handshakes.retain(|key| *key == other);
        assert!(handshakes.is_new(&peer, [1; 12]), "a peer that left has no past");
    }
}

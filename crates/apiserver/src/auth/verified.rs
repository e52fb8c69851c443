//! Tokens whose signature has been found good, so that it is not computed again for every request.
//!
//! A signature stays good as long as the key does, which is as long as the process. Everything that can end a token, its time, its
//! account, what it is bound to, is looked up on every use and never remembered here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::claims::Claims;

type Digest = [u8; 32];
/// What was asked for lately, and what was before that.
type Generations = [HashMap<Digest, Arc<Claims>>; 2];

/// The claims of verified tokens by the digest of the token. Bounded: what has not been asked for while [`GENERATION`] others were is
/// forgotten.
#[derive(Default)]
pub(super) struct Verified {
    generations: Mutex<Generations>,
}

impl Verified {
    pub(super) fn get(&self, digest: &Digest) -> Option<Arc<Claims>> {
        let generations = self.locked();
        let [young, old] = &*generations;
        if let Some(claims) = young.get(digest) {
            return Some(Arc::clone(claims));
        }
        let claims = Arc::clone(old.get(digest)?);
        drop(generations);
        self.keep(*digest, &claims);
        Some(claims)
    }

    pub(super) fn keep(&self, digest: Digest, claims: &Arc<Claims>) {
        let [young, old] = &mut *self.locked();
        if young.len() >= GENERATION {
            *old = std::mem::take(young);
        }
        young.insert(digest, Arc::clone(claims));
    }

    fn locked(&self) -> MutexGuard<'_, Generations> {
        // Whoever panicked while holding it left maps that are whole.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const GENERATION: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> Digest {
        let mut digest = Digest::default();
        digest[..8].copy_from_slice(&n.to_le_bytes());
        digest
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let verified = Verified::default();
        let claims = Arc::default();
        for n in 0..10 * GENERATION {
            verified.keep(digest(n), &claims);
            assert!(verified.get(&digest(0)).is_some(), "after {n} others");
        }
        assert!(verified.get(&digest(1)).is_none());
        let kept: usize = verified.generations.lock().unwrap().iter().map(HashMap::len).sum();
        assert!(kept <= 2 * GENERATION, "{kept}");
    }
}

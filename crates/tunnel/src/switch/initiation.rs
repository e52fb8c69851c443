//! What a handshake's first message says of its sender, read without a session (WireGuard white paper, §5.4.2).
//!
//! Two steps, because they cost one curve operation each, and the first already tells strangers from peers. The session itself
//! computes them again: it keeps what it finds to itself, and the time is needed by all lanes.

use blake2::{Blake2s256, Digest};
use boringtun::x25519;
use chacha20poly1305::aead::{AeadInPlace, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use hmac::{Mac, SimpleHmac};
use model::PublicKey;
use zeroize::Zeroizing;

use super::handshakes::TIMESTAMP;
use crate::key::PrivateKey;

/// An initiation whose sender is known, but not yet whether it really is that one's.
pub(super) struct Initiation {
    sender: PublicKey,
    sender_index: u32,
    chaining_key: Zeroizing<Hash>,
    hash: Hash,
    sealed_timestamp: [u8; TIMESTAMP + TAG],
}

type Hash = [u8; 32];

impl Initiation {
    /// Reads the sender's static key. Nothing if the message was not made for our key.
    pub(super) fn open(key: &PrivateKey, message: &[u8]) -> Option<Self> {
        let sender_index = u32::from_le_bytes(*message.get(4..)?.first_chunk()?);
        let ephemeral: [u8; 32] = *message.get(8..)?.first_chunk()?;
        let sealed_static: [u8; 32 + TAG] = *message.get(40..)?.first_chunk()?;
        let sealed_timestamp = *message.get(88..)?.first_chunk()?;
        let chaining_key = digest(&[CONSTRUCTION]);
        let hash = digest(&[&chaining_key, IDENTIFIER]);
        let hash = digest(&[&hash, key.public().as_bytes()]);
        let hash = digest(&[&hash, &ephemeral]);
        let (chaining_key, _) = derive(&chaining_key, &ephemeral);
        let shared = key.secret().diffie_hellman(&x25519::PublicKey::from(ephemeral));
        let (chaining_key, seal) = derive(&chaining_key, shared.as_bytes());
        let sender = unseal::<32>(&seal, &sealed_static, &hash)?;
        Some(Self {
            sender: PublicKey::from_bytes(sender),
            sender_index,
            chaining_key,
            hash: digest(&[&hash, &sealed_static]),
            sealed_timestamp,
        })
    }

    /// Who it claims to be from.
    pub(super) fn sender(&self) -> &PublicKey {
        &self.sender
    }

    /// The sender's own index, which is not sealed: anybody can change it.
    pub(super) fn sender_index(&self) -> u32 {
        self.sender_index
    }

    /// The sender's time, which only the sender can have sealed. Nothing if someone else made the message.
    pub(super) fn timestamp(&self, key: &PrivateKey) -> Option<[u8; TIMESTAMP]> {
        let sender = x25519::PublicKey::from(*self.sender.as_bytes());
        let shared = key.secret().diffie_hellman(&sender);
        let (_, seal) = derive(&self.chaining_key, shared.as_bytes());
        unseal(&seal, &self.sealed_timestamp, &self.hash)
    }
}

fn digest(parts: &[&[u8]]) -> Hash {
    let mut digest = Blake2s256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

/// The next chaining key, and a key to seal with (the paper's `Kdf2`; the first alone is its `Kdf1`).
fn derive(chaining_key: &Hash, input: &[u8]) -> (Zeroizing<Hash>, Zeroizing<Hash>) {
    let temporary = Zeroizing::new(mac(chaining_key, &[input]));
    let first = Zeroizing::new(mac(&temporary, &[&[1]]));
    let second = Zeroizing::new(mac(&temporary, &[first.as_slice(), &[2]]));
    (first, second)
}

fn mac(key: &Hash, parts: &[&[u8]]) -> Hash {
    let mut mac = <SimpleHmac<Blake2s256> as Mac>::new_from_slice(key).expect("any length of key will do");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// `sealed` is `N` bytes and a tag. Every key of a handshake seals once, so that the nonce is 0.
fn unseal<const N: usize>(key: &Hash, sealed: &[u8], associated: &Hash) -> Option<[u8; N]> {
    let (opened, tag) = sealed.split_first_chunk::<N>()?;
    let mut opened = *opened;
    ChaCha20Poly1305::new(key.into())
        .decrypt_in_place_detached(&Nonce::default(), associated, &mut opened, Tag::from_slice(tag))
        .is_ok()
        .then_some(opened)
}

const TAG: usize = 16;
const CONSTRUCTION: &[u8] = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const IDENTIFIER: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

#[cfg(test)]
mod tests {
    use super::*;
    use boringtun::noise::{Tunn, TunnResult};
    use proptest::prelude::*;

    fn initiations(from: &PrivateKey, to: &PrivateKey, count: usize) -> Vec<Vec<u8>> {
        let mut tunn = Tunn::new(from.secret().clone(), *to.public(), None, None, 7, None);
        let mut buffer = [0; 148];
        let mut next = || match tunn.format_handshake_initiation(&mut buffer, true) {
            TunnResult::WriteToNetwork(message) => message.to_vec(),
            other => panic!("{other:?}"),
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn sender_and_time_are_those_of_the_protocol() {
        let (from, to) = (PrivateKey::generate(), PrivateKey::generate());
        let times: Vec<_> = initiations(&from, &to, 3)
            .iter()
            .map(|message| {
                let initiation = Initiation::open(&to, message).unwrap();
                assert_eq!(*initiation.sender(), from.public_key());
                initiation.timestamp(&to).unwrap()
            })
            .collect();
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    }

    #[test]
    fn for_another_key_it_says_nothing() {
        let (from, to) = (PrivateKey::generate(), PrivateKey::generate());
        let message = &initiations(&from, &to, 1)[0];
        assert!(Initiation::open(&PrivateKey::generate(), message).is_none());
        assert!(Initiation::open(&to, &message[..115]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn no_part_can_be_changed(at in 8usize..116, bit in 0u8..8) {
            let (from, to) = (PrivateKey::generate(), PrivateKey::generate());
            let mut message = initiations(&from, &to, 1).remove(0);
            message[at] ^= 1 << bit;
            // The highest bit of a curve point is not looked at, but it is hashed.
            let timestamp = Initiation::open(&to, &message).and_then(|initiation| initiation.timestamp(&to));
            prop_assert_eq!(timestamp, None);
        }
    }
}

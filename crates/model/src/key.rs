use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A Curve25519 public key: the identity of a gateway on its cables. Text is standard base64 of 32 bytes, as `wg` prints it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

/// A text that is not a public key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("public key \"{0}\" is not valid: write 32 bytes as base64 (44 characters that end in '=')")]
pub struct InvalidKey(pub String);

impl PublicKey {
    /// A key from its bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The reserved address of a gateway's probes: `fd74:6f6d::/32` ("tom") and 96 bits of its public key. Only packets that are
/// intercepted before the TUN device carry it, so it needs no allocation and never meets a route.
pub fn probe_address(key: &PublicKey) -> Ipv6Addr {
    let mut octets = [0u8; 16];
    octets[..4].copy_from_slice(&[0xfd, 0x74, 0x6f, 0x6d]);
    octets[4..].copy_from_slice(&key.0[..12]);
    Ipv6Addr::from(octets)
}

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        decode(text).map(Self).ok_or_else(|| InvalidKey(text.to_owned()))
    }
}

impl TryFrom<String> for PublicKey {
    type Error = InvalidKey;

    fn try_from(text: String) -> Result<Self, InvalidKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use base64::Engine;
        f.write_str(&base64::engine::general_purpose::STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn decode(text: &str) -> Option<[u8; 32]> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .ok()?
        .try_into()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn malformed_keys_are_refused() {
        for bad in [
            "",
            "abc",
            "not base64 at all, not at all, not at all!!!=",
            &"A".repeat(44),
        ] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_reads_back(bytes: [u8; 32]) {
            let key = PublicKey::from_bytes(bytes);
            prop_assert_eq!(key.to_string().parse::<PublicKey>().unwrap(), key);
        }

        #[test]
        fn text_never_panics(text in ".{0,64}") {
            let _ = text.parse::<PublicKey>();
        }
    }
}

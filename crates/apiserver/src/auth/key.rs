//! The key that service account tokens are signed with, and JWTs in their compact form (RFC 7515 §3.1).
//!
//! ECDSA on P-256 with SHA-256 (`ES256`). The key is an internal object of the store: made at the first start, as durable as
//! everything else, and part of backups, so that a restored server goes on accepting the tokens that its clients hold.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    object::text_at,
    store::{Key, Resource},
};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the system gave no random numbers")]
    Random,
    #[error("the stored key is damaged; restore a backup")]
    Damaged,
}

/// See the module.
pub(crate) struct SigningKey {
    pair: EcdsaKeyPair,
    id: String,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// A new key, and the record from which it [comes back](Self::from_record).
    pub(crate) fn generate() -> Result<(Self, Value), KeyError> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeyError::Random)?;
        let record = json!({"pkcs8": BASE64_STANDARD.encode(document.as_ref())});
        Ok((Self::from_record(&record)?, record))
    }

    pub(crate) fn from_record(record: &Value) -> Result<Self, KeyError> {
        let document = BASE64_STANDARD
            .decode(text_at(record, &["pkcs8"]))
            .map_err(|_| KeyError::Damaged)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &document, &SystemRandom::new())
            .map_err(|_| KeyError::Damaged)?;
        let public = [&SPKI_PREFIX, pair.public_key().as_ref()].concat();
        let id = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(public));
        Ok(Self { pair, id })
    }

    /// Where the record lies in the store. Not served: no kind has this group.
    pub(crate) fn place() -> Key {
        Key::new(&Resource::new("internal", "keys"), "", "service-accounts")
    }

    /// A token with this payload.
    pub(crate) fn sign(&self, payload: &Value) -> Result<String, KeyError> {
        let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let header = json!({"alg": ALGORITHM, "kid": self.id});
        let signed = format!("{}.{}", part(&header), part(payload));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .map_err(|_| KeyError::Random)?;
        Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Whether a token has been signed with this key.
    pub(crate) fn has_signed(&self, token: &Compact<'_>) -> bool {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.pair.public_key());
        // The algorithm is ours, whatever the header would like it to be.
        token.header["alg"] == ALGORITHM
            && token.header["kid"] == *self.id
            && key.verify(token.signed.as_bytes(), &token.signature).is_ok()
    }

    /// The public half as a JSON Web Key Set (RFC 7517).
    pub(crate) fn public_set(&self) -> Value {
        // An uncompressed point: 4, x, y.
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let part = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": ALGORITHM, "x": part(x), "y": part(y)}]})
    }
}

/// A token taken apart; nothing in it has been proven.
#[derive(Debug)]
pub(crate) struct Compact<'a> {
    header: Value,
    pub payload: Value,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    /// None if this is no JWT.
    pub(crate) fn parse(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let bytes = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            header: serde_json::from_slice(&bytes(header)?).ok()?,
            payload: serde_json::from_slice(&bytes(payload)?).ok()?,
            signed,
            signature: bytes(signature)?,
        })
    }
}

pub(crate) const ALGORITHM: &str = "ES256";

/// What stands before the point of a P-256 key in a SubjectPublicKeyInfo (RFC 5480 §2): a key's id is the hash of that.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_recognised_and_nothing_else() {
        let (key, record) = SigningKey::generate().unwrap();
        let token = key.sign(&json!({"sub": "a"})).unwrap();
        let again = SigningKey::from_record(&record).unwrap();
        assert!(
            again.has_signed(&Compact::parse(&token).unwrap()),
            "a key comes back from its record"
        );
        let (other, _) = SigningKey::generate().unwrap();
        assert!(!other.has_signed(&Compact::parse(&token).unwrap()));

        let (head, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let forged = BASE64_URL_SAFE_NO_PAD.encode(json!({"sub": "b"}).to_string());
        let forged = format!("{head}.{forged}.{signature}");
        assert!(!key.has_signed(&Compact::parse(&forged).unwrap()));
        let header = BASE64_URL_SAFE_NO_PAD.encode(json!({"alg": "none", "kid": key.id}).to_string());
        let unsigned = format!("{header}.{}.", rest.split_once('.').unwrap().0);
        assert!(!key.has_signed(&Compact::parse(&unsigned).unwrap()));
    }

    #[test]
    fn the_published_key_is_the_one_that_signs() {
        let (key, _) = SigningKey::generate().unwrap();
        let published = key.public_set()["keys"][0].clone();
        let part = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text_at(&published, &[name])).unwrap();
        let point = [vec![4], part("x"), part("y")].concat();
        let token = key.sign(&json!({})).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &signature)
            .unwrap();
        assert_eq!(published["kid"], Compact::parse(&token).unwrap().header["kid"]);
    }

    #[test]
    fn a_damaged_record_is_told() {
        let damaged = SigningKey::from_record(&json!({"pkcs8": "AAAA"}));
        assert!(matches!(damaged, Err(KeyError::Damaged)));
    }
}

//! Whose token is this, and for whom.

use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{
    AUDIENCE, SigningKey, User,
    claims::Claims,
    key::{Compact, KeyError},
    opaque,
    verified::Verified,
};
use crate::store::Txn;

/// Recognises tokens, and signs new ones.
pub(crate) struct Tokens {
    admin: [u8; 32],
    pub key: SigningKey,
    verified: Verified,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What a good token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub user: User,
    /// Those of the asked audiences that the token is for.
    pub audiences: Vec<String>,
}

/// Why a token is no good. The words are those of a TokenReview's `error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("invalid bearer token")]
    Unknown,
    /// It has our issuer.
    #[error("[invalid bearer token, {0}]")]
    Invalid(String),
}

impl Tokens {
    pub(crate) fn new(admin_token: &str, key: SigningKey) -> Self {
        Self {
            admin: Sha256::digest(admin_token).into(),
            key,
            verified: Verified::default(),
        }
    }

    /// Whose token this is, as far as it is for one of these audiences.
    pub(crate) fn prove(&self, txn: &Txn<'_>, token: &str, asked: &[&str], now: Timestamp) -> Result<Proof, Refusal> {
        let of_asked = |mut for_whom: Vec<&str>| -> Vec<String> {
            for_whom.retain(|audience| !audience.is_empty());
            let both = asked.iter().filter(|audience| for_whom.contains(audience));
            both.map(|audience| (*audience).to_owned()).collect()
        };
        let digest: [u8; 32] = Sha256::digest(token).into();
        let secret = if bool::from(digest.ct_eq(&self.admin)) {
            Some(User::admin())
        } else {
            opaque::user(txn, token, now)
        };
        if let Some(user) = secret {
            let audiences = of_asked(vec![AUDIENCE]);
            return match audiences.is_empty() {
                true => Err(Refusal::Unknown),
                false => Ok(Proof { user, audiences }),
            };
        }
        let claims = match self.verified.get(&digest) {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.verify(token)?);
                self.verified.keep(digest, &claims);
                claims
            }
        };
        let audiences = of_asked(claims.aud.iter().map(String::as_str).collect());
        if audiences.is_empty() {
            let what = format!(
                "token audiences {} is invalid for the target audiences {}",
                quoted(&claims.aud),
                quoted(asked)
            );
            return Err(Refusal::Invalid(what));
        }
        claims.check(txn, now)?;
        let user = claims.user();
        Ok(Proof { user, audiences })
    }

    /// What a token says, if it has our signature.
    fn verify(&self, token: &str) -> Result<Claims, Refusal> {
        let token = Compact::parse(token)
            .filter(|token| token.payload["iss"] == AUDIENCE)
            .ok_or(Refusal::Unknown)?;
        if !self.key.has_signed(&token) {
            return Err(Refusal::Invalid("invalid signature, no keys found".into()));
        }
        Claims::parse(token.payload).ok_or(Refusal::Unknown)
    }

    /// A token that says this.
    pub(crate) fn issue(&self, claims: &Claims) -> Result<String, KeyError> {
        let payload = serde_json::to_value(claims).expect("claims are texts and numbers");
        self.key.sign(&payload)
    }
}

/// A list as the real server writes it into messages.
fn quoted<T: std::fmt::Debug>(list: &[T]) -> String {
    let items: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
    format!("[{}]", items.join(" "))
}

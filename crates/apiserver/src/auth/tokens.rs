//! Tokens: opaque, 256 random bits, known to the server only by their SHA-256.
//!
//! A service account's token is an internal object in the store, under its hash, so it is as durable as everything else. It
//! is good until it expires, and only as long as its ServiceAccount and the object it is bound to exist with the uid they had:
//! that is checked on every use, so deleting a bound Secret ends its token at once.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::User;
use crate::{
    object::{Object as _, text_at},
    store::{Key, Resource, Txn},
};

/// Recognises tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    admin: [u8; 32],
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

/// What a token dies with, beside its ServiceAccount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub kind: String,
    pub name: String,
    pub uid: String,
}

/// What a new token says.
#[derive(Clone, Debug)]
pub(crate) struct Issued<'a> {
    pub namespace: &'a str,
    pub account: &'a str,
    pub account_uid: &'a str,
    pub bound: Option<&'a Bound>,
    pub expires: Timestamp,
}

impl Tokens {
    pub(crate) fn new(admin_token: &str) -> Self {
        Self {
            admin: hash(admin_token),
        }
    }

    /// Whose token this is.
    pub(crate) fn user(&self, txn: &Txn<'_>, token: &str, now: Timestamp) -> Option<User> {
        let digest = hash(token);
        if bool::from(digest.ct_eq(&self.admin)) {
            return Some(User::admin());
        }
        let record = txn.get(&key(&hex(&digest)))?;
        let expires: Timestamp = text_at(&record, &["expires"]).parse().ok()?;
        if expires <= now {
            return None;
        }
        let of = |field: &str| text_at(&record, &[field]);
        let (namespace, account) = (of("namespace"), of("account"));
        let alive = |plural: &str, name: &str, uid: &str| {
            let found = txn.get(&Key::new(&Resource::new("", plural), namespace, name));
            found.is_some_and(|object| object.uid() == uid)
        };
        if !alive("serviceaccounts", account, of("accountUid")) {
            return None;
        }
        if let Some(bound) = record.get("bound").filter(|bound| bound.is_object()) {
            let plural = if bound["kind"] == "Pod" { "pods" } else { "secrets" };
            if !alive(plural, text_at(bound, &["name"]), text_at(bound, &["uid"])) {
                return None;
            }
        }
        Some(User::service_account(namespace, account, of("accountUid")))
    }

    /// Stages a new token and returns it; expired ones go on the way.
    pub(crate) fn issue(&self, txn: &mut Txn<'_>, issued: &Issued<'_>, now: Timestamp) -> String {
        let dead = |record: &Value| {
            text_at(record, &["expires"])
                .parse::<Timestamp>()
                .is_ok_and(|at| at <= now)
        };
        for (place, record) in txn.list(&resource(), None) {
            if dead(&record) {
                txn.delete(key(&place.name), (*record).clone());
            }
        }
        let random = [uuid::Uuid::new_v4(), uuid::Uuid::new_v4(), uuid::Uuid::new_v4()];
        let entropy: Vec<u8> = random.iter().flat_map(|uuid| *uuid.as_bytes()).collect();
        let token = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(entropy));
        let bound = issued
            .bound
            .map(|bound| json!({"kind": bound.kind, "name": bound.name, "uid": bound.uid}));
        let record = json!({
            "namespace": issued.namespace, "account": issued.account, "accountUid": issued.account_uid,
            "expires": issued.expires.to_string(), "bound": bound,
        });
        txn.put(key(&hex(&hash(&token))), record);
        token
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Not served: no kind has this group.
fn resource() -> Resource {
    Resource::new("internal", "tokens")
}

fn key(hash: &str) -> Key {
    Key::new(&resource(), "", hash)
}

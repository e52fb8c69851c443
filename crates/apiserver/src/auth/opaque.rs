//! Tokens of data folders of before tokens were JWTs: 256 random bits, known only by their SHA-256. None is issued any more.
//!
//! The record of one is an internal object in the store, under its hash. It is good under the same conditions as a JWT.

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::User;
use crate::{
    object::{Object as _, text_at},
    store::{Key, Resource, Txn},
};

/// Whose token this is.
pub(crate) fn user(txn: &Txn<'_>, token: &str, now: Timestamp) -> Option<User> {
    let record = txn.get(&key(token))?;
    if is_over(&record, now) {
        return None;
    }
    let of = |field: &str| text_at(&record, &[field]);
    let (namespace, account) = (of("namespace"), of("account"));
    let is_alive = |plural: &str, name: &str, uid: &str| {
        let found = txn.get(&Key::new(&Resource::new("", plural), namespace, name));
        found.is_some_and(|object| object.uid() == uid)
    };
    if !is_alive("serviceaccounts", account, of("accountUid")) {
        return None;
    }
    if let Some(bound) = record.get("bound").filter(|bound| bound.is_object()) {
        let plural = if bound["kind"] == "Pod" { "pods" } else { "secrets" };
        if !is_alive(plural, text_at(bound, &["name"]), text_at(bound, &["uid"])) {
            return None;
        }
    }
    Some(User::service_account(namespace, account, of("accountUid")))
}

/// Removes those that have ended.
pub(crate) fn sweep(txn: &mut Txn<'_>, now: Timestamp) {
    for (place, record) in txn.list(&resource(), None) {
        if is_over(&record, now) {
            txn.delete(Key::new(&resource(), "", &place.name), (*record).clone());
        }
    }
}

fn is_over(record: &Value, now: Timestamp) -> bool {
    let expires: Result<Timestamp, _> = text_at(record, &["expires"]).parse();
    expires.map_or(true, |at| at <= now)
}

fn resource() -> Resource {
    Resource::new("internal", "tokens")
}

fn key(token: &str) -> Key {
    let hash: String = Sha256::digest(token).iter().map(|byte| format!("{byte:02x}")).collect();
    Key::new(&resource(), "", &hash)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use serde_json::json;

    use super::*;
    use crate::store::{Limits, Store};

    #[test]
    fn an_old_token_is_good_until_it_ends() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let later = now + SignedDuration::from_hours(2);
        let mut store = Store::new(Limits::default());
        let mut txn = Txn::new(&store);
        let account = Key::new(&Resource::new("", "serviceaccounts"), "a", "member");
        txn.put(
            account,
            json!({"metadata": {"name": "member", "namespace": "a", "uid": "u1"}}),
        );
        for (token, uid, hours) in [("good", "u1", 1), ("of another", "u2", 1), ("old", "u1", -1)] {
            let expires = (now + SignedDuration::from_hours(hours)).to_string();
            let record =
                json!({"namespace": "a", "account": "member", "accountUid": uid, "expires": expires, "bound": null});
            txn.put(key(token), record);
        }
        let changes = txn.into_changes();
        store.commit(&changes, now);

        let mut txn = Txn::new(&store);
        let found = user(&txn, "good", now).unwrap();
        assert_eq!(
            (found.name.as_str(), found.uid.as_str()),
            ("system:serviceaccount:a:member", "u1")
        );
        for token in ["of another", "old", "unknown"] {
            assert_eq!(user(&txn, token, now), None, "{token}");
        }
        assert_eq!(user(&txn, "good", later), None);
        sweep(&mut txn, now);
        assert_eq!(txn.removed(), [key("old")]);
    }
}

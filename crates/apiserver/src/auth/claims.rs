//! What a service account's token says, in the claims that Kubernetes gives them (RFC 7519, and `kubernetes.io` beside).
//!
//! A token is good from its `nbf` to its `exp`, and only as long as its ServiceAccount and the object that it is bound to exist with
//! the uid that they had. The latter is looked up on every use, so deleting a bound Secret ends its token at once.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Refusal, User};
use crate::{
    object::Object as _,
    store::{Key, Resource, Txn},
};

/// The fields are in the order of the alphabet, as the real server writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub about: About,
    pub nbf: i64,
    pub sub: String,
}

/// Whose token it is, and what it dies with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    pub serviceaccount: Reference,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// An object by its name and uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub name: String,
    /// Empty for a node that a pod names and that does not exist.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

impl Claims {
    /// The claims of a signed payload; none if they are not those of a service account.
    pub(crate) fn parse(payload: Value) -> Option<Self> {
        serde_json::from_value(payload).ok()
    }

    /// Why the token is no good, if it is not.
    pub(crate) fn check(&self, txn: &Txn<'_>, now: Timestamp) -> Result<(), Refusal> {
        let (now_second, leeway) = (now.as_second(), LEEWAY.as_secs());
        if self.nbf > now_second + leeway {
            return Err(Refusal::Invalid("service account token is not valid yet".into()));
        }
        if self.exp < now_second - leeway {
            return Err(Refusal::Invalid("service account token has expired".into()));
        }
        if self.iat > now_second + leeway {
            return Err(Refusal::Invalid("service account token is issued in the future".into()));
        }
        let account = &self.about.serviceaccount;
        match found(txn, "serviceaccounts", &self.about.namespace, &account.name, now) {
            None => {
                let what = format!("serviceaccounts {:?} not found", account.name);
                return Err(Refusal::Invalid(what));
            }
            Some(uid) if uid != account.uid => {
                let what = format!("service account UID ({uid}) does not match claim ({})", account.uid);
                return Err(Refusal::Invalid(what));
            }
            Some(_) => {}
        }
        for (plural, kind, bound) in self.about.bound() {
            let namespace = if plural == "nodes" { "" } else { &self.about.namespace };
            match found(txn, plural, namespace, &bound.name, now) {
                None => return Err(Refusal::Invalid("service account token has been invalidated".into())),
                Some(uid) if uid != bound.uid => {
                    let claimed = &bound.uid;
                    return Err(Refusal::Invalid(format!(
                        "{kind} UID ({uid}) does not match service account {kind} ref claim ({claimed})"
                    )));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Whom a good token stands for.
    pub(crate) fn user(&self) -> User {
        let account = &self.about.serviceaccount;
        let mut user = User::service_account(&self.about.namespace, &account.name, &account.uid);
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                let name = format!("authentication.kubernetes.io/{name}");
                user.extra.insert(name, vec![value.to_owned()]);
            }
        };
        add("credential-id", &format!("JTI={}", self.jti));
        for (kind, reference) in [("pod", &self.about.pod), ("node", &self.about.node)] {
            if let Some(reference) = reference {
                add(&format!("{kind}-name"), &reference.name);
                add(&format!("{kind}-uid"), &reference.uid);
            }
        }
        user
    }
}

impl Reference {
    pub(crate) fn to(object: &Value) -> Self {
        Self {
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
        }
    }
}

impl About {
    /// What must still exist. The node of a bound pod is only told: the pod goes with it.
    fn bound(&self) -> impl Iterator<Item = (&'static str, &'static str, &Reference)> {
        let secret = self.secret.iter().map(|one| ("secrets", "secret", one));
        let pod = self.pod.iter().map(|one| ("pods", "pod", one));
        let node = self.node.iter().filter(|_| self.pod.is_none());
        secret.chain(pod).chain(node.map(|one| ("nodes", "node", one)))
    }
}

/// The uid of an object, unless it has been deleted, or should have been gone for a while.
fn found(txn: &Txn<'_>, plural: &str, namespace: &str, name: &str, now: Timestamp) -> Option<String> {
    let object = txn.get(&Key::new(&Resource::new("", plural), namespace, name))?;
    let ends: Option<Timestamp> = object.meta_str("deletionTimestamp").parse().ok();
    let is_over = ends.is_some_and(|end| now.duration_since(end) > LEEWAY);
    (!is_over).then(|| object.uid().to_owned())
}

/// How far clocks may differ, and how long what is being deleted may take.
const LEEWAY: SignedDuration = SignedDuration::from_mins(1);

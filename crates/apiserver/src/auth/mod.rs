//! Who asks. A request carries a bearer token or it is anonymous.
//!
//! Three kinds of tokens are known. The administrator's is a secret of the configuration. A service account's is a JWT that this
//! server signs on request ([`claims`] says what is in it, [`key`] with what it is signed), so others can verify it from what is
//! published for OIDC. And data folders of before there were JWTs may hold [`opaque`] ones.

mod claims;
mod key;
mod opaque;
mod tokens;
mod verified;

use std::collections::BTreeMap;

pub(crate) use claims::{About, Claims, Reference};
pub(crate) use key::{ALGORITHM, KeyError, SigningKey};
pub(crate) use opaque::sweep;
pub(crate) use tokens::{Refusal, Tokens};

/// Whom tokens are for, unless they say otherwise; also their issuer.
pub(crate) const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// An authenticated user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// What else the credential says, by name.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The holder of the static token: may do everything.
    pub(crate) fn admin() -> Self {
        Self::named("admin", "", ["system:masters", "system:authenticated"])
    }

    pub(crate) fn anonymous() -> Self {
        Self::named("system:anonymous", "", ["system:unauthenticated"])
    }

    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        let own = format!("system:serviceaccounts:{namespace}");
        let groups = ["system:serviceaccounts", &own, "system:authenticated"];
        Self::named(&format!("system:serviceaccount:{namespace}:{name}"), uid, groups)
    }

    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }

    fn named<const N: usize>(name: &str, uid: &str, groups: [&str; N]) -> Self {
        Self {
            name: name.into(),
            uid: uid.into(),
            groups: groups.map(str::to_owned).into(),
            extra: BTreeMap::new(),
        }
    }
}

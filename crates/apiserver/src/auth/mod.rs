//! Who asks. A request carries a bearer token or it is anonymous.

mod tokens;

pub(crate) use tokens::{Bound, Issued, Tokens};

/// Whom tokens are for, unless they say otherwise; also their issuer.
pub(crate) const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

/// An authenticated user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
}

impl User {
    /// The holder of the static token: may do everything.
    pub(crate) fn admin() -> Self {
        let groups = vec!["system:masters".into(), "system:authenticated".into()];
        Self {
            name: "admin".into(),
            uid: String::new(),
            groups,
        }
    }

    pub(crate) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".into(),
            uid: String::new(),
            groups: vec!["system:unauthenticated".into()],
        }
    }

    pub(crate) fn service_account(namespace: &str, name: &str, uid: &str) -> Self {
        Self {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".into(),
            ],
        }
    }

    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }
}

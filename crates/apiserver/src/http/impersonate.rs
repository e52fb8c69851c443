//! Acting as somebody else (`kubectl --as`): for whoever holds the verb `impersonate` on all that is claimed.

use http::HeaderMap;

use super::{check_allowed, route::Target};
use crate::{auth::User, server::Server, status::Status, store::Txn};

/// The user whom a request acts as, which mostly is the one who sent it.
pub(crate) fn acting(server: &Server, user: User, headers: &HeaderMap) -> Result<User, Status> {
    let all = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.filter(|text| !text.is_empty()).map(str::to_owned).collect()
    };
    let one = |name: &str| all(name).into_iter().next().unwrap_or_default();
    let (name, uid, mut groups) = (
        one("impersonate-user"),
        one("impersonate-uid"),
        all("impersonate-group"),
    );
    if name.is_empty() {
        return match groups.is_empty() && uid.is_empty() {
            true => Ok(user),
            false => Err(Status::internal(
                "groups or a uid were requested without impersonating a user",
            )),
        };
    }
    let account = name.strip_prefix(ACCOUNTS).and_then(|rest| rest.split_once(':'));
    let (core, authentication) = ("", "authentication.k8s.io");
    let mut claims = vec![match account {
        Some((namespace, name)) => claim(core, "serviceaccounts", namespace, name),
        None => claim(core, "users", "", &name),
    }];
    claims.extend(groups.iter().map(|group| claim(core, "groups", "", group)));
    if !uid.is_empty() {
        claims.push(claim(authentication, "uids", "", &uid));
    }
    let store = server.store();
    let txn = Txn::new(&store);
    for claim in &claims {
        check_allowed(&txn, &user, claim, "impersonate")?;
    }
    match account {
        Some((namespace, name)) if groups.is_empty() => groups = User::service_account(namespace, name, "").groups,
        _ => {
            let implied = if name == User::anonymous().name {
                UNAUTHENTICATED
            } else {
                AUTHENTICATED
            };
            if !groups
                .iter()
                .any(|group| [AUTHENTICATED, UNAUTHENTICATED].contains(&group.as_str()))
            {
                groups.push(implied.to_owned());
            }
        }
    }
    Ok(User {
        name,
        uid,
        groups,
        ..User::default()
    })
}

fn claim(group: &str, plural: &str, namespace: &str, name: &str) -> Target {
    Target {
        group: group.to_owned(),
        plural: plural.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Target::default()
    }
}

const ACCOUNTS: &str = "system:serviceaccount:";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";

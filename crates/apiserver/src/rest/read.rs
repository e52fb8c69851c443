//! Get and list.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    field::FieldError,
    selector::Selector,
    status::Status,
    store::{Key, Place, Resource, Revision, Store},
};

/// What a list asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListQuery {
    pub namespace: Option<String>,
    pub selector: Selector,
    pub limit: Option<usize>,
    pub continue_token: Option<String>,
    pub resource_version: String,
    /// `Exact`, `NotOlderThan` or empty.
    pub version_match: String,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub items: Vec<Arc<Value>>,
    pub revision: Revision,
    pub continue_token: Option<String>,
    /// Objects after this page; unknown when a selector narrows the list.
    pub remaining: Option<usize>,
}

pub(crate) fn get(store: &Store, resource: &Resource, namespace: &str, name: &str) -> Result<Arc<Value>, Status> {
    let found = store.get(&Key::new(resource, namespace, name));
    found.cloned().ok_or_else(|| Status::not_found(resource, name))
}

pub(crate) fn list(store: &Store, resource: &Resource, query: &ListQuery) -> Result<List, Status> {
    let (at, after) = start(store, query)?;
    let namespace = query.namespace.as_deref();
    let matches = |object: &Value| query.selector.matches(object);
    let mut found: Vec<(Place, Arc<Value>)> = if at == store.revision() {
        let all = store.list(resource, namespace).filter(|(_, object)| matches(object));
        all.map(|(place, object)| (place.clone(), Arc::clone(object))).collect()
    } else {
        match store.list_at(resource, namespace, at) {
            Ok(objects) => objects.into_iter().filter(|(_, object)| matches(object)).collect(),
            Err(_) => {
                return Err(match after {
                    Some(after) => Status::expired_continue(token(None, &after, query.namespace.as_deref())),
                    None => Status::gone("The resourceVersion for the provided list is too old."),
                });
            }
        }
    };
    if let Some(after) = &after {
        found.retain(|(place, _)| place > after);
    }
    let mut page = List {
        items: Vec::new(),
        revision: at,
        continue_token: None,
        remaining: None,
    };
    if let Some(limit) = query.limit.filter(|limit| *limit > 0 && found.len() > *limit) {
        if query.selector == Selector::default() {
            page.remaining = Some(found.len() - limit);
        }
        found.truncate(limit);
        page.continue_token = found
            .last()
            .map(|(place, _)| token(Some(at), place, query.namespace.as_deref()));
    }
    page.items = found.into_iter().map(|(_, object)| object).collect();
    Ok(page)
}

/// The revision to list at, and the place to go on after.
fn start(store: &Store, query: &ListQuery) -> Result<(Revision, Option<Place>), Status> {
    let now = store.revision();
    let version = query.resource_version.as_str();
    if let Some(token) = &query.continue_token {
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let bad = || Status::bad_request("continue key is not valid: it is not a token that this server gave");
        let (revision, place) = read_token(token, query.namespace.as_deref()).ok_or_else(bad)?;
        return Ok((revision.unwrap_or(now), Some(place)));
    }
    let forbidden = |why: &str| {
        let error = FieldError::forbidden("resourceVersionMatch", why);
        Err(Status::invalid_options("ListOptions", error))
    };
    match (query.version_match.as_str(), version) {
        ("", _) | ("NotOlderThan" | "Exact", _) if !version.is_empty() || query.version_match.is_empty() => {}
        ("NotOlderThan" | "Exact", _) => {
            return forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        (other, _) => {
            let allowed = ["Exact", "NotOlderThan", ""];
            let error = FieldError::not_supported("resourceVersionMatch", other, allowed);
            return Err(Status::invalid_options("ListOptions", error));
        }
    }
    if query.version_match == "Exact" && version == "0" {
        return forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
    }
    if version.is_empty() || version == "0" {
        return Ok((now, None));
    }
    let wanted = parse_revision(version).map_err(Status::bad_request)?;
    if wanted > now {
        return Err(Status::revision_too_large(version, &now.to_string()));
    }
    Ok((if query.version_match == "Exact" { wanted } else { now }, None))
}

/// Reads a resourceVersion; the error is worded as the API words it.
pub(crate) fn parse_revision(text: &str) -> Result<Revision, String> {
    text.parse().map(Revision).map_err(|_| {
        format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid \
             syntax"
        )
    })
}

/// A continue token: the key that the next page starts at, relative to what is listed, and the revision (none: whatever is
/// newest).
fn token(revision: Option<Revision>, place: &Place, namespace: Option<&str>) -> String {
    let version = revision.map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
    let key = match namespace {
        None if !place.namespace.is_empty() => format!("{}/{}", place.namespace, place.name),
        _ => place.name.clone(),
    };
    let body = json!({"v": "meta.k8s.io/v1", "rv": version, "start": format!("{key}\0")});
    BASE64_URL_SAFE_NO_PAD.encode(body.to_string())
}

fn read_token(token: &str, namespace: Option<&str>) -> Option<(Option<Revision>, Place)> {
    let body: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let start = body.get("start")?.as_str()?.trim_end_matches('\0');
    let revision = u64::try_from(body.get("rv")?.as_i64()?).ok().map(Revision);
    let (namespace, name) = match namespace {
        Some(namespace) => (namespace, start),
        None => start.split_once('/').unwrap_or(("", start)),
    };
    Some((
        revision,
        Place {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_place() {
        let place = |namespace: &str| Place {
            namespace: namespace.into(),
            name: "b".into(),
        };
        for (namespace, listed) in [("a", Some("a")), ("a", None), ("", None)] {
            let text = token(Some(Revision(7)), &place(namespace), listed);
            assert_eq!(read_token(&text, listed), Some((Some(Revision(7)), place(namespace))));
        }
        assert_eq!(
            read_token(&token(None, &place("a"), None), None),
            Some((None, place("a")))
        );
        assert_eq!(read_token("nonsense", None), None);
    }
}

//! Get and list.

use std::sync::Arc;

use serde_json::Value;

use super::page;
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
    /// Makes no sense for a list.
    pub send_initial_events: bool,
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
    let (at, first) = start(store, query)?;
    let namespace = query.namespace.as_deref();
    let matches = |object: &Value| query.selector.matches(object);
    let mut found: Vec<(Place, Arc<Value>)> = if at == store.revision() {
        let all = store.list(resource, namespace).filter(|(_, object)| matches(object));
        all.map(|(place, object)| (place.clone(), Arc::clone(object))).collect()
    } else {
        match store.list_at(resource, namespace, at) {
            Ok(objects) => objects.into_iter().filter(|(_, object)| matches(object)).collect(),
            Err(_) => {
                return Err(match &query.continue_token {
                    Some(token) => Status::expired_continue(page::unpinned(token)),
                    None => Status::gone("The resourceVersion for the provided list is too old."),
                });
            }
        }
    };
    if let Some(first) = &first {
        found.retain(|(place, _)| place >= first);
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
        page.continue_token = found.last().map(|(place, _)| page::token(Some(at), place, namespace));
    }
    page.items = found.into_iter().map(|(_, object)| object).collect();
    Ok(page)
}

/// The revision to list at, and the place to start at.
fn start(store: &Store, query: &ListQuery) -> Result<(Revision, Option<Place>), Status> {
    let now = store.revision();
    let version = query.resource_version.as_str();
    check_options(query)?;
    if let Some(token) = &query.continue_token {
        if !version.is_empty() && version != "0" {
            return Err(Status::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        let start = page::read(token, query.namespace.as_deref())?;
        return Ok((start.revision.unwrap_or(now), Some(start.place)));
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

/// Options that exclude each other.
fn check_options(query: &ListQuery) -> Result<(), Status> {
    let (mut errors, version) = (Vec::new(), query.resource_version.as_str());
    let mut forbid = |why: &str| errors.push(FieldError::forbidden("resourceVersionMatch", why));
    if !query.version_match.is_empty() {
        if version.is_empty() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if query.continue_token.is_some() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if !["Exact", "NotOlderThan"].contains(&query.version_match.as_str()) {
            let allowed = ["Exact", "NotOlderThan", ""];
            let given = query.version_match.as_str();
            errors.push(FieldError::not_supported("resourceVersionMatch", given, allowed));
        }
        if query.version_match == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(FieldError::forbidden("resourceVersionMatch", why));
        }
    }
    if query.send_initial_events {
        let why = "sendInitialEvents is forbidden for list";
        errors.push(FieldError::forbidden("sendInitialEvents", why));
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors))
    }
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

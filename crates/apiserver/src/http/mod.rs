//! The API over HTTP, as a tower service.
//!
//! Every request goes through [`handle`]: find the route, authenticate, authorise, dispatch. Errors of any station become a
//! `Status` body in one place.

use std::sync::Arc;

use axum::{Router, body::Body, extract::State, response::Response};
use http::{HeaderValue, Method, Request, header};
use jiff::Timestamp;

use crate::{
    auth::{AUDIENCE, User},
    rbac::{self, Action},
    server::Server,
    status::Status,
    store::Txn,
};

mod backup;
mod body;
mod checks;
mod discovery;
mod duplicates;
mod impersonate;
mod load;
mod negotiate;
mod oidc;
mod openapi;
mod protobuf;
mod query;
mod resources;
mod respond;
mod reviews;
mod route;
mod serve;
mod shape;
mod watch;
mod yaml;

pub use serve::ServeError;
pub(crate) use serve::serve_tls;

use load::Load;
use negotiate::Accept;
use query::Query;
use route::{Route, Target};

/// One request, after its head has been understood.
#[derive(Debug)]
struct Call {
    method: Method,
    path: String,
    query: Query,
    accept: Accept,
    user: User,
    /// The default field manager: the first part of the user agent.
    agent: String,
    content_type: String,
    now: Timestamp,
    if_none_match: String,
}

pub(crate) fn router(server: Arc<Server>) -> Router {
    routed(server, false)
}

pub(crate) fn admin_router(server: Arc<Server>) -> Router {
    routed(server, true)
}

fn routed(server: Arc<Server>, admin: bool) -> Router {
    let load = Arc::default();
    let access = Access { server, load, admin };
    Router::new().fallback(handle).with_state(access)
}

#[derive(Clone)]
struct Access {
    server: Arc<Server>,
    load: Arc<Load>,
    /// Requests without a token are the administrator's.
    admin: bool,
}

async fn handle(State(access): State<Access>, request: Request<Body>) -> Response {
    let accept = Accept::parse(
        request.headers().get(header::ACCEPT),
        request.uri().query(),
        agent(&request),
    );
    let answered = tokio::time::timeout(load::REQUEST, answer(&access, request, accept.clone())).await;
    let mut response = match answered.unwrap_or_else(|_| Err(Status::took_too_long())) {
        Ok(response) => response,
        Err(status) => respond::status(&status, &accept),
    };
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    if let Ok(id) = HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()) {
        headers.insert("audit-id", id);
    }
    response
}

async fn answer(access: &Access, request: Request<Body>, accept: Accept) -> Result<Response, Status> {
    let server = &access.server;
    let now = Timestamp::now();
    let user = authenticate(access, &request, now)?;
    let user = impersonate::acting(server, user, request.headers())?;
    let (head, body) = request.into_parts();
    let text = |name: header::HeaderName| {
        head.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    let agent = text(header::USER_AGENT);
    let agent = agent
        .split('/')
        .next()
        .filter(|name| !name.is_empty())
        .unwrap_or("unknown");
    let call = Call {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: Query::parse(&head.uri)?,
        accept,
        user,
        agent: agent.chars().take(128).collect(),
        content_type: text(header::CONTENT_TYPE),
        now,
        if_none_match: text(header::IF_NONE_MATCH),
    };
    let route = Route::parse(&call.path);
    let _place = access.load.enter(&route, &call.user.name).await?;
    match route {
        Route::Path => {
            authorize_path(server, &call)?;
            if let ["apis", group, version] = call.path.trim_matches('/').split('/').collect::<Vec<_>>()[..]
                && discovery::is_elsewhere(server, group, version)
            {
                return Ok(respond::unavailable());
            }
            match (&call.method, call.path.as_str()) {
                (&Method::GET, backup::PATH) => backup::answer(server).await,
                _ => discovery::answer(server, &call),
            }
        }
        Route::Resource(target) => {
            let verb = target.verb(&call.method, call.query.is_watch())?;
            authorize(server, &call, &target, verb)?;
            if discovery::is_elsewhere(server, &target.group, &target.version) {
                return Ok(respond::unavailable());
            }
            resources::answer(server, call, target, verb, body).await
        }
    }
}

fn authenticate(access: &Access, request: &Request<Body>, now: Timestamp) -> Result<User, Status> {
    let Some(value) = request.headers().get(header::AUTHORIZATION) else {
        return Ok(if access.admin { User::admin() } else { User::anonymous() });
    };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let store = access.server.store();
    let txn = Txn::new(&store);
    let proof = token.and_then(|token| access.server.tokens.prove(&txn, token, &[AUDIENCE], now).ok());
    proof.map(|proof| proof.user).ok_or_else(Status::unauthorized)
}

fn authorize_path(server: &Server, call: &Call) -> Result<(), Status> {
    let verb = call.method.as_str().to_lowercase();
    let action = Action::Path {
        verb: verb.clone(),
        path: call.path.clone(),
    };
    let store = server.store();
    match rbac::allows(&Txn::new(&store), &call.user, &action) {
        Some(_) => Ok(()),
        None => Err(Status::forbidden_path(&call.user.name, &verb, &call.path)),
    }
}

fn authorize(server: &Server, call: &Call, target: &Target, verb: &str) -> Result<(), Status> {
    let store = server.store();
    let named = by_field_selector(call, target, verb);
    check_allowed(&Txn::new(&store), &call.user, named.as_ref().unwrap_or(target), verb)
}

/// A list or watch of `metadata.name=X` asks for X only, and a grant for that name admits it.
fn by_field_selector(call: &Call, target: &Target, verb: &str) -> Option<Target> {
    if !target.name.is_empty() || !matches!(verb, "list" | "watch" | "deletecollection") {
        return None;
    }
    let name = call.query.text("fieldSelector").split(',').find_map(|part| {
        let (field, name) = part.split_once('=')?;
        (field.trim() == "metadata.name").then(|| name.trim_start_matches('=').trim().to_owned())
    })?;
    Some(Target { name, ..target.clone() })
}

/// 403 unless the user may do this.
fn check_allowed(txn: &Txn<'_>, user: &User, target: &Target, verb: &str) -> Result<(), Status> {
    let action = Action::Resource {
        verb: verb.to_owned(),
        group: target.group.clone(),
        resource: target.plural.clone(),
        subresource: target.subresource.clone(),
        namespace: target.namespace.clone(),
        name: target.name.clone(),
    };
    if rbac::allows(txn, user, &action).is_some() {
        return Ok(());
    }
    let full = if target.subresource.is_empty() {
        target.plural.clone()
    } else {
        format!("{}/{}", target.plural, target.subresource)
    };
    let place = if target.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace \"{}\"", target.namespace)
    };
    let what = format!(
        "User \"{}\" cannot {verb} resource \"{full}\" in API group \"{}\" {place}",
        user.name, target.group
    );
    Err(Status::forbidden(&target.resource(), &target.name, &what))
}

fn agent(request: &Request<Body>) -> &str {
    request
        .headers()
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

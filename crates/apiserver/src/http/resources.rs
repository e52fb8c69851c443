//! The verbs on resources.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use serde_json::{Value, json};

use super::{
    Call, body, check_allowed,
    checks::{check_scope, check_table, wrong_manager},
    duplicates, respond, reviews,
    route::Target,
    shape::Viewer,
    watch,
};
use crate::{
    field::FieldError,
    kinds::{Kind, Origin, Registry},
    object::{Object as _, ObjectMut as _, list_at, text_at},
    rest::{self, Change, DeleteOptions, FieldValidation, ListQuery, Outcome, Write},
    server::Server,
    status::{Status, success},
    store::{Key, Revision},
};

/// One request on a resource, with its kind found.
struct Request<'a> {
    server: &'a Arc<Server>,
    call: &'a Call,
    target: &'a Target,
    kind: Arc<Kind>,
    /// Empty for cluster-scoped kinds.
    namespace: &'a str,
}

pub(crate) async fn answer(
    server: &Arc<Server>,
    call: Call,
    target: Target,
    verb: &str,
    body: Body,
) -> Result<Response, Status> {
    let registry = server.registry();
    let kind = registry
        .find(&target.group, &target.version, &target.plural)
        .ok_or_else(|| unknown(&registry, &target))?;
    if !call.accept.is_acceptable() {
        return Err(match kind.is_custom() {
            true => Status::none_acceptable(),
            false => Status::not_acceptable(),
        });
    }
    if matches!(verb, "get" | "list" | "watch") {
        check_table(&call)?;
    }
    let namespace = if kind.namespaced { target.namespace.as_str() } else { "" };
    check_scope(kind, &target, verb)?;
    let request = Request {
        server,
        call: &call,
        target: &target,
        kind: Arc::clone(kind),
        namespace,
    };
    let offered = if target.subresource.is_empty() {
        kind.verbs().contains(&verb)
    } else {
        let subresources = kind.subresources();
        let sub = subresources
            .iter()
            .find(|sub| sub.name == target.subresource)
            .ok_or_else(|| match kind.origin {
                Origin::Builtin { .. } => Status::no_such_path(),
                Origin::Custom { .. } => Status::not_found(&kind.resource, &target.name),
            })?;
        sub.verbs.contains(&verb)
    };
    if !offered {
        return Err(Status::method_not_allowed());
    }
    let warnings: Vec<String> = kind.deprecation.iter().cloned().collect();
    let response = match verb {
        "get" => request.get().await,
        "list" => request.list().await,
        "watch" => watch::start(server, &request.viewer(), &call.query, namespace),
        "create" if kind.traits.review => {
            let body = body::object(&body::read(body).await?, &call.content_type, kind)?;
            reviews::answer(server, &call, kind, namespace, body)
        }
        "create" if !target.subresource.is_empty() => request.special(body).await,
        "create" => request.create(body).await,
        "update" | "patch" => request.change(verb, body).await,
        "delete" => request.delete(body).await,
        _ => request.delete_collection(body).await,
    }?;
    Ok(respond::warn(response, &warnings))
}

/// A group and version that is built in knows its resources; everything else is a path like any other.
fn unknown(registry: &Registry, target: &Target) -> Status {
    let mut beside = registry.of_version(&target.group, &target.version);
    if beside.any(|kind| !kind.is_custom()) {
        Status::no_such_path()
    } else {
        Status::no_such_page()
    }
}

impl Request<'_> {
    fn viewer(&self) -> Viewer {
        Viewer::new(&self.kind, self.call.accept.shape(), &self.call.query, self.call.now)
    }

    fn write<'a>(&'a self, registry: &'a Registry, options: &str) -> Result<Write<'a>, Status> {
        let manager = self.call.query.text("fieldManager");
        if let Some(error) = wrong_manager(manager) {
            return Err(Status::invalid_options(options, error));
        }
        Ok(Write {
            kind: &self.kind,
            registry,
            services: &self.server.services,
            user: &self.call.user,
            root_ca: self.server.root_ca(),
            namespace: self.namespace,
            subresource: &self.target.subresource,
            manager: if manager.is_empty() { &self.call.agent } else { manager },
            validation: self.call.query.validation(options)?,
            now: self.call.now,
        })
    }

    async fn get(&self) -> Result<Response, Status> {
        let object = self
            .server
            .read(|store| rest::get(store, &self.kind.storage(), self.namespace, &self.target.name));
        let object = object.await?;
        let object = object.map_err(|_| Status::not_found(&self.kind.resource, &self.target.name))?;
        let shown = match &self.kind.scale {
            Some(scale) if self.target.subresource == "scale" => scale.of(&object),
            _ => self.viewer().one(&object),
        };
        Ok(respond::body(200, &shown, &self.call.accept))
    }

    async fn list(&self) -> Result<Response, Status> {
        let query = &self.call.query;
        let limit = query.number("limit")?.unwrap_or_default();
        // Nothing here takes so long that it would matter, but a wrong one is told.
        query.number("timeoutSeconds")?;
        let asked = ListQuery {
            namespace: (!self.namespace.is_empty()).then(|| self.namespace.to_owned()),
            selector: query.selector(&self.kind)?,
            limit: usize::try_from(limit).ok(),
            continue_token: Some(query.text("continue").to_owned()).filter(|token| !token.is_empty()),
            resource_version: query.text("resourceVersion").to_owned(),
            version_match: query.text("resourceVersionMatch").to_owned(),
            send_initial_events: query.has("sendInitialEvents"),
        };
        let list = self
            .server
            .read(|store| rest::list(store, &self.kind.storage(), &asked));
        let list = list.await??;
        Ok(respond::body(200, &self.viewer().list(&list), &self.call.accept))
    }

    async fn create(&self, body: Body) -> Result<Response, Status> {
        let bytes = body::read(body).await?;
        let object = self.body(&bytes)?;
        let repeated = self.repeated(&bytes, "CreateOptions")?;
        let dry_run = self.call.query.dry_run("CreateOptions")?;
        let (mut outcome, revision) = self.server.write(dry_run, |txn, registry| {
            rest::create(txn, &self.write(registry, "CreateOptions")?, object)
        })?;
        outcome.warnings.splice(0..0, repeated);
        self.show(outcome, revision, dry_run).await
    }

    /// The object in a body. What is not built in must say its kind.
    fn body(&self, bytes: &[u8]) -> Result<Value, Status> {
        let object = body::object(bytes, &self.call.content_type, &self.kind)?;
        if self.kind.is_custom() && object.is_object() && text_at(&object, &["kind"]).is_empty() {
            return Err(body::kindless(bytes, &self.kind.kind));
        }
        Ok(object)
    }

    /// Warnings about fields that a body states twice, or the refusal.
    fn repeated(&self, bytes: &[u8], options: &str) -> Result<Vec<String>, Status> {
        let validation = self.call.query.validation(options)?;
        if validation == FieldValidation::Ignore {
            return Ok(Vec::new());
        }
        let repeated = duplicates::find(bytes).into_iter();
        let repeated: Vec<String> = repeated.map(|field| format!("duplicate field {field:?}")).collect();
        if validation == FieldValidation::Strict && !repeated.is_empty() {
            return Err(Status::bad_request(format!(
                "{0} in version \"{1}\" cannot be handled as a {0}: strict decoding error: {2}",
                self.kind.kind,
                self.kind.version,
                repeated.join(", ")
            )));
        }
        Ok(repeated)
    }

    async fn change(&self, verb: &str, body: Body) -> Result<Response, Status> {
        let bytes = body::read(body).await?;
        let query = &self.call.query;
        let options = if verb == "patch" {
            "PatchOptions"
        } else {
            "UpdateOptions"
        };
        let change = if verb == "patch" {
            body::patch(&bytes, &self.call.content_type, query.flag("force"), &self.kind)?
        } else {
            Change::Put(self.body(&bytes)?)
        };
        let repeated = match &change {
            Change::Put(_) => self.repeated(&bytes, options)?,
            _ => Vec::new(),
        };
        match &change {
            Change::Apply { .. } if query.text("fieldManager").is_empty() => {
                let error = FieldError::required("fieldManager", "is required for apply patch");
                return Err(Status::invalid_options(options, error));
            }
            Change::Patch(_) if query.flag("force") => {
                let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
                return Err(Status::invalid_options(options, error));
            }
            _ => {}
        }
        let dry_run = query.dry_run(options)?;
        let (mut outcome, revision) = self.server.write(dry_run, |txn, registry| {
            let name = &self.target.name;
            let before = txn.get(&Key::new(&self.kind.storage(), self.namespace, name));
            let mut outcome = rest::update(txn, &self.write(registry, options)?, name, change)?;
            if outcome.created {
                check_allowed(txn, &self.call.user, self.target, "create")?;
            }
            if let (true, Some(before)) = (dry_run, before) {
                Arc::make_mut(&mut outcome.object).set_meta("resourceVersion", before.resource_version());
            }
            Ok(outcome)
        })?;
        outcome.warnings.splice(0..0, repeated);
        self.show(outcome, revision, dry_run).await
    }

    async fn delete(&self, body: Body) -> Result<Response, Status> {
        let (options, dry_run) = self.delete_options(body).await?;
        let (outcome, revision) = self.server.write(dry_run, |txn, registry| {
            rest::delete(
                txn,
                &self.write(registry, "DeleteOptions")?,
                &self.target.name,
                &options,
            )
        })?;
        self.server.durable(revision).await?;
        if outcome.removed && !self.kind.traits.returns_deleted {
            let mut details = json!({"name": self.target.name});
            if !self.kind.group().is_empty() {
                details["group"] = self.kind.group().into();
            }
            details["kind"] = self.target.plural.clone().into();
            details["uid"] = outcome.object.uid().into();
            return Ok(respond::body(200, &success(Some(details), None), &self.call.accept));
        }
        Ok(respond::body(
            200,
            &self.viewer().one(&outcome.object),
            &self.call.accept,
        ))
    }

    async fn delete_collection(&self, body: Body) -> Result<Response, Status> {
        let (options, dry_run) = self.delete_options(body).await?;
        let selector = self.call.query.selector(&self.kind)?;
        let (items, revision) = self.server.write(dry_run, |txn, registry| {
            rest::delete_collection(txn, &self.write(registry, "DeleteOptions")?, &selector, &options)
        })?;
        self.server.durable(revision).await?;
        let list = rest::List {
            items,
            revision,
            continue_token: None,
            remaining: None,
        };
        Ok(respond::body(200, &self.viewer().list(&list), &self.call.accept))
    }

    /// Subresources that only take POST.
    async fn special(&self, body: Body) -> Result<Response, Status> {
        let bytes = body::read(body).await?;
        let request = if bytes.is_empty() {
            json!({})
        } else {
            let kind = self
                .kind
                .subresources()
                .into_iter()
                .find(|one| one.name == self.target.subresource);
            let kind = kind.map(|one| one.kind).unwrap_or_default();
            body::options(&bytes, &self.call.content_type, &kind)?
        };
        let (name, query) = (&self.target.name, &self.call.query);
        let dry_run = query.dry_run("CreateOptions")?;
        let (answer, revision) = self.server.write(dry_run, |txn, registry| {
            let write = self.write(registry, "CreateOptions")?;
            match self.target.subresource.as_str() {
                "token" => rest::request_token(txn, &write, name, &request, &self.server.tokens),
                "eviction" => rest::evict_pod(txn, &write, name, &request).map(|_| success(None, Some(201))),
                _ => rest::bind_pod(txn, &write, name, &request).map(|()| success(None, Some(201))),
            }
        })?;
        self.server.durable(revision).await?;
        Ok(respond::body(201, &answer, &self.call.accept))
    }

    async fn show(&self, outcome: Outcome, revision: Revision, dry_run: bool) -> Result<Response, Status> {
        self.server.durable(revision).await?;
        let code = if outcome.created { 201 } else { 200 };
        if self.target.subresource == "scale" {
            let response = respond::body(code, &*outcome.object, &self.call.accept);
            return Ok(respond::warn(response, &outcome.warnings));
        }
        let response = if dry_run && outcome.created {
            let mut object = (*outcome.object).clone();
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.shift_remove("resourceVersion");
            }
            respond::body(code, &self.viewer().one(&object), &self.call.accept)
        } else {
            respond::body(code, &self.viewer().one(&outcome.object), &self.call.accept)
        };
        Ok(respond::warn(response, &outcome.warnings))
    }

    /// Options come in the body; without one, in the query.
    async fn delete_options(&self, body: Body) -> Result<(DeleteOptions, bool), Status> {
        let bytes = body::read(body).await?;
        let stated = if bytes.is_empty() {
            self.call.query.delete_options()?
        } else {
            body::options(&bytes, &self.call.content_type, "DeleteOptions")?
        };
        let some = |path: &[&str]| Some(text_at(&stated, path).to_owned()).filter(|text| !text.is_empty());
        let (propagation, orphan) = (some(&["propagationPolicy"]), stated["orphanDependents"].as_bool());
        let mut errors = Vec::new();
        if let Some(policy) = &propagation {
            if orphan.is_some() {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(FieldError::invalid("propagationPolicy", policy.as_str(), detail));
            }
            let known = ["Foreground", "Background", "Orphan", "nil"];
            if !known[..3].contains(&policy.as_str()) {
                errors.push(FieldError::not_supported("propagationPolicy", policy.as_str(), known));
            }
        }
        let modes = list_at(&stated, &["dryRun"]);
        if modes.iter().any(|mode| mode != "All") {
            errors.push(FieldError::not_supported("dryRun", modes.to_vec(), ["All"]));
        }
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let parsed = DeleteOptions {
            uid: some(&["preconditions", "uid"]),
            resource_version: some(&["preconditions", "resourceVersion"]),
            grace_seconds: stated["gracePeriodSeconds"].as_i64(),
            propagation: propagation.or_else(|| (orphan == Some(true)).then(|| "Orphan".to_owned())),
        };
        Ok((parsed, !modes.is_empty()))
    }
}

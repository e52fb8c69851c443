//! Writes through the `scale` subresource.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Change, Outcome, Write, applied, update};
use crate::{
    kinds::scale::{Scale, wanted},
    object::{Object as _, ObjectMut as _, text_at},
    schema::ANY,
    status::Status,
    store::Txn,
};

/// Changes the scale of an object. The outcome shows the new Scale.
pub(super) fn change(
    txn: &mut Txn<'_>,
    write: &Write<'_>,
    live: &Arc<Value>,
    change: Change,
) -> Result<Outcome, Status> {
    let scale = write.kind.scale.as_ref().ok_or_else(Status::no_such_path)?;
    let force = matches!(change, Change::Apply { force: true, .. });
    let outcome = match translate(write, scale, live, change)? {
        Scaled::Object(object) => update::plain(txn, write, live, object, &|why| write.undecodable(why))?,
        Scaled::Applied(config) => applied::apply(txn, write, live, config, force)?,
    };
    Ok(Outcome {
        object: Arc::new(scale.of(&outcome.object)),
        ..outcome
    })
}

/// What a request made of the scale of an object is to the object itself.
enum Scaled {
    /// The whole object with another number.
    Object(Value),
    /// Only what an apply through the scale states.
    Applied(Value),
}

/// Translates a change of the Scale into one of the object.
fn translate(write: &Write<'_>, scale: &Scale, live: &Value, change: Change) -> Result<Scaled, Status> {
    let shown = scale.of(live);
    let (asked, applied) = match change {
        Change::Put(body) => (body, false),
        Change::Patch(patch) => (patch.apply(&shown, &ANY)?, false),
        Change::Apply { config, .. } => (config, true),
    };
    let (version, kind) = (text_at(&asked, &["apiVersion"]), text_at(&asked, &["kind"]));
    if (version, kind) != ("autoscaling/v1", "Scale") {
        return Err(Status::bad_request(format!(
            "wrong object passed to Scale update: {version}, Kind={kind}"
        )));
    }
    let replicas = wanted(&asked).map_err(|error| Status::invalid("autoscaling", "Scale", live.name(), &[error]))?;
    if applied {
        let mut config = json!({"apiVersion": write.kind.api_version(), "kind": write.kind.kind,
            "metadata": {"name": live.name()}});
        scale.set(&mut config, replicas);
        return Ok(Scaled::Applied(config));
    }
    let mut object = update::served(write, live);
    // The version that the client read is a precondition, as in any update.
    object.set_meta("resourceVersion", asked.resource_version());
    object.set_meta(
        "uid",
        if asked.uid().is_empty() {
            live.uid()
        } else {
            asked.uid()
        },
    );
    scale.set(&mut object, replicas);
    Ok(Scaled::Object(object))
}

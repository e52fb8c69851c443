//! What can be wrong with a request on a resource before its body is read.

use super::{Call, negotiate::Shape, route::Target};
use crate::{field::FieldError, kinds::Kind, status::Status};

/// Whether the path names a namespace if, and only if, the kind's objects lie in one. Lists may be of all namespaces.
pub(super) fn check_scope(kind: &Kind, target: &Target, verb: &str) -> Result<(), Status> {
    let has_namespace = !target.namespace.is_empty() && target.plural != "namespaces";
    let is_of_all = kind.namespaced && !has_namespace && matches!(verb, "list" | "watch");
    if kind.namespaced == has_namespace || is_of_all || kind.traits.review {
        return Ok(());
    }
    Err(if kind.is_custom() {
        Status::no_such_page()
    } else if kind.namespaced && target.name.is_empty() {
        Status::method_not_allowed()
    } else {
        Status::no_such_path()
    })
}

/// Rows of a Table carry what the client names, if that is something that they can carry.
pub(super) fn check_table(call: &Call) -> Result<(), Status> {
    let include = call.query.text("includeObject");
    if call.accept.shape() != Shape::Table || ["", "None", "Metadata", "Object"].contains(&include) {
        return Ok(());
    }
    let detail = "must be 'Metadata', 'Object', 'None', or empty";
    let error = FieldError::invalid("includeObject", include, detail);
    Err(Status::bad_request(format!(
        "Unable to convert to Table as requested: {error}"
    )))
}

/// What is wrong with the name of a field manager.
pub(super) fn wrong_manager(name: &str) -> Option<FieldError> {
    if name.len() > 128 {
        return Some(FieldError::too_long("fieldManager", 128));
    }
    let is_unseen = |c: &char| c.is_control() || (c.is_whitespace() && *c != ' ');
    let (at, unseen) = name.char_indices().find(|(_, c)| is_unseen(c))?;
    let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(unseen));
    Some(FieldError::invalid("fieldManager", name, detail))
}

//! `fieldPath`: `.spec.names[0]` is not allowed, `.spec['a.b']` is.

use crate::schema::Schema;

/// Follows a path below a node, and returns it as errors write it.
pub(super) fn follow(path: &str, schema: &Schema) -> Result<String, String> {
    let (mut at, mut rest, mut shown) = (schema, path, String::new());
    while !rest.is_empty() {
        let (name, tail) = if let Some(quoted) = rest.strip_prefix("['") {
            quoted
                .split_once("']")
                .ok_or_else(|| format!("unexpected end of JSON path in {path:?}"))?
        } else if let Some(plain) = rest.strip_prefix('.') {
            let end = plain.find(['.', '[']).unwrap_or(plain.len());
            plain.split_at(end)
        } else {
            return Err(format!(
                "expected [ or . but got: {}",
                rest.chars().next().unwrap_or_default()
            ));
        };
        if name.is_empty() {
            return Err(format!("unexpected end of JSON path in {path:?}"));
        }
        if let Some(field) = at.properties.get(name) {
            shown = crate::schema::join(&shown, name);
            at = field;
        } else if let Some(values) = &at.additional {
            shown = format!("{shown}[{name}]");
            at = values;
        } else {
            return Err(format!("does not refer to a valid field: {name}"));
        }
        rest = tail;
    }
    Ok(shown)
}

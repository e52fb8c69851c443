//! `x-kubernetes-validations`: rules that stand in the schema of a custom resource.
//!
//! [`attach()`] compiles the rules of every node of a schema, when a definition is written and when it is served. [`validate`] walks
//! an object with its schema and evaluates them. `oldSelf` is what stood in the same place before: fields, map entries and
//! elements of keyed lists have such a place, elements of other lists do not. A rule that mentions `oldSelf` runs where there is
//! an old value; with `optionalOldSelf` it runs everywhere and is given an optional.
//!
//! What did not change is not held against a writer: a rule without `oldSelf` that fails on a value equal to the old one warns.

use serde_json::Value;

use super::{Budget, Program, Variables, budget, value};
use crate::{
    field::{FieldError, FieldReason},
    schema::Schema,
};

mod attach;
mod path;

pub(crate) use attach::attach;

/// One compiled rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    program: Program,
    source: String,
    message: String,
    message_expression: Option<Program>,
    reason: FieldReason,
    /// Where the error is reported, below the node that has the rule.
    field: String,
    uses_old: bool,
    optional_old: bool,
}

/// What the rules of an object had to say.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub errors: Vec<FieldError>,
    /// Rules that the old object broke already, in the same place.
    pub warnings: Vec<String>,
}

/// Evaluates the rules of a whole object.
pub(crate) fn validate(object: &Value, old: Option<&Value>, schema: &Schema) -> Verdict {
    let mut walk = Walk {
        budget: Budget::of_object(),
        verdict: Verdict::default(),
        stopped: false,
    };
    walk.node(object, old, schema, "");
    walk.verdict
}

/// Whether there are any rules to evaluate.
pub(crate) fn has_rules(schema: &Schema) -> bool {
    !schema.rules.is_empty()
        || schema
            .properties
            .values()
            .chain(&schema.additional)
            .chain(&schema.items)
            .any(|field| has_rules(field))
}

struct Walk {
    budget: Budget,
    verdict: Verdict,
    /// The budget is spent.
    stopped: bool,
}

impl Walk {
    fn node(&mut self, value: &Value, old: Option<&Value>, schema: &Schema, path: &str) {
        if value.is_null() || self.stopped {
            return;
        }
        if !schema.rules.is_empty() {
            self.rules(value, old, schema, path);
        }
        match value {
            Value::Array(items) => {
                let Some(element) = &schema.items else { return };
                let before = old.and_then(Value::as_array);
                for (n, item) in items.iter().enumerate() {
                    let old = before.and_then(|before| schema.list.counterpart(item, before));
                    self.node(item, old, element, &format!("{path}[{n}]"));
                }
            }
            Value::Object(map) => {
                for (name, field) in map {
                    let old = old.and_then(|old| old.get(name));
                    if let Some(schema) = schema.properties.get(name) {
                        self.node(field, old, schema, &crate::schema::join(path, name));
                    } else if let Some(schema) = &schema.additional {
                        self.node(field, old, schema, &format!("{path}[{name}]"));
                    }
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, value: &Value, old: Option<&Value>, schema: &Schema, path: &str) {
        let old = old.filter(|old| !old.is_null());
        let own = value::typed(value, schema);
        let old_value = old.map(|old| value::typed(old, schema));
        let mut variables = Variables::new();
        variables.set("self", own);
        for rule in &schema.rules {
            if rule.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            if rule.uses_old {
                let before = old_value.as_ref().map(|old| old.clone_as_boxed());
                variables.set(
                    "oldSelf",
                    if rule.optional_old {
                        value::optional(before)
                    } else {
                        before.unwrap_or_else(value::null)
                    },
                );
            }
            let error = match rule.program.is_true(&variables, &self.budget) {
                Ok(true) => continue,
                Ok(false) => rule.broken(value, path, &variables, &self.budget),
                Err(why) => rule.failed(path, &why),
            };
            self.stopped |= error.message().contains(budget::EXCEEDED);
            if !rule.uses_old && old == Some(value) {
                self.verdict.warnings.push(error.to_string());
            } else {
                self.verdict.errors.push(error);
            }
            if self.stopped {
                return;
            }
        }
    }
}

impl Rule {
    /// The error of a rule that is not met.
    fn broken(&self, value: &Value, path: &str, variables: &Variables, budget: &Budget) -> FieldError {
        let field = crate::schema::join_path(path, &self.field);
        let computed = self
            .message_expression
            .as_ref()
            .and_then(|program| program.text(variables, budget).ok());
        let computed = computed
            .map(|text| text.trim().to_owned())
            .filter(|text| !text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_LIMIT);
        let detail = match computed {
            Some(text) => text,
            None if self.message.is_empty() => format!("failed rule: {}", self.source),
            None => self.message.clone(),
        };
        match self.reason {
            FieldReason::Forbidden => FieldError::forbidden(field, detail),
            FieldReason::Required => FieldError::required(field, detail),
            FieldReason::Duplicate => FieldError::duplicate(field, shown(value)),
            _ if value.is_object() || value.is_array() => FieldError::invalid_unshown(field, detail),
            _ => FieldError::invalid(field, value.clone(), detail),
        }
    }

    /// The error of a rule that could not be evaluated.
    fn failed(&self, path: &str, why: &str) -> FieldError {
        let rule = if self.message.is_empty() {
            &self.source
        } else {
            &self.message
        };
        let detail = if why.starts_with("no such overload") {
            format!(
                "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
            )
        } else if why.starts_with(budget::EXCEEDED) {
            format!("'{why}': no further validation rules will be run due to call cost exceeds limit for rule: {rule}")
        } else {
            format!("{why} evaluating rule: {rule}")
        };
        FieldError::invalid_unshown(path, detail)
    }
}

/// Objects and lists are not repeated in errors.
fn shown(value: &Value) -> Value {
    match value {
        Value::Object(_) => "object".into(),
        Value::Array(_) => "array".into(),
        value => value.clone(),
    }
}

/// Longer computed messages are not used.
const MESSAGE_LIMIT: usize = 5120;

#[cfg(test)]
mod tests;

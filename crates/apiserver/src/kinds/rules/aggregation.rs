//! APIService: another server's group, announced here. Its backend is never asked: its group answers 503.

use serde_json::{Value, json};

use super::{Context, Rules};
use crate::{
    field::FieldError,
    object::{Object as _, set_default, text_at},
    status::Status,
};

#[derive(Debug)]
pub(crate) struct ApiServices;

impl Rules for ApiServices {
    fn default(&self, object: &mut Value) {
        let service = object.get_mut("spec").and_then(|spec| spec.get_mut("service"));
        if let Some(service) = service.and_then(Value::as_object_mut) {
            set_default(service, "port", 443);
        }
    }

    fn create(&self, object: &mut Value, _context: &Context<'_>) -> Result<(), Status> {
        object["status"] = json!({});
        Ok(())
    }

    fn validate(&self, object: &Value, _old: Option<&Value>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let of = |field: &str| text_at(object, &["spec", field]);
        let wanted = format!("{}.{}", of("version"), of("group"));
        if object.name() != wanted {
            let why = format!("must be `spec.version+\".\"+spec.group`: {wanted:?}");
            errors.push(FieldError::invalid("metadata.name", object.name(), why));
        }
        for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
            let number = object["spec"][field].as_i64().unwrap_or_default();
            if !(1..=most).contains(&number) {
                let why = format!("must be positive and less than {most}");
                errors.push(FieldError::invalid(format!("spec.{field}"), number, why));
            }
        }
        if object["spec"]["service"].is_object() {
            for field in ["namespace", "name"] {
                if text_at(object, &["spec", "service", field]).is_empty() {
                    errors.push(FieldError::required(format!("spec.service.{field}"), ""));
                }
            }
        }
        errors
    }
}

//! Query parameters.

use std::collections::HashMap;

use http::Uri;
use serde_json::{Value, json};

use crate::{
    field::FieldError,
    kinds::Kind,
    rest::FieldValidation,
    selector::{FieldSelector, LabelSelector, Selector},
    status::Status,
};

/// The parameters of one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    pub(crate) fn parse(uri: &Uri) -> Result<Self, Status> {
        let parsed = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
        let pairs = parsed.map_err(|error| Status::bad_request(error.to_string()))?.0;
        Ok(Self(pairs.into_iter().collect()))
    }

    /// A parameter's text; empty if it is absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Whether a parameter is set to something true; `?watch` counts.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.0
            .get(name)
            .is_some_and(|value| !matches!(value.as_str(), "false" | "0"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.text(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))),
        }
    }

    pub(crate) fn is_watch(&self) -> bool {
        self.flag("watch")
    }

    pub(crate) fn selector(&self, kind: &Kind) -> Result<Selector, Status> {
        Ok(Selector {
            labels: LabelSelector::parse(self.text("labelSelector"))?,
            fields: FieldSelector::parse(self.text("fieldSelector"), kind)?,
        })
    }

    /// True for `dryRun=All`; `options` names the kind of options for the message.
    pub(crate) fn dry_run(&self, options: &str) -> Result<bool, Status> {
        match self.text("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let error = FieldError::not_supported("dryRun", vec![other], ["All"]);
                Err(Status::invalid_options(options, error))
            }
        }
    }

    /// The options of a deletion, as a body would state them.
    pub(crate) fn delete_options(&self) -> Result<Value, Status> {
        let mut options = json!({});
        if let Some(seconds) = self.number("gracePeriodSeconds")? {
            options["gracePeriodSeconds"] = seconds.into();
        }
        if self.has("orphanDependents") {
            options["orphanDependents"] = self.flag("orphanDependents").into();
        }
        if self.has("propagationPolicy") {
            options["propagationPolicy"] = self.text("propagationPolicy").into();
        }
        if !self.text("dryRun").is_empty() {
            options["dryRun"] = json!([self.text("dryRun")]);
        }
        Ok(options)
    }

    pub(crate) fn validation(&self, options: &str) -> Result<FieldValidation, Status> {
        match self.text("fieldValidation") {
            "" | "Warn" => Ok(FieldValidation::Warn),
            "Strict" => Ok(FieldValidation::Strict),
            "Ignore" => Ok(FieldValidation::Ignore),
            other => {
                let error = FieldError::not_supported("fieldValidation", other, ["", "Ignore", "Strict", "Warn"]);
                Err(Status::invalid_options(options, error))
            }
        }
    }
}

//! One field that is wrong, worded as the API words it.

use std::fmt;

use serde_json::Value;

/// Why a field is wrong; the `reason` of a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldReason {
    Required,
    Invalid,
    TypeInvalid,
    NotSupported,
    Duplicate,
    Forbidden,
    TooLong,
    TooMany,
    NotFound,
}

impl FieldReason {
    /// The machine-readable name in `details.causes[].reason`.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
        }
    }
}

/// `spec.size: Invalid value: 0: must be greater than 0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    pub field: String,
    pub reason: FieldReason,
    /// The wrong value, as JSON text.
    value: Option<String>,
    detail: String,
}

impl FieldError {
    pub(crate) fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: FieldReason::Required,
            value: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: FieldReason::Invalid,
            value: Some(value.into().to_string()),
            detail: detail.into(),
        }
    }

    /// A wrong value that is too large to be repeated.
    pub(crate) fn invalid_unshown(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            reason: FieldReason::Invalid,
            ..Self::forbidden(field, detail)
        }
    }

    pub(crate) fn of_type(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self {
            reason: FieldReason::TypeInvalid,
            ..Self::invalid(field, value, detail)
        }
    }

    pub(crate) fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: FieldReason::Forbidden,
            value: None,
            detail: detail.into(),
        }
    }

    pub(crate) fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            reason: FieldReason::Duplicate,
            ..Self::invalid(field, value, "")
        }
    }

    /// A name of something that is not there.
    pub(crate) fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            reason: FieldReason::NotFound,
            ..Self::invalid(field, value, "")
        }
    }

    pub(crate) fn not_supported<'a>(
        field: impl Into<String>,
        value: impl Into<Value>,
        allowed: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let allowed: Vec<String> = allowed.into_iter().map(|one| format!("{one:?}")).collect();
        let detail = format!("supported values: {}", allowed.join(", "));
        Self {
            reason: FieldReason::NotSupported,
            ..Self::invalid(field, value, detail)
        }
    }

    pub(crate) fn too_long(field: impl Into<String>, max: u64) -> Self {
        let bytes = if max == 1 { "byte" } else { "bytes" };
        let detail = format!("may not be more than {max} {bytes}");
        Self {
            field: field.into(),
            reason: FieldReason::TooLong,
            value: None,
            detail,
        }
    }

    pub(crate) fn too_many(field: impl Into<String>, actual: usize, max: u64) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        let detail = format!("must have at most {max} {items}");
        Self {
            reason: FieldReason::TooMany,
            ..Self::invalid(field, actual, detail)
        }
    }

    /// The error without the name of the field.
    pub(crate) fn message(&self) -> String {
        let mut text = self.reason.words().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(value);
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message())
    }
}

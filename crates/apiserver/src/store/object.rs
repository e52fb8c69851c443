//! An object in memory.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, LazyLock},
};

use serde_json::Value;

/// Either known, or text that is parsed when somebody first looks at it: opening a large store parses nothing, and what nobody
/// reads stays four times smaller.
#[derive(Clone)]
pub(crate) enum Object {
    Known(Arc<Value>),
    Text(Arc<LazyLock<Arc<Value>, Parse>>),
}

type Parse = Box<dyn FnOnce() -> Arc<Value> + Send>;

impl Object {
    /// Takes an object's JSON. What is not JSON is refused here, so that reading cannot fail later.
    pub(crate) fn from_text(text: &[u8]) -> Result<Self, serde_json::Error> {
        let _valid: serde::de::IgnoredAny = serde_json::from_slice(text)?;
        let text: Box<[u8]> = text.into();
        Ok(Self::Text(Arc::new(LazyLock::new(Box::new(move || {
            Arc::new(serde_json::from_slice(&text).unwrap_or_else(|error| {
                // The text was JSON, so only a number beyond the range of a double or a broken UTF-8 sequence comes here.
                tracing::error!(%error, "an object on disk cannot be read; it is shown empty");
                Value::Object(serde_json::Map::new())
            }))
        })))))
    }
}

impl From<Arc<Value>> for Object {
    fn from(object: Arc<Value>) -> Self {
        Self::Known(object)
    }
}

impl Deref for Object {
    type Target = Arc<Value>;

    fn deref(&self) -> &Arc<Value> {
        match self {
            Self::Known(object) => object,
            Self::Text(object) => object,
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

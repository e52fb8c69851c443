//! Recorded exchanges, as they lie in their files.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One exchange.
#[derive(Debug)]
pub(crate) struct Recording {
    /// The file's name without `.json`.
    pub(crate) name: String,
    pub(crate) request: Request,
    pub(crate) response: Response,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: Map<String, Value>,
    /// JSON, or text that goes out as it stands.
    #[serde(default)]
    pub(crate) body: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Response {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Value>,
    pub(crate) body_text: Option<String>,
    /// The exchange was a watch.
    pub(crate) events: Option<Vec<Timed>>,
}

/// An event of a watch.
#[derive(Debug, Deserialize)]
pub(crate) struct Timed {
    pub(crate) event: Value,
}

impl Recording {
    /// The letter that its name starts with.
    pub(crate) fn group(&self) -> &str {
        self.name.get(..1).unwrap_or_default()
    }

    /// The user that the request came from, if it was neither the administrator nor the holder of a token that was issued.
    pub(crate) fn user(&self) -> Option<&str> {
        let user = self.request.headers.get("Authorization")?.as_str()?;
        let user = user.strip_prefix("Bearer <")?.strip_suffix('>')?;
        (user != "admin" && !user.contains(' ')).then_some(user)
    }

    pub(crate) fn summary(&self) -> String {
        format!(
            "{} {} -> {}",
            self.request.method, self.request.path, self.response.status
        )
    }

    pub(crate) fn succeeded(&self) -> bool {
        (200..300).contains(&self.response.status)
    }

    /// A parameter of the request's query, as it stands there.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.request.path.split_once('?')?;
        let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
        parameters.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// Whether the history did not reach back to what was asked for.
    pub(crate) fn is_expired(&self) -> bool {
        let bodies = self.response.body.iter();
        let mut told = bodies.chain(self.events().iter().map(|timed| &timed.event["object"]));
        told.any(|told| told["reason"] == "Expired")
    }

    pub(crate) fn events(&self) -> &[Timed] {
        self.response.events.as_deref().unwrap_or_default()
    }
}

impl Response {
    /// Headers may come several times.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let same = move |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str())
    }
}

/// All exchanges of a folder, in the order of their names. A file without a request is a fragment, and left out.
pub(crate) fn read_all(folder: &Path) -> anyhow::Result<Vec<Recording>> {
    #[derive(Deserialize)]
    struct File {
        request: Option<Request>,
        response: Option<Response>,
    }
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read the recordings in {}", folder.display()))?;
    let mut recordings = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot list {}", folder.display()))?
            .path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file: File =
            serde_json::from_slice(&text).with_context(|| format!("{} is not a recording", path.display()))?;
        if let (Some(request), Some(response), Some(name)) = (file.request, file.response, path.file_stem()) {
            recordings.push(Recording {
                name: name.to_string_lossy().into_owned(),
                request,
                response,
            });
        }
    }
    recordings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(recordings)
}

//! A transaction as JSON: an array of changes, `{"rv":…,"g":group,"r":plural,"ns":…,"n":name,"o":object,"del":true?}`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::store::{Change, Key, Resource, Revision};

#[derive(Serialize)]
struct Line<'a> {
    rv: u64,
    g: &'a str,
    r: &'a str,
    ns: &'a str,
    n: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    del: bool,
    o: &'a Value,
}

#[derive(Deserialize)]
struct OwnedLine {
    rv: u64,
    g: String,
    r: String,
    ns: String,
    n: String,
    #[serde(default)]
    del: bool,
    o: Value,
}

pub(crate) fn encode(changes: &[Change]) -> Vec<u8> {
    let lines: Vec<Line<'_>> = changes
        .iter()
        .map(|change| Line {
            rv: change.revision.0,
            g: &change.key.resource.group,
            r: &change.key.resource.plural,
            ns: &change.key.place.namespace,
            n: &change.key.place.name,
            del: change.deleted,
            o: &change.object,
        })
        .collect();
    serde_json::to_vec(&lines).expect("JSON values always serialize")
}

pub(crate) fn decode(payload: &[u8]) -> Result<Vec<Change>, String> {
    let lines: Vec<OwnedLine> = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let changes = lines.into_iter().map(|line| Change {
        revision: Revision(line.rv),
        key: Key::new(&Resource::new(&line.g, &line.r), &line.ns, &line.n),
        deleted: line.del,
        object: Arc::new(line.o),
    });
    Ok(changes.collect())
}

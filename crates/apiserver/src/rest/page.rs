//! Continue tokens: where the next page of a list starts, and at which revision.
//!
//! Base64 of `{"v":"meta.k8s.io/v1","rv":284,"start":"/l2\u0000"}`, as the real server writes them. `start` is the first key that may
//! be on the next page, relative to what is listed: `name`, or `namespace/name` in a list of all namespaces. The NUL makes it the
//! key right after that of the last object shown. Revision -1 means: whatever is newest.

use base64::{
    Engine as _, alphabet,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
    prelude::BASE64_URL_SAFE_NO_PAD,
};
use serde_json::{Value, json};

use crate::{
    json_syntax,
    status::Status,
    store::{Place, Revision},
};

/// Where a page starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// None: the newest there is.
    pub revision: Option<Revision>,
    /// The first place that may be on the page.
    pub place: Place,
}

/// The token of the page after `last`, in a list of one namespace or of all.
pub(crate) fn token(revision: Option<Revision>, last: &Place, namespace: Option<&str>) -> String {
    let revision = revision.map_or(-1, |revision| i64::try_from(revision.0).unwrap_or(i64::MAX));
    let start = if namespace.is_some() || last.namespace.is_empty() {
        format!("/{}\0", last.name)
    } else {
        format!("/{}/{}\0", last.namespace, last.name)
    };
    BASE64_URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start}).to_string())
}

/// The token that goes on from the same place at whatever is newest then.
pub(crate) fn unpinned(token: &str) -> String {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).unwrap_or_default();
    let mut body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    body["rv"] = (-1).into();
    BASE64_URL_SAFE_NO_PAD.encode(body.to_string())
}

/// Reads a token that was given for the same list.
pub(crate) fn read(token: &str, namespace: Option<&str>) -> Result<Start, Status> {
    let bytes = LENIENT
        .decode(token)
        .map_err(|error| bad(&format!(": {}", illegal(&error))))?;
    let body: Value = serde_json::from_slice(&bytes).map_err(|error| {
        let why = json_syntax::complaint(&bytes).unwrap_or_else(|| error.to_string());
        bad(&format!(": {why}"))
    })?;
    if body["v"] != "meta.k8s.io/v1" {
        let version = body["v"].as_str().unwrap_or_default();
        return Err(bad(&format!(
            ": server does not recognize this encoded version {version:?}"
        )));
    }
    let revision = match body["rv"].as_i64() {
        None | Some(0) => {
            return Err(bad(
                ": incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        Some(revision) => u64::try_from(revision).ok().map(Revision),
    };
    let start = body["start"].as_str().unwrap_or_default();
    let key = start.strip_prefix('/').unwrap_or(start);
    if key.is_empty() {
        return Err(bad(": encoded start key empty (version meta.k8s.io/v1)"));
    }
    let (within, name) = match key.split_once('/') {
        Some((within, name)) if namespace.is_none() => (within, name),
        _ => (namespace.unwrap_or_default(), key),
    };
    if [within, name]
        .iter()
        .any(|part| part.contains('/') || matches!(*part, "." | ".."))
    {
        return Err(bad(&format!(": {start}")));
    }
    let place = Place {
        namespace: within.to_owned(),
        name: name.to_owned(),
    };
    Ok(Start { revision, place })
}

fn bad(why: &str) -> Status {
    Status::bad_request(format!("invalid continue token: continue key is not valid{why}"))
}

/// As Go words it.
fn illegal(error: &base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        // One character is left over, which says less than a byte.
        base64::DecodeError::InvalidLength(length) => length.saturating_sub(1),
        base64::DecodeError::InvalidPadding => 0,
    };
    format!("illegal base64 data at input byte {at}")
}

/// Like Go's, it does not look at bits that mean nothing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(namespace: &str, name: &str) -> Place {
        Place {
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    proptest! {
        #[test]
        fn a_page_starts_right_after_the_last_object(
            revision in 1_u64.., (namespace, name) in ("[a-z]{1,8}", "[a-z]([a-z.:-]{0,8}[a-z])?"), all: bool,
        ) {
            let revision = Revision(revision >> 1);
            prop_assume!(revision.0 > 0);
            let listed = (!all).then_some(namespace.as_str());
            let last = place(&namespace, &name);
            let start = read(&token(Some(revision), &last, listed), listed).unwrap();
            prop_assert_eq!(start.revision, Some(revision));
            prop_assert!(start.place > last);
            let next = place(&namespace, &(name + "-"));
            prop_assert!(start.place < next);
        }
    }

    #[test]
    fn a_token_of_the_real_server_is_read() {
        let token = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Mjg0LCJzdGFydCI6Ii9sMlx1MDAwMCJ9";
        let start = read(token, Some("g1")).unwrap();
        assert_eq!(
            (start.revision, start.place),
            (Some(Revision(284)), place("g1", "l2\0"))
        );
        assert_eq!(super::token(Some(Revision(284)), &place("g1", "l2"), Some("g1")), token);
    }

    #[test]
    fn a_token_cannot_leave_its_list() {
        let crafted = |start: &str| {
            BASE64_URL_SAFE_NO_PAD.encode(json!({"v": "meta.k8s.io/v1", "rv": 1, "start": start}).to_string())
        };
        for start in ["../x", "/../g2/x", "a/b", "", "/"] {
            assert!(read(&crafted(start), Some("g1")).is_err(), "{start}");
        }
        for (token, why) in [
            ("?", "illegal base64 data at input byte 0"),
            ("bogus", "illegal base64 data at input byte 4"),
            ("abc", "invalid character 'i' looking for beginning of value"),
            ("e30", "server does not recognize this encoded version \"\""),
        ] {
            let message = read(token, None).unwrap_err().message;
            assert_eq!(
                message,
                format!("invalid continue token: continue key is not valid: {why}"),
                "{token}"
            );
        }
    }
}

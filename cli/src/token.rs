//! The text that `broker invite` prints and `join` takes.
//!
//! `tmb1_` and base64url (no padding) of the invitation as JSON, followed by the first four bytes of its SHA-256. The checksum
//! is no secret; it tells a token that lost a character in a chat window from one that the broker refuses.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use k8s_runtime::ServerAddress;
use model::ClusterId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// An invitation to join.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InviteToken {
    /// Where the broker's API is.
    pub url: String,
    /// The broker's CA certificates (PEM); empty where the system's trust store knows them.
    #[serde(default)]
    pub ca: String,
    /// The name in the broker's certificate, where that is not the URL's host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tls_server_name: String,
    /// The id that the broker's administrator gave the new member.
    pub cluster_id: ClusterId,
    /// Bearer token of the broker's ServiceAccount `invite`.
    pub token: String,
    /// When the bearer token ends.
    pub expires: Timestamp,
}

/// Why a text is no invitation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Something else was pasted.
    #[error(
        "this is not a Tombolo token: it does not begin with \"{PREFIX}\". Paste what `tombolo broker invite <cluster-id>` printed"
    )]
    NotAToken,
    /// A later version's token.
    #[error("this token is of a newer Tombolo (it begins with \"{0}\"). Use the `tombolo` of the version that made it")]
    Newer(String),
    /// Characters are missing or were changed.
    #[error(
        "the token is garbled: characters are missing or were changed. Copy the whole line that `tombolo broker invite` printed"
    )]
    Garbled,
}

impl InviteToken {
    /// Where the broker is.
    pub fn server(&self) -> ServerAddress<'_> {
        ServerAddress {
            url: &self.url,
            ca: &self.ca,
            name: &self.tls_server_name,
        }
    }

    /// The token as one word.
    pub fn encode(&self) -> String {
        let mut bytes = serde_json::to_vec(self).expect("an invitation is plain data");
        bytes.extend(checksum(&bytes));
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads a token; space around it is ignored.
    ///
    /// # Errors
    /// Tells a foreign text, a newer version's token and a garbled one apart.
    pub fn decode(text: &str) -> Result<Self, InvalidToken> {
        let text = text.trim();
        let Some(body) = text.strip_prefix(PREFIX) else {
            return Err(match text.split_once('_') {
                Some((word, _)) if is_other_version(word) => InvalidToken::Newer(format!("{word}_")),
                _ => InvalidToken::NotAToken,
            });
        };
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| InvalidToken::Garbled)?;
        let (json, sum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(InvalidToken::Garbled)?;
        if *sum != checksum(json) {
            return Err(InvalidToken::Garbled);
        }
        serde_json::from_slice(json).map_err(|_| InvalidToken::Garbled)
    }

    /// Whether the invitation has ended by the given clock.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires <= now
    }
}

impl std::fmt::Debug for InviteToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InviteToken")
            .field("url", &self.url)
            .field("cluster_id", &self.cluster_id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

fn is_other_version(word: &str) -> bool {
    word.strip_prefix("tmb")
        .is_some_and(|version| !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = Sha256::digest(bytes);
    *digest.first_chunk().expect("a SHA-256 has 32 bytes")
}

const PREFIX: &str = "tmb1_";
const CHECKSUM_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> InviteToken {
        InviteToken {
            url: "https://192.0.2.1:6443".into(),
            ca: "-----BEGIN CERTIFICATE-----\n".into(),
            tls_server_name: "broker.example".into(),
            cluster_id: "east".parse().unwrap(),
            token: "secret".into(),
            expires: Timestamp::from_second(1_800_000_000).unwrap(),
        }
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(InviteToken::decode(&format!("  {}\n", token().encode())), Ok(token()));
    }

    #[test]
    fn foreign_newer_and_cut_tokens_are_told_apart() {
        assert_eq!(InviteToken::decode(""), Err(InvalidToken::NotAToken));
        assert_eq!(InviteToken::decode("eyJhbGciOiJ"), Err(InvalidToken::NotAToken));
        assert_eq!(
            InviteToken::decode("tmb2_abc"),
            Err(InvalidToken::Newer("tmb2_".into()))
        );
        let text = token().encode();
        for end in 5..text.len() {
            assert_eq!(InviteToken::decode(&text[..end]), Err(InvalidToken::Garbled), "{end}");
        }
    }

    #[test]
    fn it_ends_at_its_time() {
        let second = |s| Timestamp::from_second(s).unwrap();
        assert!(!token().is_expired(second(1_799_999_999)));
        assert!(token().is_expired(second(1_800_000_000)));
    }

    #[test]
    fn its_debug_form_shows_no_secret() {
        assert!(!format!("{:?}", token()).contains("secret"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = InviteToken::decode(&text);
            let _ = InviteToken::decode(&format!("{PREFIX}{text}"));
        }

        #[test]
        fn one_changed_character_is_noticed(at in 0usize..200, with in "[A-Za-z0-9_-]") {
            let mut text = token().encode();
            let at = PREFIX.len() + at % (text.len() - PREFIX.len() - 1);
            prop_assume!(text[at..=at] != with);
            text.replace_range(at..=at, &with);
            prop_assert_eq!(InviteToken::decode(&text), Err(InvalidToken::Garbled));
        }
    }
}

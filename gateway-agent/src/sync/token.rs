//! Keeps the broker token young: at half life it asks the broker for another and writes it into the Secret. The watch on the Secret
//! then brings the new token into use.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use model::{ClusterId, names};
use serde_json::json;

use super::access::{TOKEN_EXPIRES, TOKEN_ISSUED};

/// Whose token it is and where it is kept.
pub(super) struct Renewal {
    pub(super) local: Client,
    pub(super) namespace: String,
    pub(super) broker: Client,
    pub(super) cluster: ClusterId,
    pub(super) life: Option<(Timestamp, Timestamp)>,
}

impl Renewal {
    /// Waits for half life and renews; tries again until it is done. Then the Secret has changed, and a new connection takes over.
    pub(super) async fn run(self) {
        tokio::time::sleep(until_half_life(self.life, Timestamp::now())).await;
        while let Err(error) = self.renew().await {
            tracing::warn!(error = %error, "the broker token was not renewed; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn renew(&self) -> Result<(), kube::Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.broker.clone(), &self.cluster.broker_namespace());
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(TOKEN_SECONDS),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let issued = Timestamp::now();
        let answer = accounts
            .create_token_request(MEMBER_ACCOUNT, &PostParams::default(), &request)
            .await?;
        let Some(status) = answer.status else {
            tracing::warn!("the broker answered a token request without a token");
            return Ok(());
        };
        let secrets: Api<Secret> = Api::namespaced(self.local.clone(), &self.namespace);
        let patch = json!({ "stringData": {
            "token": status.token,
            TOKEN_ISSUED: issued.to_string(),
            TOKEN_EXPIRES: status.expiration_timestamp.0.to_string(),
        }});
        secrets
            .patch(names::BROKER_SECRET, &PatchParams::default(), &Patch::Merge(&patch))
            .await?;
        tracing::info!(expires = %status.expiration_timestamp.0, "renewed the broker token");
        Ok(())
    }
}

/// How long until the token has lived half its life. One of unknown age is renewed at once.
fn until_half_life(life: Option<(Timestamp, Timestamp)>, now: Timestamp) -> Duration {
    let Some((issued, expires)) = life else {
        return Duration::ZERO;
    };
    let half = issued.duration_until(expires) / 2;
    let wait = now.duration_until(issued) + half;
    Duration::try_from(wait.max(SignedDuration::ZERO)).unwrap_or(Duration::ZERO)
}

/// The ServiceAccount that every member has in its namespace on the broker.
const MEMBER_ACCOUNT: &str = "member";
/// A broker may be away for half of this before its members need a new invitation.
const TOKEN_SECONDS: i64 = 30 * 24 * 3600;
const RETRY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_at_half_life() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let life = Some((at(1_000), at(3_000)));
        assert_eq!(until_half_life(life, at(1_000)), Duration::from_secs(1_000));
        assert_eq!(until_half_life(life, at(1_700)), Duration::from_secs(300));
        assert_eq!(until_half_life(life, at(2_500)), Duration::ZERO);
        assert_eq!(until_half_life(None, at(0)), Duration::ZERO, "its age is not known");
    }
}

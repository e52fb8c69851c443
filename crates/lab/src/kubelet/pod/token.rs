//! The tokens of a pod's service account: bound to the pod, and renewed long before they expire.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use super::{facts, volume};

/// The tokens that a pod's volumes hold.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<(String, String), Token>);

struct Token {
    text: String,
    renew_at: Instant,
}

impl Tokens {
    /// The token at a path in a volume.
    pub(super) fn text(&self, volume: &str, path: &str) -> Option<&str> {
        self.0
            .get(&(volume.to_owned(), path.to_owned()))
            .map(|token| token.text.as_str())
    }

    /// Requests what is missing and what is due.
    ///
    /// # Errors
    /// When the API server does not give one. An old token stays in use.
    pub(super) async fn renew(&mut self, client: &Client, pod: &Pod) -> anyhow::Result<()> {
        for volume in volume::volumes(pod) {
            let sources = volume
                .projected
                .and_then(|projected| projected.sources)
                .unwrap_or_default();
            for source in sources.into_iter().filter_map(|source| source.service_account_token) {
                let place = (volume.name.clone(), source.path.clone());
                if self.0.get(&place).is_none_or(|token| Instant::now() >= token.renew_at) {
                    let token = request(client, pod, source).await?;
                    self.0.insert(place, token);
                }
            }
        }
        Ok(())
    }
}

async fn request(client: &Client, pod: &Pod, source: ServiceAccountTokenProjection) -> anyhow::Result<Token> {
    let account = facts::service_account(pod);
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: source.audience.into_iter().collect(),
            bound_object_ref: Some(BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                name: Some(pod.name_any()),
                uid: pod.uid(),
            }),
            expiration_seconds: Some(source.expiration_seconds.unwrap_or(3600)),
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await
        .with_context(|| format!("there is no token for the ServiceAccount '{account}'"))?;
    let status = answer
        .status
        .context("the API server granted a token without saying which")?;
    let life = Timestamp::now()
        .until(status.expiration_timestamp.0)
        .ok()
        .and_then(|span| span.total(k8s_openapi::jiff::Unit::Second).ok());
    // As the kubelet does: at four fifths of its life. A clock that is off must not make it ask in a loop.
    let life = Duration::try_from_secs_f64(life.unwrap_or_default())
        .unwrap_or_default()
        .max(Duration::from_secs(60));
    Ok(Token {
        text: status.token,
        renew_at: Instant::now() + life.mul_f64(0.8),
    })
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("renew_at", &self.renew_at)
            .finish_non_exhaustive()
    }
}

//! The clusterset zone in cluster DNS: the edit of the ConfigMap `kube-system/coredns`.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;

use crate::apply::{Change, MANAGER};
use crate::connect::{Connection, is_not_found};
use crate::corefile::{self, CorefileError, Upstream};

/// What became of the edit.
#[derive(Debug, PartialEq, Eq)]
pub enum DnsEdit {
    /// Cluster DNS has the stanza, or has it no longer.
    Done(Change),
    /// A person must do it: why.
    LeftAlone(String),
}

/// Puts the stanza in.
///
/// # Errors
/// When the cluster refuses.
pub async fn put_in(cluster: &Connection, upstream: &Upstream) -> anyhow::Result<DnsEdit> {
    edit(cluster, |corefile| corefile::with_stanza(corefile, upstream)).await
}

/// Takes the stanza out.
///
/// # Errors
/// When the cluster refuses.
pub async fn take_out(cluster: &Connection) -> anyhow::Result<DnsEdit> {
    edit(cluster, corefile::without_stanza).await
}

async fn edit(cluster: &Connection, change: impl Fn(&str) -> Result<String, CorefileError>) -> anyhow::Result<DnsEdit> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), NAMESPACE);
    let params = PostParams {
        field_manager: Some(MANAGER.to_owned()),
        ..PostParams::default()
    };
    for _ in 0..ATTEMPTS {
        let mut object = match api.get(NAME).await {
            Ok(object) => object,
            Err(error) if is_not_found(&error) => {
                return Ok(DnsEdit::LeftAlone(format!("there is no ConfigMap {NAMESPACE}/{NAME}")));
            }
            Err(error) => return Err(cluster.failed(format!("read ConfigMap {NAMESPACE}/{NAME}"))(error)),
        };
        let data = object.data.get_or_insert_default();
        let Some(before) = data.get(KEY) else {
            return Ok(DnsEdit::LeftAlone(format!("ConfigMap {NAMESPACE}/{NAME} has no {KEY}")));
        };
        let after = match change(before) {
            Ok(after) if after == *before => return Ok(DnsEdit::Done(Change::Unchanged)),
            Ok(after) => after,
            Err(why) => {
                return Ok(DnsEdit::LeftAlone(format!(
                    "the {KEY} in ConfigMap {NAMESPACE}/{NAME} is not understood: {why}"
                )));
            }
        };
        data.insert(KEY.to_owned(), after);
        // The object carries the resourceVersion that was read: nobody's edit in between is lost.
        match api.replace(NAME, &params, &object).await {
            Ok(_) => return Ok(DnsEdit::Done(Change::Changed)),
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => return Err(cluster.failed(format!("change ConfigMap {NAMESPACE}/{NAME}"))(error)),
        }
    }
    Ok(DnsEdit::LeftAlone(format!(
        "ConfigMap {NAMESPACE}/{NAME} was changed by somebody else {ATTEMPTS} times in a row"
    )))
}

const NAMESPACE: &str = "kube-system";
const NAME: &str = "coredns";
const KEY: &str = "Corefile";
const ATTEMPTS: usize = 5;

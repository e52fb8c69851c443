//! Namespaces on a server that is not the lab's: the embedded one does both of this by itself.
//!
//! A namespace is given the ServiceAccount and the CA that every pod needs, and one that is being deleted is emptied and let go.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::Kubeconfig;
use kube::core::{ApiResource, DynamicObject};
use kube::discovery::{Discovery, Scope, verbs};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::mirror::{Changes, Mirror};

/// Looks after all namespaces for as long as it is polled.
pub(super) async fn run(client: Client, ca: Option<String>) {
    let changes = Changes::default();
    let namespaces: Mirror<Namespace> = Mirror::watch(Api::all(client.clone()), Default::default(), changes.clone());
    loop {
        for namespace in namespaces.objects() {
            let result = if namespace.metadata.deletion_timestamp.is_some() {
                empty(&client, &namespace).await
            } else {
                furnish(&client, &namespace.name_any(), ca.as_deref()).await
            };
            if let Err(error) = result {
                tracing::warn!(
                    namespace = namespace.name_any(),
                    error = format!("{error:#}"),
                    "tried again soon"
                );
            }
        }
        changes.next(RESYNC).await;
    }
}

/// The CA of a kubeconfig's current cluster.
pub(super) fn ca(kubeconfig: &Path) -> anyhow::Result<Option<String>> {
    let path = kubeconfig.display();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).with_context(|| format!("cannot read the kubeconfig {path}"))?;
    let context = kubeconfig
        .contexts
        .iter()
        .find(|context| Some(&context.name) == kubeconfig.current_context.as_ref());
    let name = context
        .and_then(|context| context.context.as_ref())
        .map(|context| context.cluster.as_str());
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|cluster| Some(cluster.name.as_str()) == name);
    let Some(cluster) = cluster.and_then(|cluster| cluster.cluster.as_ref()) else {
        return Ok(None);
    };
    if let Some(data) = &cluster.certificate_authority_data {
        let data: k8s_openapi::ByteString =
            serde_json::from_value(json!(data)).context("the CA in the kubeconfig is no base64")?;
        return Ok(Some(
            String::from_utf8(data.0).context("the CA in the kubeconfig is no text")?,
        ));
    }
    let file = cluster.certificate_authority.as_ref();
    file.map(|file| std::fs::read_to_string(file).with_context(|| format!("cannot read the CA {file}")))
        .transpose()
}

async fn furnish(client: &Client, namespace: &str, ca: Option<&str>) -> anyhow::Result<()> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    if accounts.get_opt("default").await?.is_none() {
        let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "default"}}))?;
        unless_there(accounts.create(&PostParams::default(), &account).await)?;
    }
    let Some(ca) = ca else { return Ok(()) };
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    if maps.get_opt(ROOT_CA).await?.is_none() {
        let map = ConfigMap {
            data: Some(BTreeMap::from([("ca.crt".to_owned(), ca.to_owned())])),
            ..serde_json::from_value(json!({"metadata": {"name": ROOT_CA}}))?
        };
        unless_there(maps.create(&PostParams::default(), &map).await)?;
    }
    Ok(())
}

/// Deletes what is in a namespace that is being deleted; the namespace goes once nothing is.
///
/// # Errors
/// When the API server does not answer or refuses.
pub(crate) async fn empty(client: &Client, namespace: &Namespace) -> anyhow::Result<()> {
    let name = namespace.name_any();
    let discovery = Discovery::new(client.clone())
        .run()
        .await
        .context("cannot discover the kinds")?;
    let resources = discovery
        .groups()
        .flat_map(kube::discovery::ApiGroup::recommended_resources);
    let inside: Vec<ApiResource> = resources
        .filter(|(_, kind)| kind.scope == Scope::Namespaced)
        .filter(|(_, kind)| kind.supports_operation(verbs::LIST) && kind.supports_operation(verbs::DELETE_COLLECTION))
        .map(|(resource, _)| resource)
        .collect();
    let counts = inside.iter().map(async |resource| {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &name, resource);
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::background()
        };
        let left = api.list_metadata(&ListParams::default()).await?.items.len();
        if left > 0 {
            api.delete_collection(&at_once, &ListParams::default()).await?;
        }
        Ok::<usize, kube::Error>(left)
    });
    let left: usize = try_join_all(counts).await?.into_iter().sum();
    let holds = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    if left == 0 && holds.is_some_and(|finalizers| !finalizers.is_empty()) {
        let mut released = namespace.clone();
        released.spec = Some(Default::default());
        let body = serde_json::to_vec(&released)?;
        let request = http::Request::put(format!("/api/v1/namespaces/{name}/finalize"))
            .header("content-type", "application/json");
        match client.request::<serde_json::Value>(request.body(body)?).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            result => drop(result?),
        }
    }
    Ok(())
}

fn unless_there<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        // It, or the namespace, has come or gone in the meantime.
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404 | 409) => Ok(()),
        result => result.map(drop),
    }
}

const ROOT_CA: &str = "kube-root-ca.crt";
const RESYNC: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::State;
    use axum::http::{Method, Request};
    use axum::response::Json;
    use serde_json::Value;

    use super::*;

    /// A server with one object in one namespace, which it lets go only when it is told to.
    #[derive(Debug, Default)]
    struct Server {
        is_emptied: bool,
        is_released: bool,
    }

    async fn answer(State(server): State<Arc<Mutex<Server>>>, request: Request<axum::body::Body>) -> Json<Value> {
        let mut server = server.lock().unwrap();
        let list = |items: Value| json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items});
        Json(match (request.method(), request.uri().path()) {
            (&Method::GET, "/api") => {
                json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})
            }
            (&Method::GET, "/apis") => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
            (&Method::GET, "/api/v1") => json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [
                {"name": "configmaps", "singularName": "configmap", "kind": "ConfigMap", "namespaced": true, "verbs": ["list", "deletecollection"]},
                {"name": "bindings", "singularName": "binding", "kind": "Binding", "namespaced": true, "verbs": ["create"]},
            ]}),
            (&Method::GET, "/api/v1/namespaces/old/configmaps") if server.is_emptied => list(json!([])),
            (&Method::GET, "/api/v1/namespaces/old/configmaps") => list(json!([{"metadata": {"name": "a"}}])),
            (&Method::DELETE, "/api/v1/namespaces/old/configmaps") => {
                server.is_emptied = true;
                json!({"kind": "Status", "status": "Success", "metadata": {}})
            }
            (&Method::PUT, "/api/v1/namespaces/old/finalize") => {
                assert!(server.is_emptied, "what is in it must go first");
                server.is_released = true;
                json!({"kind": "Namespace", "metadata": {"name": "old"}})
            }
            other => panic!("unexpected {other:?}"),
        })
    }

    #[tokio::test]
    async fn a_deleted_namespace_is_emptied_and_then_let_go() {
        let server = Arc::new(Mutex::new(Server::default()));
        let client = Client::new(
            Router::new().fallback(answer).with_state(Arc::clone(&server)),
            "default",
        );
        let namespace = json!({"metadata": {"name": "old"}, "spec": {"finalizers": ["kubernetes"]}});
        let namespace: Namespace = serde_json::from_value(namespace).unwrap();
        empty(&client, &namespace).await.unwrap();
        assert!(!server.lock().unwrap().is_released);
        empty(&client, &namespace).await.unwrap();
        assert!(server.lock().unwrap().is_released);
    }
}

//! A broker and clusters that have joined it, each an in-process API server; the broker is reached over TLS.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use apiserver::{ApiServer, Config, ServerTls};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, PostParams};
use kube::core::ApiResource;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::sync::tests::simulation;
use crate::sync::{Context, SyncReport, run};

pub(super) struct Broker {
    pub(super) admin: Client,
    pub(super) url: String,
    ca: String,
    pub(super) stop: Option<oneshot::Sender<()>>,
    _folder: tempfile::TempDir,
}

pub(super) struct Member {
    pub(super) local: Client,
    pub(super) report: watch::Receiver<SyncReport>,
    pub(super) leader: JoinHandle<anyhow::Result<()>>,
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leader.abort();
    }
}

pub(super) async fn broker() -> Broker {
    let server = server(&k8s_api::crds::broker());
    let admin = Client::new(server.admin_router(), "default");
    create(&admin, simulation::broker("first")).await;
    create(
        &admin,
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "tombolo-member"},
            "rules": [{
                "apiGroups": ["tombolo.dev"], "resources": ["brokers", "clusters", "gateways", "exportedservices"],
                "verbs": ["get", "list", "watch"],
            }],
        }),
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let tls = ServerTls::load_or_create(folder.path(), &[], &[Ipv4Addr::LOCALHOST.into()]).unwrap();
    let ca = tls.ca_pem().to_owned();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        server.serve_tls(listener, tls, shutdown).await.unwrap();
    });
    Broker {
        admin,
        url,
        ca,
        stop: Some(stop),
        _folder: folder,
    }
}

impl Broker {
    /// Makes a member's room, as `tombolo broker invite` does, and returns a token of the member.
    pub(super) async fn invite(&self, name: &str) -> String {
        let namespace = format!("tombolo-m-{name}");
        create(
            &self.admin,
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
        )
        .await;
        create(
            &self.admin,
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "member", "namespace": namespace}}),
        )
        .await;
        let subjects = json!([{"kind": "ServiceAccount", "name": "member", "namespace": namespace}]);
        let role =
            |kind: &str, name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name});
        create(
            &self.admin,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
                "metadata": {"name": "member", "namespace": namespace},
                "rules": [
                    {
                        "apiGroups": ["tombolo.dev"], "resources": ["clusters", "gateways", "exportedservices"],
                        "verbs": ["create", "update", "patch", "delete"],
                    },
                    {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]},
                ],
            }),
        )
        .await;
        create(
            &self.admin,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
                "metadata": {"name": "member", "namespace": namespace},
                "roleRef": role("Role", "member"), "subjects": subjects,
            }),
        )
        .await;
        create(
            &self.admin,
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": namespace},
                "roleRef": role("ClusterRole", "tombolo-member"), "subjects": subjects,
            }),
        )
        .await;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin.clone(), &namespace);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3_600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request("member", &PostParams::default(), &request)
            .await
            .unwrap();
        answer.status.unwrap().token
    }

    /// A cluster that has joined, with its leader running.
    pub(super) async fn member(&self, name: &str, n: usize) -> Member {
        let token = self.invite(name).await;
        let crds = [k8s_api::crds::member(), k8s_api::crds::mcs()].concat();
        let local = Client::new(server(&crds).admin_router(), "default");
        for namespace in ["tombolo-system", "shop"] {
            create(
                &local,
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            )
            .await;
        }
        create(&local, simulation::cluster("tombolo-system", name, n)).await;
        create(&local, simulation::node("gw1")).await;
        create(
            &local,
            simulation::gateway("tombolo-system", &format!("{name}.gw1"), name, "gw1"),
        )
        .await;
        create(
            &local,
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tombolo-broker", "namespace": "tombolo-system"},
                "stringData": {"url": self.url, "ca.crt": self.ca, "token": token, "clusterId": name, "incarnation": "first"},
            }),
        )
        .await;
        let (sender, report) = watch::channel(SyncReport::default());
        let leader = tokio::spawn(run(Context {
            local: local.clone(),
            namespace: "tombolo-system".into(),
            cluster: name.parse().unwrap(),
            node: "gw1".parse().unwrap(),
            report: sender,
        }));
        Member { local, report, leader }
    }
}

impl Member {
    pub(super) fn system<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.local.clone(), "tombolo-system")
    }

    pub(super) fn shop<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.local.clone(), "shop")
    }

    /// Exports shop/cart with one ready endpoint.
    pub(super) async fn export(&self, n: usize) {
        for object in simulation::service_objects(n) {
            create(&self.local, object).await;
        }
        create(&self.local, simulation::service_export()).await;
    }

    pub(super) async fn reported(&self, what: &str, is_it: impl Fn(&SyncReport) -> bool) {
        let mut report = self.report.clone();
        let waited = tokio::time::timeout(PATIENCE, report.wait_for(is_it)).await;
        assert!(
            waited.is_ok(),
            "waited for {what}; the last report is {:?}",
            *self.report.borrow()
        );
    }
}

fn server(crds: &[CustomResourceDefinition]) -> ApiServer {
    ApiServer::open(Config {
        service_prefixes: vec!["10.96.0.0/11".parse().unwrap()],
        admin_token: "admin".into(),
        crds: crds.iter().map(|crd| serde_json::to_value(crd).unwrap()).collect(),
        ..Config::default()
    })
    .unwrap()
}

pub(super) async fn create(client: &Client, object: Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, version) = match text(&object["apiVersion"]).split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text(&object["apiVersion"])),
    };
    let kind = kube::core::GroupVersionKind::gvk(&group, &version, &text(&object["kind"]));
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let name = object.to_string();
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object)
        .await
        .unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Waits until a question is answered with something.
pub(super) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, ask: impl Fn() -> F) -> T {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < until, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

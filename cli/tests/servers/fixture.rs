//! API servers on the loopback, and the `tombolo` binary run against them. There are no nodes behind them: agents are played by the
//! tests, by writing what agents would report.

use std::future::pending;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use apiserver::{ApiServer, Config, ServerTls};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// A cluster's, or a broker's, API server.
pub(crate) struct Server {
    pub(crate) client: Client,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) url: String,
    _dir: TempDir,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    /// Serves on a free port of the loopback.
    pub(crate) async fn start(service_prefix: &str) -> Self {
        k8s_runtime::install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let tls = ServerTls::load_or_create(dir.path(), &[], &[Ipv4Addr::LOCALHOST.into()]).unwrap();
        let kubeconfig = dir.path().join("kubeconfig");
        std::fs::write(&kubeconfig, admin_kubeconfig(&url, tls.ca_pem())).unwrap();
        let server = ApiServer::open(Config {
            admin_token: "admin".into(),
            service_prefixes: vec![service_prefix.parse().unwrap()],
            ..Config::default()
        })
        .unwrap();
        let client = Client::new(server.admin_router(), "default");
        let serving = tokio::spawn(async move {
            server.serve_tls(listener, tls, pending()).await.unwrap();
        });
        Self {
            client,
            kubeconfig,
            url,
            _dir: dir,
            serving,
        }
    }

    /// A cluster with two workers and cluster DNS.
    pub(crate) async fn cluster(pod_prefix: &str, service_prefix: &str) -> Self {
        let server = Self::start(service_prefix).await;
        for name in ["worker-1", "worker-2"] {
            server
                .apply(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name }, "spec": { "podCIDR": pod_prefix } }))
                .await;
            server
                .report(
                    "v1",
                    "Node",
                    "",
                    name,
                    &json!({ "conditions": [{ "type": "Ready", "status": "True" }] }),
                )
                .await;
        }
        server
            .apply(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "coredns", "namespace": "kube-system" },
                "data": { "Corefile": COREFILE } }))
            .await;
        server
    }

    /// A broker, made by `tombolo broker install`.
    pub(crate) async fn broker() -> Self {
        let server = Self::start("10.0.0.0/24").await;
        server.tombolo(&["broker", "install"]).await.ok();
        server
    }

    /// Runs the binary against this server.
    pub(crate) async fn tombolo(&self, arguments: &[&str]) -> Ran {
        Ran(self.command(arguments).output().await.unwrap())
    }

    /// The binary, ready to run against this server.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo"));
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .kill_on_drop(true);
        command
    }

    /// An invitation from this broker.
    pub(crate) async fn invite(&self, id: &str) -> String {
        self.tombolo(&["broker", "invite", id]).await.ok().trim().to_owned()
    }

    pub(crate) async fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let found = self.api(api_version, kind, namespace).get_opt(name).await.unwrap();
        found.map(|object| serde_json::to_value(object).unwrap())
    }

    pub(crate) async fn apply(&self, object: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let namespace = text(&object["metadata"]["namespace"]);
        let api = self.api(&text(&object["apiVersion"]), &text(&object["kind"]), &namespace);
        let params = PatchParams::apply("test").force();
        let name = text(&object["metadata"]["name"]);
        api.patch(&name, &params, &Patch::Apply(object)).await.unwrap();
    }

    /// Writes a status, as an agent would.
    pub(crate) async fn report(&self, api_version: &str, kind: &str, namespace: &str, name: &str, status: &Value) {
        let patch = json!({ "status": status });
        self.api(api_version, kind, namespace)
            .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
    }

    /// Waits until there is such an object.
    pub(crate) async fn await_object(&self, api_version: &str, kind: &str, namespace: &str, name: &str) {
        let there = async {
            // The kind itself may not be there yet, which is an answer too.
            while !matches!(self.api(api_version, kind, namespace).get_opt(name).await, Ok(Some(_))) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), there).await;
        assert!(waited.is_ok(), "waited 30 s for {kind} {namespace}/{name}");
    }

    /// Waits until objects of this kind, whose definition was applied, are served.
    pub(crate) async fn await_kind(&self, api_version: &str, kind: &str) {
        let served = async {
            while self
                .api(api_version, kind, "")
                .list(&ListParams::default())
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), served).await;
        assert!(waited.is_ok(), "waited 30 s for the kind {kind}");
    }

    fn api(&self, api_version: &str, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let types = kube::core::TypeMeta {
            api_version: api_version.to_owned(),
            kind: kind.to_owned(),
        };
        let resource = kube::core::ApiResource::from_gvk(&(&types).try_into().unwrap());
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }
}

/// What a run of the binary came to.
pub(crate) struct Ran(Output);

impl Ran {
    pub(crate) fn from_output(output: Output) -> Self {
        Self(output)
    }

    /// Its standard output; it must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert!(self.0.status.success(), "it failed: {}", self.errors());
        String::from_utf8(self.0.stdout).unwrap()
    }

    /// Its standard error; it must have failed with this exit code, and name all of this.
    pub(crate) fn fails(self, code: i32, naming: &[&str]) -> String {
        let errors = self.errors();
        assert_eq!(self.0.status.code(), Some(code), "{errors}");
        for text in naming {
            assert!(errors.contains(text), "\"{text}\" is not in: {errors}");
        }
        errors
    }

    pub(crate) fn errors(&self) -> String {
        String::from_utf8_lossy(&self.0.stderr).into_owned()
    }
}

fn admin_kubeconfig(url: &str, ca: &str) -> String {
    use base64::Engine as _;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": url, "certificate-authority-data": ca } }],
        "users": [{ "name": "admin", "user": { "token": "admin" } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" } }],
    })
    .to_string()
}

pub(crate) const COREFILE: &str = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n    reload\n}\n";

//! The process that is killed.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use apiserver::{ApiServer, Config, ServerTls};
use kube::{
    Client,
    config::{KubeConfigOptions, Kubeconfig},
};

const DIR: &str = "TOMBOLO_KILL_TEST_DIR";

/// Not a test: what [`Process::start`] runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the server of the kill test; it is started by that test"]
async fn the_server() {
    let dir = PathBuf::from(env::var(DIR).expect("only the kill test starts this"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ServerTls::load_or_create(&dir.join("tls"), &["localhost".into()], &[address.ip()]).unwrap();
    let server = ApiServer::open(Config {
        data_dir: Some(dir.join("data")),
        admin_token: "admin".into(),
        ..Config::default()
    })
    .unwrap();
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster":
            {"server": format!("https://{address}"), "certificate-authority": dir.join("tls/ca.crt")}}],
        "users": [{"name": "u", "user": {"token": "admin"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    });
    // It appears whole, and last: whoever sees it may connect.
    fs::write(dir.join("kubeconfig.new"), kubeconfig.to_string()).unwrap();
    fs::rename(dir.join("kubeconfig.new"), dir.join("kubeconfig")).unwrap();
    server.serve_tls(listener, tls, std::future::pending()).await.unwrap();
}

/// A running server; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    kubeconfig: PathBuf,
}

impl Process {
    pub(crate) async fn start(dir: &Path) -> Self {
        let kubeconfig = dir.join("kubeconfig");
        let _none_yet = fs::remove_file(&kubeconfig);
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "server::the_server", "--ignored", "--nocapture"])
            .env(DIR, dir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Self { child, kubeconfig };
        let ready = async {
            while !process.kubeconfig.exists() {
                let ended = process.child.try_wait().unwrap();
                assert!(ended.is_none(), "the server does not start: {ended:?}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ready = tokio::time::timeout(Duration::from_secs(60), ready).await;
        ready.expect("waited too long for the server to start");
        process
    }

    pub(crate) async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).unwrap();
        let options = KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await;
        Client::try_from(config.unwrap()).unwrap()
    }

    /// SIGKILL: no code of the process runs any more.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

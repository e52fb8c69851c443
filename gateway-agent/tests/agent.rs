//! The agent as a process, in a network namespace of its own, against an embedded API server in the same namespace.
//!
//! Needs root. Without it the test prints why it skips; `TOMBOLO_TEST_NO_SKIP=1` makes that a failure.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use apiserver::{ApiServer, ServerTls};
use hostnet_linux::NetNs;
use k8s_api::condition::{MALFORMED_OBJECTS, READY, is_true};
use k8s_api::{Cluster, Gateway};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::sync::oneshot;

struct Site {
    netns: NetNs,
    state: tempfile::TempDir,
    client: Client,
    kubeconfig: PathBuf,
}

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.netns.delete();
    }
}

impl Site {
    /// A node's namespace with an API server in it, which ends when the sender is dropped.
    fn new() -> (Self, oneshot::Sender<()>) {
        let netns = NetNs::create(&format!("tga-{}", std::process::id())).unwrap();
        let up = Command::new("ip")
            .args(["-n", netns.name(), "link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        let state = tempfile::tempdir().unwrap();
        let local: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let listener = netns.run(|| TcpListener::bind(local)).unwrap().unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let tls = ServerTls::load_or_create(state.path(), &[], &[address.ip()]).unwrap();
        let kubeconfig = state.path().join("kubeconfig");
        std::fs::write(state.path().join("ca.pem"), tls.ca_pem()).unwrap();
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{ "name": "c", "cluster": {
                "server": format!("https://{address}"),
                "certificate-authority": state.path().join("ca.pem"),
            } }],
            "users": [{ "name": "c", "user": { "token": "admin" } }],
            "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
        });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let crds = k8s_api::crds::member().into_iter().chain(k8s_api::crds::mcs());
        let server = ApiServer::open(apiserver::Config {
            admin_token: "admin".into(),
            crds: crds.map(|crd| serde_json::to_value(crd).unwrap()).collect(),
            ..apiserver::Config::default()
        })
        .unwrap();
        let client = Client::new(server.admin_router(), "default");
        let (keep, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let ended = async { drop(ended.await) };
            server.serve_tls(listener, tls, ended).await.unwrap();
        });
        let site = Self {
            netns,
            state,
            client,
            kubeconfig,
        };
        (site, keep)
    }

    async fn join(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let namespace = serde_json::from_value(json!({ "metadata": { "name": "tombolo-system" } })).unwrap();
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        let nodes: Api<Node> = Api::all(self.client.clone());
        let metadata = json!({ "name": "gw1", "labels": { "tombolo.dev/gateway": "true" } });
        let node = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        nodes.create(&PostParams::default(), &node).await.unwrap();
        let status = json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }] } });
        let params = PatchParams::default();
        nodes.patch_status("gw1", &params, &Patch::Merge(status)).await.unwrap();
        self.cluster("east", json!({}), "10.1.0.0/16").await;
    }

    async fn cluster(&self, id: &str, labels: Value, pods: &str) {
        let object = json!({
            "apiVersion": Cluster::api_version(&()), "kind": "Cluster",
            "metadata": { "name": id, "labels": labels },
            "spec": { "clusterId": id, "podPrefixes": [pods], "protocol": { "min": 1, "max": 1 } },
        });
        let api: Api<Cluster> = Api::namespaced(self.client.clone(), "tombolo-system");
        let params = PatchParams::apply("test");
        api.patch(id, &params, &Patch::Apply(object)).await.unwrap();
    }

    fn start(&self) -> Agent {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.netns.name()]);
        command
            .arg(env!("CARGO_BIN_EXE_tombolo-gateway-agent"))
            .args(["--node", "gw1"]);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        command.arg("--state-dir").arg(self.state.path());
        Agent(command.spawn().unwrap())
    }

    /// `GET /readyz?verbose` of the agent; empty while nobody listens.
    fn readyz(&self) -> String {
        let ask = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, model::names::GATEWAY_ADMIN_PORT))?;
            stream.write_all(b"GET /readyz?verbose HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        self.netns.run(ask).unwrap().unwrap_or_default()
    }
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_publishes_itself_hands_over_and_starts_again_without_an_api_server() {
    if !nix::unistd::Uid::effective().is_root() {
        let must_run = std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_some_and(|value| value == "1");
        assert!(!must_run, "this test needs root");
        println!("skipped: needs root for a network namespace and a TUN device");
        return;
    }
    let (site, api_server) = Site::new();
    let agent = site.start();
    until("an agent that waits for join", async || {
        site.readyz().contains("tombolo join").then_some(())
    })
    .await;

    site.join().await;
    let gateways: Api<Gateway> = Api::namespaced(site.client.clone(), "tombolo-system");
    let of_status = async |what: &str, holds: &dyn Fn(&Gateway) -> bool| {
        until(what, async || {
            gateways
                .get_opt("east.gw1")
                .await
                .unwrap()
                .filter(|gateway| holds(gateway))
        })
        .await
    };
    let is = |gateway: &Gateway, kind: &str| {
        gateway
            .status
            .as_ref()
            .is_some_and(|status| is_true(&status.conditions, kind))
    };
    let gateway = of_status("an active, ready gateway", &|gateway| {
        gateway.spec.active && is(gateway, READY)
    })
    .await;
    assert_eq!(
        (gateway.spec.epoch, gateway.spec.addresses[0].ip.as_str()),
        (1, "127.0.0.1")
    );
    assert_eq!(gateway.status.as_ref().unwrap().connected, "0/0");

    // A member that claims nonsense is named, and nothing else suffers.
    let mirror = json!({ "app.kubernetes.io/managed-by": "tombolo" });
    site.cluster("west", mirror, "10.2.0.1/16").await;
    let gateway = of_status("a named malformed object", &|gateway| is(gateway, MALFORMED_OBJECTS)).await;
    let status = gateway.status.unwrap();
    let named = status
        .conditions
        .iter()
        .any(|condition| condition.message.contains("10.2.0.1/16"));
    assert!(named, "{:?}", status.conditions);

    // Asked to end, it gives its leases back and leaves the device.
    let pid = i32::try_from(agent.0.id()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
    let mut agent = agent;
    until("the end of the agent", async || agent.0.try_wait().unwrap()).await;
    let leases: Api<Lease> = Api::namespaced(site.client.clone(), "tombolo-system");
    for name in [model::names::GATEWAY_LEASE, model::names::SYNC_LEASE] {
        let holder = leases.get(name).await.unwrap().spec.unwrap().holder_identity;
        assert_eq!(holder.unwrap_or_default(), "", "{name}");
    }
    let has_link = site
        .netns
        .run(|| nix::net::if_::if_nametoindex(model::names::TUN_LINK).is_ok());
    assert!(has_link.unwrap(), "the device stays");

    // Without an API server it is ready all the same, and says what it goes by.
    drop(api_server);
    let _agent = site.start();
    until("readiness from the saved snapshot", async || {
        let text = site.readyz();
        (text.starts_with("HTTP/1.1 200") && text.contains("connection refused")).then_some(())
    })
    .await;
}

//! Clusterset IPs, end to end, in a lab of two clusters: one service that both export, asked for by name from a pod.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const NAME: &str = "mcse2e";
const CART: &str = "cart.shop.svc.clusterset.local";
const CLIENT: &str = "west/default/client";
/// Long enough for the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_clusterset_ip_leads_to_local_pods_then_to_others_and_goes_with_the_export() {
    if !nix::unistd::geteuid().is_root() {
        let must_run = std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_some_and(|value| value == "1");
        assert!(!must_run, "the lab needs root");
        eprintln!("skipped: the lab needs root");
        return;
    }
    let lab = Lab::up();
    let tokens = ["east", "west"].map(|cluster| lab.broker(&["invite", cluster]).trim().to_owned());
    for (cluster, token) in ["east", "west"].into_iter().zip(&tokens) {
        lab.tombolo(cluster, &["join", token]);
    }
    lab.apply("east", &shop(2));
    lab.apply("west", &format!("{}{CLIENT_POD}", shop(2)));
    lab.tombolo("east", &["export", "service", "-n", "shop", "cart"]);

    // Only east exports: its pods answer, although west has some of the same name.
    let ip = wait("the name to have the import's IP", || {
        let ip = lab.import("west")?["spec"]["ips"][0].as_str()?.to_owned();
        (lab.resolve() == [ip.as_str()]).then_some(ip)
    });
    assert!(ip.starts_with("244.174."), "{ip}");
    let of_east = lab.pods_of("east");
    wait("both of east's pods to answer, each connection on its own", || {
        (lab.ask(20)? == of_east).then_some(())
    });

    // West exports too: its own pods come first, and the IP stays.
    lab.tombolo("west", &["export", "service", "-n", "shop", "cart"]);
    let of_west = lab.pods_of("west");
    wait("only west's own pods to answer", || {
        (lab.ask(20)? == of_west).then_some(())
    });
    wait("the import to have both clusters", || {
        let clusters = lab.import("west")?["status"]["clusters"].clone();
        (clusters == json!([{ "cluster": "east" }, { "cluster": "west" }])).then_some(())
    });
    assert_eq!(lab.import("west").unwrap()["spec"]["ips"], json!([ip]));

    // West has no pod left: east's take over, under the same address.
    lab.scale("west", 0);
    wait("east's pods to take over", || (lab.ask(20)? == of_east).then_some(()));
    assert_eq!(lab.resolve(), [ip.as_str()]);

    // Nobody has one: the address stays, and a connect is refused.
    lab.scale("east", 0);
    wait("connects to be refused", || {
        let (_, errors) = lab.try_ask(1);
        errors.iter().any(|error| error.contains("refused")).then_some(())
    });
    assert_eq!(lab.resolve(), [ip.as_str()]);

    // Nobody exports it: import, slices and name go.
    for cluster in ["east", "west"] {
        lab.kubectl(cluster, &["delete", "serviceexport", "-n", "shop", "cart"]);
    }
    wait("the import and its slices to go", || {
        let slices = lab.kubectl("west", &["get", "endpointslices", "-n", "shop", "-o", "name"]);
        (lab.import("west").is_none() && !slices.contains("cart.east")).then_some(())
    });
    wait("the name to go", || lab.resolve().is_empty().then_some(()));
}

/// The service and its pods.
fn shop(replicas: u32) -> String {
    format!(
        "
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: cart, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: cart}}}}
  template:
    metadata: {{labels: {{app: cart}}}}
    spec:
      containers:
        - name: echo
          image: lab/echo
          ports: [{{containerPort: 8080}}]
          env: [{{name: POD_NAME, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
          readinessProbe: {{httpGet: {{path: /ready, port: 8081}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: cart, namespace: shop}}
spec:
  selector: {{app: cart}}
  ports: [{{name: tcp, port: 80, targetPort: 8080}}]
"
    )
}

const CLIENT_POD: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: default}
spec:
  nodeName: west-w1
  containers: [{name: pause, image: lab/pause}]
";

/// A lab that goes with its test.
struct Lab {
    tombolo: PathBuf,
}

impl Lab {
    /// Two clusters and a broker.
    fn up() -> Self {
        let lab = Self {
            tombolo: binaries().join("tombolo"),
        };
        // What an interrupted run left behind.
        lab.run(&["lab", "down", "--name", NAME]);
        check(lab.run(&["lab", "up", "--name", NAME, "--seed", "7"]));
        let status: Value = read(&lab.lab("status", &["-o", "json"]));
        let address = status["broker"]["addresses"][0].as_str().unwrap();
        let listen = format!("{}:6443", address.split('/').next().unwrap());
        let (program, data) = (lab.tombolo.to_str().unwrap(), broker_data());
        let serve = [program, "broker", "serve", "--data-dir", &data, "--listen", &listen];
        lab.lab("start", &[&["broker", "--"], &serve[..]].concat());
        wait("the broker to answer", || {
            lab.try_broker(&["status"]).status.success().then_some(())
        });
        lab
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.tombolo).args(arguments).output().unwrap()
    }

    fn lab(&self, verb: &str, arguments: &[&str]) -> String {
        check(self.run(&[&["lab", verb, "--name", NAME], arguments].concat()))
    }

    fn exec(&self, target: &str, program: &[&str]) -> Output {
        self.run(&[&["lab", "exec", "--name", NAME, target, "--"], program].concat())
    }

    fn tombolo(&self, cluster: &str, arguments: &[&str]) -> String {
        check(self.exec(cluster, &[&[self.tombolo.to_str().unwrap()], arguments].concat()))
    }

    fn kubectl(&self, cluster: &str, arguments: &[&str]) -> String {
        check(self.exec(cluster, &[&["kubectl"], arguments].concat()))
    }

    fn try_broker(&self, arguments: &[&str]) -> Output {
        let kubeconfig = format!("{}/admin.kubeconfig", broker_data());
        let program = self.tombolo.to_str().unwrap();
        self.exec(
            "broker",
            &[&[program, "broker"], arguments, &["--kubeconfig", &kubeconfig]].concat(),
        )
    }

    fn broker(&self, arguments: &[&str]) -> String {
        check(self.try_broker(arguments))
    }

    /// Applies manifests, and waits for the pods.
    fn apply(&self, cluster: &str, manifests: &str) {
        let mut child = Command::new(&self.tombolo)
            .args(["lab", "apply", "--name", NAME, cluster, "--wait", "60"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
        check(child.wait_with_output().unwrap());
    }

    fn scale(&self, cluster: &str, replicas: u32) {
        self.apply(cluster, &shop(replicas));
    }

    /// The import; none where there is none.
    fn import(&self, cluster: &str) -> Option<Value> {
        let output = self.exec(
            cluster,
            &["kubectl", "get", "serviceimport", "-n", "shop", "cart", "-o", "json"],
        );
        output
            .status
            .success()
            .then(|| read(&String::from_utf8(output.stdout).unwrap()))
    }

    /// Names of the service's pods.
    fn pods_of(&self, cluster: &str) -> BTreeSet<String> {
        let pods = self.kubectl(cluster, &["get", "pods", "-n", "shop", "-o", "name"]);
        pods.lines()
            .map(|line| line.trim_start_matches("pod/").to_owned())
            .collect()
    }

    /// IPv4 addresses of the name, as the client's resolver has them.
    fn resolve(&self) -> Vec<String> {
        let tries = self.fetch(&["--resolve-only"]);
        let addresses = tries[0]["resolved"].as_array().unwrap().iter();
        addresses.map(|address| address.as_str().unwrap().to_owned()).collect()
    }

    /// Who answered; none unless every try succeeded, with the client's own address as source.
    fn ask(&self, count: u32) -> Option<BTreeSet<String>> {
        let (pods, errors) = self.try_ask(count);
        errors.is_empty().then_some(pods)
    }

    fn try_ask(&self, count: u32) -> (BTreeSet<String>, Vec<String>) {
        let tries = self.fetch(&["--port", "80", "--source", "--count", &count.to_string()]);
        let text = |attempt: &Value, field: &str| attempt[field].as_str().unwrap_or_default().to_owned();
        let (good, bad): (Vec<_>, Vec<_>) = tries.into_iter().partition(|attempt| attempt["ok"] == true);
        (
            good.iter().map(|attempt| text(attempt, "server_pod")).collect(),
            bad.iter().map(|attempt| text(attempt, "error")).collect(),
        )
    }

    fn fetch(&self, arguments: &[&str]) -> Vec<Value> {
        let fetch = ["tombolo", "lab", "fetch", "--host", CART, "-o", "json"];
        let output = self.exec(CLIENT, &[&fetch, arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(read).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}",
                String::from_utf8_lossy(&self.run(&["lab", "status", "--name", NAME]).stdout)
            );
        }
        self.run(&["lab", "down", "--name", NAME]);
    }
}

fn broker_data() -> String {
    format!("/run/tombolo-lab/{NAME}/broker")
}

/// What a program printed; panics with all of it where it failed.
fn check(output: Output) -> String {
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Where cargo put the programs: beside the folder of this test.
fn binaries() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let binaries = test
        .parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps/<test>");
    assert!(
        binaries.join("tombolo").exists(),
        "build the programs first: cargo build --workspace --bins"
    );
    binaries.to_owned()
}

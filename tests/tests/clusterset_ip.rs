//! Clusterset IPs, end to end, in a lab of two clusters: one service that both export, asked for by name from a pod.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};
use tests::{Lab, read, wait};

const CART: &str = "cart.shop.svc.clusterset.local";
const CLIENT: &str = "west/default/client";

#[test]
fn a_clusterset_ip_leads_to_local_pods_then_to_others_and_goes_with_the_export() {
    if tests::must_skip() {
        return;
    }
    let clusters = Clusters(Lab::up("mcse2e"));
    let lab = &clusters.0;
    let tokens = ["east", "west"].map(|cluster| lab.broker(&["invite", cluster]).trim().to_owned());
    for (cluster, token) in ["east", "west"].into_iter().zip(&tokens) {
        lab.tombolo(cluster, &["join", token]);
    }
    lab.apply("east", &shop(2));
    lab.apply("west", &format!("{}{CLIENT_POD}", shop(2)));
    lab.tombolo("east", &["export", "service", "-n", "shop", "cart"]);

    // Only east exports: its pods answer, although west has some of the same name.
    let ip = wait("the name to have the import's IP", || {
        let ip = clusters.import("west")?["spec"]["ips"][0].as_str()?.to_owned();
        (clusters.resolve() == [ip.as_str()]).then_some(ip)
    });
    assert!(ip.starts_with("244.174."), "{ip}");
    let of_east = clusters.pods_of("east");
    wait("both of east's pods to answer, each connection on its own", || {
        (clusters.ask(20)? == of_east).then_some(())
    });

    // West exports too: its own pods come first, and the IP stays.
    lab.tombolo("west", &["export", "service", "-n", "shop", "cart"]);
    let of_west = clusters.pods_of("west");
    wait("only west's own pods to answer", || {
        (clusters.ask(20)? == of_west).then_some(())
    });
    wait("the import to have both clusters", || {
        let clusters = clusters.import("west")?["status"]["clusters"].clone();
        (clusters == json!([{ "cluster": "east" }, { "cluster": "west" }])).then_some(())
    });
    assert_eq!(clusters.import("west").unwrap()["spec"]["ips"], json!([ip]));

    // West has no pod left: east's take over, under the same address. That holds for a UDP client that keeps its socket, too.
    let mut udp = UdpClient::start(lab, &ip);
    wait("west's pods to answer the UDP client", || {
        of_west.contains(&udp.next_answer()?).then_some(())
    });
    clusters.scale("west", 0);
    wait("east's pods to answer the same client", || {
        of_east.contains(&udp.next_answer()?).then_some(())
    });
    wait("east's pods to take over", || {
        (clusters.ask(20)? == of_east).then_some(())
    });
    assert_eq!(clusters.resolve(), [ip.as_str()]);

    // Nobody has one: the address stays, and a connect is refused.
    clusters.scale("east", 0);
    wait("connects to be refused", || {
        let (_, errors) = clusters.try_ask(1);
        errors.iter().any(|error| error.contains("refused")).then_some(())
    });
    assert_eq!(clusters.resolve(), [ip.as_str()]);

    // Nobody exports it: import, slices and name go.
    for cluster in ["east", "west"] {
        lab.kubectl(cluster, &["delete", "serviceexport", "-n", "shop", "cart"]);
    }
    wait("the import and its slices to go", || {
        let slices = lab.kubectl("west", &["get", "endpointslices", "-n", "shop", "-o", "name"]);
        (clusters.import("west").is_none() && !slices.contains("cart.east")).then_some(())
    });
    wait("the name to go", || clusters.resolve().is_empty().then_some(()));
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
  ports:
    - {{name: tcp, port: 80, targetPort: 8080}}
    - {{name: udp, protocol: UDP, port: 80, targetPort: 8080}}
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

/// Asks ten times a second on one socket, and says which pod answered.
struct UdpClient {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl UdpClient {
    fn start(lab: &Lab, ip: &str) -> Self {
        let script = format!(
            "exec 3<>/dev/udp/{ip}/80; for i in $(seq 600); do echo q >&3; timeout 1 head -n 1 <&3 || echo; sleep 0.1; done"
        );
        let mut command = lab.command(CLIENT, &["bash", "-c", &script]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, answers }
    }

    /// The pod, if one has answered.
    fn next_answer(&mut self) -> Option<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let pod = line.strip_prefix("pod=")?.split(' ').next()?;
        Some(pod.to_owned())
    }
}

impl Drop for UdpClient {
    fn drop(&mut self) {
        // The lab, which goes with the test, ends what the client started.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the test asks of its lab.
struct Clusters(Lab);

impl Clusters {
    fn scale(&self, cluster: &str, replicas: u32) {
        self.0.apply(cluster, &shop(replicas));
    }

    /// The import; none where there is none.
    fn import(&self, cluster: &str) -> Option<Value> {
        let output = self.0.try_exec(
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
        let pods = self.0.kubectl(cluster, &["get", "pods", "-n", "shop", "-o", "name"]);
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
        let output = self.0.try_exec(CLIENT, &[&fetch, arguments].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(read).collect()
    }
}

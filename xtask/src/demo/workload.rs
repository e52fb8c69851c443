//! What the demo deploys, and what its clients see.

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::lab::Lab;

/// A shop with two services: `cart` anywhere, `till` on the worker. Both answer on TCP and UDP with their pod's name and the
/// client's address.
pub(crate) fn shop(worker: &str) -> String {
    let service = |name: &str, replicas: u32, selector: &str| {
        format!(
            r#"---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: shop}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      {selector}
      containers:
        - name: echo
          image: lab/echo
          ports: [{{containerPort: 8080, protocol: TCP}}, {{containerPort: 8080, protocol: UDP}}]
          env:
            - name: POD_NAME
              valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}
          readinessProbe: {{httpGet: {{path: /ready, port: 8081}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {{app: {name}}}
  ports:
    - {{name: tcp, port: 80, targetPort: 8080, protocol: TCP}}
    - {{name: udp, port: 80, targetPort: 8080, protocol: UDP}}
"#
        )
    };
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let on_worker = format!("nodeSelector: {{kubernetes.io/hostname: {worker}}}");
    format!(
        "{namespace}{}{}",
        service("cart", 2, "{}").replace("      {}\n", ""),
        service("till", 1, &on_worker)
    )
}

/// A pod that does nothing, on one node, to run clients in.
pub(crate) fn client(name: &str, node: &str) -> String {
    format!(
        r#"---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default}}
spec:
  nodeName: {node}
  containers: [{{name: pause, image: lab/pause}}]
"#
    )
}

/// One try of a client.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Try {
    ok: bool,
    pub(crate) server_pod: Option<String>,
    resolved: Vec<String>,
    error: Option<String>,
}

/// What a client is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetch<'a> {
    pub(crate) protocol: &'a str,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) count: u32,
    pub(crate) bytes: u32,
}

/// Runs a client in a pod; every try must succeed, and the server must see the client pod's own address.
pub(crate) fn fetch(lab: &Lab, pod: &str, fetch: Fetch<'_>) -> anyhow::Result<Vec<Try>> {
    let (port, count, bytes) = (fetch.port.to_string(), fetch.count.to_string(), fetch.bytes.to_string());
    let ask = [
        "--proto",
        fetch.protocol,
        "--host",
        fetch.host,
        "--port",
        &port,
        "--count",
        &count,
        "--bytes",
        &bytes,
    ];
    let tries = run_client(lab, pod, &[&ask[..], &["--source"]].concat())?;
    match tries.iter().find(|attempt| !attempt.ok) {
        Some(failed) => {
            let why = failed.error.as_deref().unwrap_or("failed");
            bail!("{} {}:{}: {why}", fetch.protocol, fetch.host, fetch.port)
        }
        None => Ok(tries),
    }
}

/// Whether a datagram to a server is answered soon.
pub(crate) fn answers_soon(lab: &Lab, pod: &str, address: &str) -> anyhow::Result<()> {
    let ask = [
        "--proto",
        "udp",
        "--host",
        address,
        "--port",
        "8080",
        "--timeout",
        "0.2",
    ];
    let tries = run_client(lab, pod, &ask)?;
    ensure!(tries.iter().all(|attempt| attempt.ok), "no answer from {address}");
    Ok(())
}

/// Why a TCP connection fails; none, if it does not.
pub(crate) fn connect_error(lab: &Lab, pod: &str, address: &str) -> anyhow::Result<Option<String>> {
    let tries = run_client(lab, pod, &["--host", address, "--port", "8080", "--timeout", "1"])?;
    Ok(tries.into_iter().find_map(|attempt| attempt.error))
}

/// The addresses of a name, as a pod's resolver has them.
pub(crate) fn resolve(lab: &Lab, pod: &str, name: &str) -> anyhow::Result<Vec<String>> {
    let tries = run_client(lab, pod, &["--host", name, "--resolve-only"])?;
    let resolved = tries
        .into_iter()
        .next()
        .filter(|attempt| attempt.ok)
        .map(|attempt| attempt.resolved);
    resolved
        .filter(|addresses| !addresses.is_empty())
        .with_context(|| format!("{name} does not resolve"))
}

fn run_client(lab: &Lab, pod: &str, arguments: &[&str]) -> anyhow::Result<Vec<Try>> {
    let output = lab.try_exec(
        pod,
        &[&["tombolo", "lab", "fetch"], arguments, &["-o", "json"]].concat(),
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tries: Vec<Try> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("the client printed {line:?}")))
        .collect::<Result<_, _>>()?;
    ensure!(
        !tries.is_empty(),
        "the client printed nothing: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(tries)
}

//! The lab, by the commands that a person would type.

use std::borrow::Cow;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::steps::PATIENCE;

/// A pod that was started.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) addresses: Vec<String>,
}

/// One lab.
pub(crate) struct Lab {
    tombolo: PathBuf,
    name: String,
    /// Kubeconfigs of API servers that are not the lab's.
    servers: Option<PathBuf>,
}

impl Lab {
    pub(crate) fn new(binaries: &Path, name: &str, servers: Option<&Path>) -> anyhow::Result<Self> {
        let tombolo = binaries
            .join("tombolo")
            .canonicalize()
            .with_context(|| format!("no program tombolo in {}", binaries.display()))?;
        Ok(Self {
            tombolo,
            name: name.to_owned(),
            servers: servers.map(Path::to_owned),
        })
    }

    /// The path of `tombolo` on this machine, which nodes see too.
    pub(crate) fn program(&self) -> Cow<'_, str> {
        self.tombolo.to_string_lossy()
    }

    pub(crate) fn up(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let servers = self
            .servers
            .as_ref()
            .map(|folder| format!("--kubeconfig-dir={}", folder.display()));
        let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
        self.lab("up", &[arguments, &servers].concat())?;
        Ok(())
    }

    pub(crate) fn down(&self) -> anyhow::Result<()> {
        self.lab("down", &[])?;
        Ok(())
    }

    /// `tombolo lab VERB --name … ARGUMENTS`
    pub(crate) fn lab(&self, verb: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(&self.tombolo);
        command.args(["lab", verb, "--name", &self.name]).args(arguments);
        checked(&mut command)
    }

    /// Runs a program on a host, node or pod of the lab.
    pub(crate) fn exec(&self, target: &str, program: &[&str]) -> anyhow::Result<String> {
        checked(&mut self.command(target, program))
    }

    /// The same, whatever the exit code.
    pub(crate) fn try_exec(&self, target: &str, program: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.command(target, program);
        command.output().with_context(|| format!("cannot run {command:?}"))
    }

    /// `tombolo ARGUMENTS` with the administrator's rights in a cluster.
    pub(crate) fn tombolo(&self, target: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let tombolo = self.tombolo.to_string_lossy();
        self.exec(target, &[&[tombolo.as_ref()], arguments].concat())
    }

    pub(crate) fn try_tombolo(&self, target: &str, arguments: &[&str]) -> anyhow::Result<Output> {
        let tombolo = self.tombolo.to_string_lossy();
        self.try_exec(target, &[&[tombolo.as_ref()], arguments].concat())
    }

    /// Output of `tombolo … -o json`.
    pub(crate) fn json<T: DeserializeOwned>(&self, target: &str, arguments: &[&str]) -> anyhow::Result<T> {
        let output = self.try_tombolo(target, &[arguments, &["-o", "json"]].concat())?;
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str(&text).with_context(|| {
            format!(
                "{arguments:?} printed {text:?} and {:?}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
    }

    /// Applies manifests to a cluster, and waits for the pods.
    pub(crate) fn apply(&self, cluster: &str, manifests: &str) -> anyhow::Result<Vec<Pod>> {
        let mut command = Command::new(&self.tombolo);
        command.args(["lab", "apply", "--name", &self.name, cluster, "--wait", "60", "--json"]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        child
            .stdin
            .take()
            .expect("stdin is piped")
            .write_all(manifests.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        serde_json::from_slice(&output.stdout).context("lab apply prints pods as JSON")
    }

    /// Starts the embedded broker on a host of its own, or makes a broker of the API server that is there.
    pub(crate) fn start_broker(&self) -> anyhow::Result<String> {
        if self.servers.is_some() {
            self.lab("start", &["broker"])?;
            // What leads there from the lab may still be starting.
            eventually("the broker to be installed", PATIENCE, || self.broker(&["install"]))?;
            return Ok("an API server that was there".to_owned());
        }
        let status: Value =
            serde_json::from_str(&self.lab("status", &["-o", "json"])?).context("lab status prints JSON")?;
        let address = status["broker"]["addresses"][0]
            .as_str()
            .and_then(|address| address.split('/').next());
        let address: IpAddr = address.context("the broker's host has an address")?.parse()?;
        let listen = SocketAddr::new(address, 6443).to_string();
        let (tombolo, data) = (self.tombolo.to_string_lossy(), self.broker_data());
        self.lab(
            "start",
            &[
                "broker",
                "--",
                &tombolo,
                "broker",
                "serve",
                "--data-dir",
                &data,
                "--listen",
                &listen,
            ],
        )?;
        Ok(listen)
    }

    /// `tombolo broker VERB …` as the broker's administrator.
    pub(crate) fn broker(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let kubeconfig = match self.servers {
            Some(_) => self.kubeconfig("broker"),
            None => format!("{}/admin.kubeconfig", self.broker_data()),
        };
        self.tombolo(
            "broker",
            &[&["broker"], arguments, &["--kubeconfig", &kubeconfig]].concat(),
        )
    }

    /// An administrator's kubeconfig of a cluster.
    pub(crate) fn kubeconfig(&self, cluster: &str) -> String {
        format!("/run/tombolo-lab/{}/kubeconfigs/{cluster}.yaml", self.name)
    }

    fn broker_data(&self) -> String {
        format!("/run/tombolo-lab/{}/broker", self.name)
    }

    pub(crate) fn log_hint(&self) -> String {
        format!("tombolo lab logs --name {} TARGET", self.name)
    }

    pub(crate) fn print_hints(&self) {
        let (tombolo, name) = (self.tombolo.display(), &self.name);
        println!(
            "
The lab is up. Try:
  {tombolo} lab exec --name {name} west -- {tombolo} show gateways
  {tombolo} lab exec --name {name} west -- {tombolo} show services
  {tombolo} lab exec --name {name} west/default/client-worker -- tombolo lab fetch --host cart.shop.svc.clusterset.local --port 80 --source
  {tombolo} lab exec --name {name} west -- kubectl get serviceimports -A
  {tombolo} lab cut --name {name} east/gw1      and watch what show gateways says
  {tombolo} lab down --name {name}"
        );
    }

    /// A program on a host, node or pod of the lab, not started yet.
    pub(crate) fn command(&self, target: &str, program: &[&str]) -> Command {
        let mut command = Command::new(&self.tombolo);
        command
            .args(["lab", "exec", "--name", &self.name, target, "--"])
            .args(program);
        command
    }
}

/// Tries again until it holds; then the last failure is the error.
pub(crate) fn eventually<T>(
    what: &str,
    limit: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("waited {} s for {what}", limit.as_secs())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn checked(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr]
            .map(|text| String::from_utf8_lossy(&text).trim().to_owned())
            .join(" ");
        bail!("{}: {}", output.status, said);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

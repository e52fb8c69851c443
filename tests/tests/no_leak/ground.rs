//! A lab with two joined clusters and traffic both ways; it is gone when this is.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::capture::Prefix;

pub(crate) struct Ground {
    name: String,
    binaries: PathBuf,
    traffic: Vec<Child>,
}

impl Ground {
    pub(crate) fn up(name: &str) -> Self {
        let test = std::env::current_exe().expect("a test has a path");
        let binaries = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
        assert!(
            binaries.join("tombolo").exists(),
            "build the programs first: cargo build --workspace --bins"
        );
        let ground = Self {
            name: name.to_owned(),
            binaries: binaries.to_owned(),
            traffic: Vec::new(),
        };
        let mut demo = Command::new(ground.binaries.join("xtask"));
        let options = [
            "demo",
            "--upto",
            "1",
            "--one-lab",
            "--keep",
            "--name",
            name,
            "--binaries",
        ];
        checked(demo.args(options).arg(&ground.binaries));
        ground
    }

    pub(crate) fn namespace(&self, host: &str) -> String {
        format!("tl-{}-{host}", self.name)
    }

    /// Pod and service prefixes of both clusters, and that of clusterset IPs.
    pub(crate) fn private_prefixes(&self) -> Vec<Prefix> {
        let status: Value = serde_json::from_str(&self.run(&["status", "-o", "json"])).expect("status is JSON");
        let clusters = status["clusters"].as_array().expect("clusters");
        let prefixes = clusters
            .iter()
            .flat_map(|cluster| [&cluster["podPrefixes"], &cluster["servicePrefixes"]])
            .flat_map(|prefixes| prefixes.as_array().expect("prefixes"))
            .map(|prefix| prefix.as_str().expect("a prefix").to_owned());
        prefixes
            .chain(["244.174.0.0/16".to_owned()])
            .map(|prefix| {
                let (network, length) = prefix.split_once('/').expect("an address and a length");
                (network.parse().expect("an address"), length.parse().expect("a length"))
            })
            .collect()
    }

    /// `tombolo lab VERB …`
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        checked(&mut self.command(arguments))
    }

    /// Runs a program of this machine in a place of the lab.
    pub(crate) fn exec(&self, target: &str, program: &[&str]) -> String {
        self.run(&[&["exec", target, "--"], program].concat())
    }

    /// `tombolo …` with an administrator's rights.
    pub(crate) fn tombolo(&self, target: &str, arguments: &[&str]) -> String {
        let tombolo = self.binaries.join("tombolo").display().to_string();
        self.exec(target, &[&[tombolo.as_str()], arguments].concat())
    }

    pub(crate) fn active_gateway(&self, cluster: &str) -> String {
        let said = self.tombolo(cluster, &["show", "gateways", "-o", "json"]);
        let report: Value = serde_json::from_str(&said).expect("show prints JSON");
        let rows = report["gateways"].as_array().expect("gateways");
        let active = rows.iter().find(|row| row["role"] == "active");
        let active = active.unwrap_or_else(|| panic!("{cluster} has no active gateway: {said}"));
        active["gateway"].as_str().expect("a name").to_owned()
    }

    /// Starts a pod on a node, and says its address.
    pub(crate) fn pod(&self, cluster: &str, name: &str, node: &str, image: &str) -> String {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default}}\nspec:\n  nodeName: {node}\n  \
             containers: [{{name: main, image: {image}}}]\n"
        );
        let mut apply = self.command(&["apply", cluster, "--wait", "60", "--json"]);
        let mut child = apply
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tombolo runs");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(manifest.as_bytes()).expect("apply reads");
        drop(stdin);
        let output = child.wait_with_output().expect("apply ends");
        let pods: Value = serde_json::from_slice(&output.stdout).expect("apply prints JSON");
        pods[0]["addresses"][0].as_str().expect("an address").to_owned()
    }

    /// Has a place send datagrams to a server, every few milliseconds, until the end.
    pub(crate) fn send(&mut self, from: &str, server: &str) {
        let (to, program) = (format!("{server}:8080"), self.program(from));
        let stream = [
            "exec",
            from,
            "--",
            &program,
            "lab",
            "stream",
            "--seconds",
            "3600",
            "--to",
            &to,
        ];
        let mut command = self.command(&stream);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.traffic.push(child.expect("tombolo runs"));
    }

    /// Tries to connect once; the error, if it fails.
    pub(crate) fn connect(&self, from: &str, server: &str) -> Result<(), String> {
        let program = self.program(from);
        let fetch = [
            "exec",
            from,
            "--",
            &program,
            "lab",
            "fetch",
            "--host",
            server,
            "--timeout",
            "3",
            "-o",
            "json",
        ];
        let output = self.command(&fetch).output().expect("tombolo runs");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
        match result["error"].as_str() {
            None => Ok(()),
            Some(error) => Err(error.to_owned()),
        }
    }

    /// What the lab's program is called there: pods have it on their path, nodes do not.
    fn program(&self, target: &str) -> String {
        match target.split('/').count() {
            3 => "tombolo".to_owned(),
            _ => self.binaries.join("tombolo").display().to_string(),
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let mut command = Command::new(self.binaries.join("tombolo"));
        command.args(["lab", verb, "--name", &self.name]).args(rest);
        command
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for child in &mut self.traffic {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A failed test has its own words already.
        let _ = self.command(&["down"]).output();
    }
}

/// Waits until it holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while let Err(why) = holds() {
        assert!(Instant::now() < deadline, "waited 90 s for {what}: {why}");
    }
}

fn checked(command: &mut Command) -> String {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

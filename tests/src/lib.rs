//! Tests that see the whole: they start the real programs on the lab. They live in `tests/tests`; this is what they share.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

mod workload;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for the slowest machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether a test that needs the lab has to be skipped, because this is not root or there is no kubectl.
///
/// # Panics
/// Where nothing may be skipped.
pub fn must_skip() -> bool {
    must_skip_without(&[])
}

/// The same for a test that needs more programs, each given with the Debian package that has it.
///
/// # Panics
/// Where nothing may be skipped.
pub fn must_skip_without(programs: &[(&str, &str)]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    let mut needed = [&[("kubectl", "kubernetes-client")], programs].concat().into_iter();
    let lacks = if !nix::unistd::geteuid().is_root() {
        "the lab needs root".to_owned()
    } else if let Some((program, package)) = needed.find(|(program, _)| !is_there(program)) {
        format!("{program} is not on PATH (Debian: {package})")
    } else {
        return false;
    };
    let must_run = std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_some_and(|value| value == "1");
    assert!(!must_run, "{lacks}");
    eprintln!("skipped: {lacks}");
    true
}

/// Where cargo put the programs: beside the folder of this test.
///
/// # Panics
/// When they are not built.
pub fn binaries() -> PathBuf {
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

/// A lab that goes with its test. What fails panics with all that was printed.
#[derive(Debug)]
pub struct Lab {
    name: &'static str,
    tombolo: PathBuf,
}

impl Lab {
    /// Two clusters, and a broker that serves; nobody has joined.
    pub fn up(name: &'static str) -> Self {
        let lab = Self::named(name);
        // What an interrupted run left behind.
        lab.run(&["lab", "down", "--name", name]);
        check(lab.run(&["lab", "up", "--name", name, "--seed", "7"]));
        let listen = format!("{}:6443", lab.broker_address());
        let (program, data) = (lab.program(), lab.broker_data());
        let serve = [program, "broker", "serve", "--data-dir", &data, "--listen", &listen];
        lab.lab("start", &[&["broker", "--"], &serve[..]].concat());
        wait("the broker to answer", || {
            lab.try_broker(&["status"]).status.success().then_some(())
        });
        lab
    }

    /// The first stage of the demo: east and west are joined, with servers in east and clients in west.
    pub fn joined(name: &'static str) -> Self {
        let lab = Self::named(name);
        let binaries = binaries();
        let mut demo = Command::new(binaries.join("xtask"));
        demo.args(["demo", "--upto", "1", "--one-lab", "--keep", "--name", name])
            .arg("--binaries")
            .arg(&binaries);
        check(demo.output().unwrap());
        lab
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.name
    }

    fn named(name: &'static str) -> Self {
        Self {
            name,
            tombolo: binaries().join("tombolo"),
        }
    }

    /// The path of `tombolo` on this machine, which nodes see too.
    pub fn program(&self) -> &str {
        self.tombolo.to_str().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(&self.tombolo).args(arguments).output().unwrap()
    }

    /// `tombolo lab VERB`
    pub fn lab(&self, verb: &str, arguments: &[&str]) -> String {
        check(self.run(&[&["lab", verb, "--name", self.name], arguments].concat()))
    }

    /// A program in a place of the lab, not started yet.
    pub fn command(&self, target: &str, program: &[&str]) -> Command {
        let mut command = Command::new(&self.tombolo);
        command.args([&["lab", "exec", "--name", self.name, target, "--"], program].concat());
        command
    }

    /// Runs a program in a place of the lab, whatever comes of it.
    pub fn try_exec(&self, target: &str, program: &[&str]) -> Output {
        self.command(target, program).output().unwrap()
    }

    /// Runs a program in a place of the lab.
    pub fn exec(&self, target: &str, program: &[&str]) -> String {
        check(self.try_exec(target, program))
    }

    /// `tombolo …` as the administrator of a cluster, whatever comes of it.
    pub fn try_tombolo(&self, cluster: &str, arguments: &[&str]) -> Output {
        self.tombolo_command(cluster, arguments).output().unwrap()
    }

    /// The same, not started yet.
    pub fn tombolo_command(&self, cluster: &str, arguments: &[&str]) -> Command {
        self.command(cluster, &[&[self.program()], arguments].concat())
    }

    /// `tombolo …` as the administrator of a cluster.
    pub fn tombolo(&self, cluster: &str, arguments: &[&str]) -> String {
        check(self.try_tombolo(cluster, arguments))
    }

    /// `kubectl …` as the administrator of a cluster.
    pub fn kubectl(&self, cluster: &str, arguments: &[&str]) -> String {
        self.exec(cluster, &[&["kubectl"], arguments].concat())
    }

    /// `tombolo broker …` as the broker's administrator, whatever comes of it.
    pub fn try_broker(&self, arguments: &[&str]) -> Output {
        let kubeconfig = format!("{}/admin.kubeconfig", self.broker_data());
        let broker = [&["broker"], arguments, &["--kubeconfig", &kubeconfig]].concat();
        self.try_tombolo("broker", &broker)
    }

    /// `tombolo broker …` as the broker's administrator.
    pub fn broker(&self, arguments: &[&str]) -> String {
        check(self.try_broker(arguments))
    }

    /// The broker's own `kubectl …`.
    pub fn broker_kubectl(&self, arguments: &[&str]) -> String {
        let kubeconfig = format!("{}/admin.kubeconfig", self.broker_data());
        self.exec(
            "broker",
            &[&["kubectl", "--kubeconfig", &kubeconfig], arguments].concat(),
        )
    }

    fn broker_data(&self) -> String {
        format!("/run/tombolo-lab/{}/broker", self.name)
    }

    /// The first address of the broker's host, which is one of the lab's internet.
    pub fn broker_address(&self) -> String {
        let status = self.status();
        let address = status["broker"]["addresses"][0].as_str().unwrap();
        address.split('/').next().unwrap().to_owned()
    }

    /// `tombolo lab status -o json`
    pub fn status(&self) -> Value {
        read(&self.lab("status", &["-o", "json"]))
    }

    /// The connections as each cluster sees them, and the ends of the agents' logs.
    fn print_what_agents_said(&self) {
        for cluster in ["east", "west"] {
            eprintln!(
                "{cluster}\n{}",
                said(&self.try_tombolo(cluster, &["show", "connections"]))
            );
        }
        let logs = std::fs::read_dir(format!("/run/tombolo-lab/{}/logs", self.name));
        for log in logs.into_iter().flatten().flatten() {
            let name = log.file_name().to_string_lossy().into_owned();
            if name.contains("-agent") {
                let text = std::fs::read_to_string(log.path()).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                let end = &lines[lines.len().saturating_sub(LOG_LINES)..];
                eprintln!("{name}\n{}\n", end.join("\n"));
            }
        }
    }

    /// Applies manifests to a cluster, and waits for the pods.
    pub fn apply(&self, cluster: &str, manifests: &str) {
        let mut child = Command::new(&self.tombolo)
            .args(["lab", "apply", "--name", self.name, cluster, "--wait", "60"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
        check(child.wait_with_output().unwrap());
    }

    /// What all nodes know of flows to an address, and where such packets pass in the next seconds. For who has to find out where one gets
    /// lost.
    pub fn print_what_nodes_know(&self, address: &str) {
        let everywhere = |script: &str| NODES.map(|node| (node, said(&self.try_exec(node, &["bash", "-c", script]))));
        let count = format!("ip daddr {address} counter comment \"to\"; ip saddr {address} counter comment \"from\";");
        everywhere(&format!(
            "nft 'table inet passing {{ \
               chain in {{ type filter hook prerouting priority -400; {count} }}; \
               chain out {{ type filter hook postrouting priority 400; {count} }}; }}'"
        ));
        std::thread::sleep(NEXT_TRY);
        let ask = format!(
            "nft list table inet passing | grep -B1 -A3 'chain\\|counter'; grep -w {address} /proc/net/nf_conntrack; \
             nft list ruleset | grep 'counter packets [1-9]'; ip nexthop; ip neighbour | grep -w {address}; \
             exec 3<>/dev/tcp/127.0.0.1/9440 && printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3 && grep 'drop\\|lane' <&3 | grep -v ' 0$'"
        );
        for (node, known) in everywhere(&ask) {
            eprintln!("{node}\n{known}");
        }
    }
}

const NODES: [&str; 6] = ["east/gw1", "east/gw2", "east/w1", "west/gw1", "west/gw2", "west/w1"];
/// TCP's, of a connection that has been tried for a minute.
const NEXT_TRY: Duration = Duration::from_secs(12);
const LOG_LINES: usize = 40;

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.run(&["lab", "status", "--name", self.name]);
            eprintln!("{}", String::from_utf8_lossy(&status.stdout));
            self.print_what_agents_said();
        }
        self.run(&["lab", "down", "--name", self.name]);
    }
}

/// What a program printed.
///
/// # Panics
/// Where it failed.
pub fn check(output: Output) -> String {
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// All that a program printed.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

/// JSON that has to be.
///
/// # Panics
/// Where it is not.
pub fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Tries until there is something.
///
/// # Panics
/// After [`PATIENCE`].
pub fn wait<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < end, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

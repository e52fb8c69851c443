//! A gateway dies while nobody can be asked: both API servers and the broker are gone, and the dead agent is never started again. The
//! only way for traffic is that nodes and gateways find out by themselves.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

#[test]
fn traffic_leaves_dead_gateways_on_both_sides_without_any_api_server() {
    if !nix::unistd::geteuid().is_root() {
        let must_run = std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_some_and(|value| value == "1");
        assert!(!must_run, "the lab needs root");
        eprintln!("skipped: the lab needs root");
        return;
    }
    let lab = Lab::up("e2efailover");
    let server = lab.exec(
        "east",
        "kubectl -n shop get pods -l app=till -o jsonpath={.items[0].status.podIP}",
    );
    assert!(!server.is_empty(), "the server has an address");
    let active = ["west", "east"].map(|cluster| (cluster, lab.active_gateway(cluster)));

    for process in ["broker", "west/api", "east/api"] {
        lab.run(&["kill", process]);
    }
    lab.await_traffic(&server, "before anything died");
    for (cluster, gateway) in active {
        // Without its kubelet nobody starts the agent again.
        lab.run(&["kill", &format!("{cluster}/{gateway}/kubelet")]);
        lab.run(&["kill", &format!("{cluster}/{gateway}/gateway-agent")]);
        lab.await_traffic(&server, &format!("after {cluster}'s active gateway {gateway} died"));
    }
}

/// A lab with two joined clusters, servers in east and clients in west; it is gone when this is.
struct Lab {
    name: &'static str,
    binaries: PathBuf,
}

impl Lab {
    fn up(name: &'static str) -> Self {
        let test = std::env::current_exe().expect("a test has a path");
        let binaries = test
            .ancestors()
            .nth(2)
            .expect("target/<profile>/deps/<test>")
            .to_owned();
        assert!(
            binaries.join("tombolo").exists(),
            "build the programs first: cargo build --workspace --bins"
        );
        let lab = Self { name, binaries };
        let mut demo = Command::new(lab.binaries.join("xtask"));
        demo.args([
            "demo",
            "--upto",
            "1",
            "--one-lab",
            "--keep",
            "--name",
            name,
            "--binaries",
        ])
        .arg(&lab.binaries);
        checked(demo);
        lab
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (verb, rest) = arguments.split_first().expect("a verb");
        let mut command = Command::new(self.binaries.join("tombolo"));
        command.args(["lab", verb, "--name", self.name]).args(rest);
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        checked(self.command(arguments))
    }

    /// Runs a program of this machine, with its arguments, in a place of the lab.
    fn exec(&self, target: &str, program: &str) -> String {
        let program: Vec<&str> = program.split(' ').collect();
        self.run(&[&["exec", target, "--"], &program[..]].concat())
    }

    fn active_gateway(&self, cluster: &str) -> String {
        let tombolo = self.binaries.join("tombolo");
        let table = self.exec(cluster, &format!("{} show gateways", tombolo.display()));
        let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let active = rows.into_iter().find(|row| row.get(2) == Some(&"active"));
        active.unwrap_or_else(|| panic!("{cluster} has no active gateway:\n{table}"))[1].to_owned()
    }

    fn await_traffic(&self, server: &str, when: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let ask = ["exec", "west/default/client-worker", "--", "tombolo", "lab", "fetch"];
        let ask = [
            &ask[..],
            &["--host", server, "--timeout", "1", "--bytes", "64", "-o", "json"],
        ]
        .concat();
        loop {
            let output = self.command(&ask).output().expect("tombolo runs");
            let said = text(&output);
            if said.contains("\"ok\":true") {
                return;
            }
            assert!(Instant::now() < deadline, "no traffic in 20 s {when}: {said}");
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // A failed test has its own words already.
        let _ = self.command(&["down"]).output();
    }
}

fn checked(mut command: Command) -> String {
    let output = command.output().expect("the program is there");
    assert!(output.status.success(), "{command:?}: {}", text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

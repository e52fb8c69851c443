//! A member that knows nothing of Tombolo: `wireguard-go` or `boringtun-cli` on a host of its own, brought up by `wg-quick` with exactly what
//! `tombolo broker add-peer` prints. They are found on `PATH` or where `TOMBOLO_WIREGUARD_GO` and `TOMBOLO_BORINGTUN_CLI` say.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tests::{Lab, check, read, said, wait};

/// The stock side is the host that the broker runs on: it has a place in the lab's internet and no Kubernetes.
const HOST: &str = "broker";
const CLIENT: &str = "west/default/client-worker";

#[test]
fn stock_wireguard_peers_are_members() {
    if tests::must_skip() {
        return;
    }
    let programs = [
        ("office", "wireguard-go", "TOMBOLO_WIREGUARD_GO"),
        ("plant", "boringtun-cli", "TOMBOLO_BORINGTUN_CLI"),
    ]
    .map(|(id, program, variable)| (id, find(program, variable)));
    if programs.iter().any(|(_, program)| program.is_none()) {
        let must_run = std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_some_and(|value| value == "1");
        assert!(!must_run, "wireguard-go, boringtun-cli and wg-quick have to be there");
        eprintln!("skipped: wireguard-go, boringtun-cli and wg-quick have to be there");
        return;
    }
    let lab = Lab::joined("e2estock");
    let folder = tempfile::tempdir().unwrap();
    for (number, (id, program)) in programs.into_iter().enumerate() {
        let peer = Stock {
            lab: &lab,
            id,
            program: program.expect("checked above"),
            address: format!("192.168.{}.1", 50 + number),
            link: folder.path().join(format!("tstk{number}.conf")),
        };
        peer.exchanges_bytes_and_goes();
    }
}

struct Stock<'a> {
    lab: &'a Lab,
    id: &'static str,
    program: PathBuf,
    address: String,
    /// Its configuration; `wg-quick` names the link after the file.
    link: PathBuf,
}

impl Stock<'_> {
    fn exchanges_bytes_and_goes(&self) {
        let key = check(Command::new("wg").arg("genkey").output().unwrap());
        let config = self.add(&public_key(key.trim()));
        let own = format!("PrivateKey = {}\nAddress = {}/32", key.trim(), self.address);
        std::fs::write(&self.link, config.replace("PrivateKey = ", &own)).unwrap();
        self.wg_quick("up");
        let tunnel = WgQuick(self);

        let server = Echo::start(self.lab);
        wait("a pod to reach the stock peer under its own address", || {
            self.reaches(CLIENT, &self.address)
        });
        drop(server);
        let till = self.pod_of_east();
        wait("the stock peer to reach a pod under its own address", || {
            self.reaches(HOST, &till)
        });
        wait("both gateways of both clusters to be connected with it", || {
            let all = |cluster| self.connections(cluster) == ["connected", "connected"];
            (all("east") && all("west")).then_some(())
        });
        drop(tunnel);
        self.lab.broker(&["evict", self.id]);
        wait("the others to drop it", || {
            let none = |cluster| self.connections(cluster).is_empty();
            (none("east") && none("west")).then_some(())
        });
    }

    /// Lets it in, twice: the second time nothing changes.
    fn add(&self, public_key: &str) -> String {
        let endpoint = format!("{}:51820", self.lab.broker_address());
        let prefix = format!("{}/24", self.address.trim_end_matches('1').to_owned() + "0");
        let add = [
            "add-peer",
            self.id,
            "--public-key",
            public_key,
            "--endpoint",
            &endpoint,
            "--prefix",
            &prefix,
        ];
        self.lab.broker(&add);
        let again = self.lab.try_broker(&add);
        assert!(said(&again).contains("unchanged"), "{}", said(&again));
        check(again)
    }

    fn wg_quick(&self, verb: &str) {
        let program = format!("WG_QUICK_USERSPACE_IMPLEMENTATION={}", self.program.display());
        let link = self.link.to_str().unwrap();
        // boringtun-cli gives up root otherwise, and then may not make its control socket.
        self.lab
            .exec(HOST, &["env", "WG_SUDO=true", &program, "wg-quick", verb, link]);
    }

    /// Bytes go there and come back, and the server sees the address that the client has.
    fn reaches(&self, from: &str, to: &str) -> Option<()> {
        let fetch = [
            "lab",
            "fetch",
            "--source",
            "--timeout",
            "2",
            "--bytes",
            "65536",
            "--host",
            to,
        ];
        let output = match from {
            HOST => self.lab.try_tombolo(HOST, &fetch),
            pod => self.lab.try_exec(pod, &[&["tombolo"], &fetch[..]].concat()),
        };
        output.status.success().then_some(())
    }

    fn pod_of_east(&self) -> String {
        let first = "jsonpath={.items[0].status.podIP}";
        let pod = self
            .lab
            .kubectl("east", &["-n", "shop", "get", "pods", "-l", "app=till", "-o", first]);
        pod.trim().to_owned()
    }

    /// States of a cluster's cables to it.
    fn connections(&self, cluster: &str) -> Vec<String> {
        // The exit code is of all connections.
        let output = self.lab.try_tombolo(cluster, &["show", "connections", "-o", "json"]);
        let report = read(&String::from_utf8_lossy(&output.stdout));
        let rows = report["connections"].as_array().unwrap().iter();
        rows.filter(|row| row["remote"] == self.id)
            .map(|row| row["status"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// What `wg-quick up` made.
struct WgQuick<'a>(&'a Stock<'a>);

impl Drop for WgQuick<'_> {
    fn drop(&mut self) {
        self.0.wg_quick("down");
    }
}

/// A server on the stock side.
struct Echo(Child);

impl Echo {
    fn start(lab: &Lab) -> Self {
        let mut command = lab.tombolo_command(HOST, &["lab", "echo", "--port", "8080"]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn find(program: &str, variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| {
        std::env::split_paths(&path)
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    };
    on_path("wg-quick")?;
    let named = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|file| file.is_file());
    // It is run from another folder.
    named.or_else(|| on_path(program))?.canonicalize().ok()
}

fn public_key(private: &str) -> String {
    let mut child = Command::new("wg")
        .arg("pubkey")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(private.as_bytes()).unwrap();
    check(child.wait_with_output().unwrap()).trim().to_owned()
}

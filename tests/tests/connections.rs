//! Established connections outlive the gateways that they go through: one that crashes, one that is drained, one that goes and comes
//! back; and one connection whose SYN and SYN-ACK go by different gateways is established all the same. All of it beside a service
//! proxy that drops whatever conntrack calls invalid.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};

use tests::{Lab, PATIENCE, wait};

#[test]
fn connections_live_through_crash_drain_flap_and_a_split_handshake() {
    if tests::must_skip() {
        return;
    }
    let lab = Lab::joined("e2econn");
    let rules = lab.exec("west/gw1", &["nft", "list", "ruleset"]);
    assert!(
        rules.contains("ct state invalid drop"),
        "the neighbour is there:\n{rules}"
    );
    let bridge = |node| lab.exec(node, &["ip", "-o", "link", "show", "dev", "cni0"]);
    for node in ["east/w1", "west/w1"] {
        assert!(
            bridge(node).contains("link/ether 0a:58:0a:"),
            "an address of its own, so that a new pod does not change what the others send to"
        );
    }
    let east = lab.pod("east", "conn-server", "east-w1", "lab/echo");
    let west = lab.pod("west", "conn-server", "west-w1", "lab/echo");
    let on_gateway = lab.pod("west", "conn-gateway-server", "west-gw1", "lab/echo");
    lab.pod("east", "conn-client", "east-w1", "lab/pause");
    let clients = [
        ("west/default/client-worker", &east),
        ("west/default/client-gateway", &east),
        ("east/default/conn-client", &west),
        ("east/default/conn-client", &on_gateway),
    ];
    let mut connections: Vec<_> = clients
        .iter()
        .map(|(client, server)| Connection::open(&lab, client, server))
        .collect();
    let mut all_live = |when: &str| {
        for connection in &mut connections {
            connection.ask(when);
        }
    };
    all_live("before anything happens");

    for cluster in ["west", "east"] {
        let gateway = lab.active_gateway(cluster);
        lab.lab("kill", &[&format!("{cluster}/{gateway}/gateway-agent")]);
        all_live(&format!("after {cluster}'s gateway {gateway} crashed"));
    }
    let gateway = lab.active_gateway("west");
    lab.drain("west", &gateway);
    all_live("after west's gateway was drained");

    let gateway = lab.active_gateway("east");
    let node = format!("east/{gateway}");
    lab.lab("cut", &[&node]);
    all_live("after east's gateway was cut off");
    lab.lab("heal", &[&node]);
    all_live("after it came back");

    a_handshake_by_two_gateways(&lab, &east);
    all_live("at the end");
}

/// The SYN goes by one gateway; the answer is held back until another is active, and so is every repetition of the SYN.
fn a_handshake_by_two_gateways(lab: &Lab, server: &str) {
    let [client_node, server_node] = ["west/w1", "east/w1"];
    let first = wait("every gateway to be connected", || {
        let is_connected = lab.try_tombolo("west", &["show", "gateways"]).status.success();
        is_connected.then(|| lab.active_gateway("west"))
    });
    // Where the pods' kernel does not notice: it gives up what it could not send.
    let hold = |node: &str, selector: &str, flags: &str| {
        let table = format!(
            "table inet hold {{ chain forward {{ type filter hook forward priority -400; \
             {selector} {server} tcp flags & (syn|ack) == {flags} counter drop; }}; }}"
        );
        lab.exec(node, &["nft", &table]);
    };
    hold(server_node, "ip saddr", "syn|ack");
    let mut connection = Connection::open(lab, "west/default/client-worker", server);
    wait("the SYN to arrive", || {
        let held = lab.exec(server_node, &["nft", "list", "table", "inet", "hold"]);
        (!held.contains("packets 0 ")).then_some(())
    });
    hold(client_node, "ip daddr", "syn");
    lab.drain("west", &first);
    wait("another gateway to be active", || {
        (lab.active_gateway("west") != first).then_some(())
    });
    lab.exec(server_node, &["nft", "delete", "table", "inet", "hold"]);
    connection.ask("whose handshake went by two gateways");
    lab.exec(client_node, &["nft", "delete", "table", "inet", "hold"]);
}

/// One TCP connection from a pod to an echo server.
struct Connection<'a> {
    lab: &'a Lab,
    client_pod: String,
    server: String,
    client: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    asked: u32,
}

impl<'a> Connection<'a> {
    fn open(lab: &'a Lab, client: &str, server: &str) -> Self {
        let script = format!("exec 3<>/dev/tcp/{server}/8080; cat <&3 & cat >&3");
        let mut command = lab.command(client, &["bash", "-c", &script]);
        let mut client_process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tombolo runs");
        let output = BufReader::new(client_process.stdout.take().expect("stdout is piped"));
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            lab,
            client_pod: client.to_owned(),
            server: server.to_owned(),
            input: client_process.stdin.take().expect("stdin is piped"),
            client: client_process,
            answers,
            asked: 0,
        }
    }

    /// Sends a line and waits until it comes back, however often TCP has to try.
    fn ask(&mut self, when: &str) {
        self.asked += 1;
        let line = format!("line {}", self.asked);
        let name = format!("{} to {}", self.client_pod, self.server);
        writeln!(self.input, "{line}").unwrap_or_else(|error| panic!("{name} is gone {when}: {error}"));
        loop {
            match self.answers.recv_timeout(PATIENCE) {
                Ok(answer) if answer == line => return,
                // The server's greeting.
                Ok(answer) if answer.starts_with("pod=") => {}
                other => {
                    let sockets = self.lab.try_exec(&self.client_pod, &["cat", "/proc/net/tcp"]);
                    eprintln!("{}\n{}", self.client_pod, tests::said(&sockets));
                    self.lab.print_what_nodes_know(&self.server);
                    panic!("{name} {when}: {other:?} instead of {line:?}");
                }
            }
        }
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // The lab, which goes with the test, ends what the client started.
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

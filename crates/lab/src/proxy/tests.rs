use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hostnet_linux::NetNs;
use serde_json::{Value, json};

use super::backends::{Backends, backends};
use super::rules;

fn object<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn service(name: &str, ips: &[&str], affinity: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "clusterIP": ips[0], "clusterIPs": ips, "sessionAffinity": affinity,
            "ports": [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
        },
    })
}

fn slice(service: &str, family: &str, endpoints: &[Value]) -> Value {
    json!({
        "metadata": {
            "name": format!("{service}-{family}"), "namespace": "shop",
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": family,
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 8053, "protocol": "UDP"}],
        "endpoints": endpoints,
    })
}

fn endpoint(address: &str, ready: bool, terminating: bool) -> Value {
    json!({"addresses": [address], "conditions": {"ready": ready, "serving": true, "terminating": terminating}})
}

fn shop() -> Backends {
    let services = [
        service("cart", &["10.96.0.10", "fd00:96::10"], "None"),
        service("till", &["10.96.0.11"], "ClientIP"),
        service("empty", &["10.96.0.12"], "None"),
        service("pods", &["None"], "None"),
    ];
    let slices = [
        slice(
            "cart",
            "IPv4",
            &[endpoint("10.244.1.2", true, false), endpoint("10.244.1.3", true, false)],
        ),
        slice("cart", "IPv6", &[endpoint("fd00:244::2", true, false)]),
        slice(
            "till",
            "IPv4",
            &[
                endpoint("10.244.1.2", false, true),
                endpoint("10.244.1.9", false, false),
            ],
        ),
        slice("empty", "IPv4", &[]),
        slice("pods", "IPv4", &[endpoint("10.244.1.2", true, false)]),
    ];
    backends(&services.map(object), &slices.map(object))
}

#[test]
fn ready_endpoints_serve_and_ending_ones_only_when_nobody_else_does() {
    let backends = shop();
    assert_eq!(
        backends.len(),
        8,
        "two ports at each of four addresses, and none for the headless one"
    );
    let sockets = |address: &str, port: u16| -> Vec<String> {
        let found = backends
            .iter()
            .find(|(frontend, _)| frontend.address == address.parse::<IpAddr>().unwrap() && frontend.port == port);
        found.unwrap().1.endpoints.iter().map(SocketAddr::to_string).collect()
    };
    assert_eq!(sockets("10.96.0.10", 80), ["10.244.1.2:8080", "10.244.1.3:8080"]);
    assert_eq!(sockets("10.96.0.10", 53), ["10.244.1.2:8053", "10.244.1.3:8053"]);
    assert_eq!(sockets("fd00:96::10", 80), ["[fd00:244::2]:8080"]);
    assert_eq!(sockets("10.96.0.11", 80), ["10.244.1.2:8080"]);
    assert!(sockets("10.96.0.12", 80).is_empty());
}

#[test]
fn the_table_is_written_as_expected() {
    let prefixes = ["10.244.0.0/16".parse().unwrap(), "fd00:244::/56".parse().unwrap()];
    let text = rules::table(&shop(), &prefixes);
    assert_eq!(text, include_str!("testdata/table.nft"), "written:\n{text}");
}

#[test]
fn real_connections_take_the_way_of_kube_proxy() {
    if !nix::unistd::geteuid().is_root() {
        assert!(
            std::env::var_os("TOMBOLO_TEST_NO_SKIP").is_none(),
            "this test needs root"
        );
        eprintln!("skipped: this test makes network namespaces, which needs root");
        return;
    }
    let lab = Namespaces::new();
    for pod in ["a", "b"] {
        lab.spawn_server(pod);
    }
    let node = IpAddr::from([10, 244, 1, 1]);
    let (cart, empty) = (
        SocketAddr::from(([10, 96, 0, 10], 80)),
        SocketAddr::from(([10, 96, 0, 12], 80)),
    );
    lab.load(&rules::table(&shop(), &["10.244.0.0/16".parse().unwrap()]));

    // Enough tries that both endpoints are met but for one run in a billion.
    let met: BTreeSet<(String, IpAddr)> = (0..30)
        .map(|_| lab.connect("a", cart).expect("the service answers"))
        .collect();
    let (own, other) = (IpAddr::from([10, 244, 1, 2]), "b".to_owned());
    assert_eq!(
        met,
        [("a".to_owned(), node), (other.clone(), own)].into(),
        "a hairpin is masqueraded, a pod is not"
    );
    assert_eq!(
        lab.ask("b", (cart.ip(), 53).into()).map(|(_, client)| client.is_ipv4()),
        Some(true),
        "UDP"
    );

    assert!(lab.connect("node", cart).is_some(), "the node itself is a client");
    let (_, seen) = lab.connect("remote", cart).expect("the service answers a stranger");
    assert_eq!(seen, node, "a source outside the pod prefix is masqueraded");
    lab.load(
        "table inet keep {\n chain c {\n type nat hook postrouting priority srcnat - 1;\n \
         ip saddr 10.99.0.0/24 ip daddr 10.244.0.0/16 snat to ip saddr\n }\n}\n",
    );
    let (_, seen) = lab.connect("remote", cart).expect("the service still answers");
    assert_eq!(
        seen,
        IpAddr::from([10, 99, 0, 2]),
        "unless somebody binds its flow first"
    );

    assert!(lab.connect("a", empty).is_none(), "a service without endpoints refuses");
    assert!(lab.connect("node", empty).is_none());
    lab.load(&rules::removal());
    lab.load(&rules::removal());
    assert!(!lab.tables().contains("lab-proxy"), "nothing is left after a cleanup");
}

/// A node with two pods, and a stranger beyond it.
struct Namespaces(BTreeMap<&'static str, NetNs>);

impl Namespaces {
    fn new() -> Self {
        let make = |name| {
            (
                name,
                NetNs::create(&format!("tl-proxy-{}-{name}", std::process::id())).unwrap(),
            )
        };
        let lab = Self(["node", "a", "b", "remote"].map(make).into());
        for (name, gateway, address) in [
            ("a", "10.244.1.1", "10.244.1.2"),
            ("b", "10.244.1.1", "10.244.1.3"),
            ("remote", "10.99.0.1", "10.99.0.2"),
        ] {
            let peer = lab.0[name].name();
            lab.ip(
                "node",
                &format!(
                    "link add to-{name} type veth peer name eth0 netns {peer}\nlink set to-{name} up\n\
                     address add {gateway}/32 dev to-{name}\nroute add {address}/32 dev to-{name} src {gateway}\n"
                ),
            );
            lab.ip(
                name,
                &format!(
                    "link set lo up\nlink set eth0 up\naddress add {address}/32 dev eth0\n\
                     route add {gateway}/32 dev eth0\nroute add default via {gateway} onlink dev eth0\n"
                ),
            );
        }
        // A real node has a default route; without one, nothing for a cluster IP would leave its own sockets.
        lab.ip(
            "node",
            "link set lo up\nroute add default via 10.99.0.2 dev to-remote onlink\n",
        );
        lab.within("node", || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap());
        lab
    }

    fn ip(&self, namespace: &str, batch: &str) {
        self.within(namespace, || run(Command::new("ip").args(["-batch", "-"]), batch));
    }

    fn within<T: Send>(&self, namespace: &str, work: impl FnOnce() -> T + Send) -> T {
        self.0[namespace].run(work).unwrap()
    }

    fn load(&self, batch: &str) {
        self.within("node", || run(Command::new("nft").args(["-f", "-"]), batch));
    }

    fn tables(&self) -> String {
        self.within("node", || {
            String::from_utf8(Command::new("nft").args(["list", "tables"]).output().unwrap().stdout).unwrap()
        })
    }

    /// Answers with the pod's name and the client's address, over TCP at 8080 and UDP at 8053.
    fn spawn_server(&self, pod: &'static str) {
        let (tcp, udp) = self.within(pod, || {
            let any = Ipv4Addr::UNSPECIFIED;
            (
                TcpListener::bind((any, 8080)).unwrap(),
                UdpSocket::bind((any, 8053)).unwrap(),
            )
        });
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let client = stream.peer_addr().unwrap().ip();
                let _ = stream.write_all(format!("{pod} {client}").as_bytes());
            }
        });
        std::thread::spawn(move || {
            while let Ok((_, client)) = udp.recv_from(&mut [0; 16]) {
                let _ = udp.send_to(format!("{pod} {}", client.ip()).as_bytes(), client);
            }
        });
    }

    /// Who answered, and whom it saw.
    fn connect(&self, from: &str, to: SocketAddr) -> Option<(String, IpAddr)> {
        self.within(from, || {
            let mut stream = TcpStream::connect_timeout(&to, DEADLINE).ok()?;
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            parse(&text)
        })
    }

    fn ask(&self, from: &str, to: SocketAddr) -> Option<(String, IpAddr)> {
        self.within(from, || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket.connect(to).unwrap();
            socket.send(b"?").ok()?;
            let mut buffer = [0; 64];
            let length = loop {
                match socket.recv(&mut buffer) {
                    // A read with a time limit is not resumed by the kernel when the process was stopped for a while.
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    result => break result.ok()?,
                }
            };
            parse(str::from_utf8(&buffer[..length]).unwrap())
        })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for namespace in self.0.values() {
            if let Err(error) = namespace.delete() {
                eprintln!("{error}");
            }
        }
    }
}

fn parse(text: &str) -> Option<(String, IpAddr)> {
    let (pod, client) = text.split_once(' ')?;
    Some((pod.to_owned(), client.parse().ok()?))
}

fn run(command: &mut Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{input}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const DEADLINE: Duration = Duration::from_secs(10);

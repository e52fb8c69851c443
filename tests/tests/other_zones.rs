//! Names that are not of the clusterset: another cluster's own zone, asked of that cluster's DNS over the cable; and a host outside
//! Kubernetes, which may ask ours because of its address.

use serde_json::json;
use tests::{Lab, read, wait};

const CLIENT: &str = "west/default/client";
/// Every cluster has this one, each with an address of its own.
const NAME: &str = "kubernetes.default.svc.east.lan";

#[test]
fn a_clusters_own_zone_is_asked_of_it_and_hosts_outside_ask_by_their_prefix() {
    if tests::must_skip_without(&[("dig", "bind9-dnsutils")]) {
        return;
    }
    let clusters = Clusters(Lab::up("dscfwd"));
    let lab = &clusters.0;
    clusters.give_east_a_zone();
    let dns_of_east = clusters.address("kube-system", "kube-dns");
    let wanted = clusters.address("default", "kubernetes");
    // The API server's host stands for one that is on the nodes' network, and is no node.
    let addresses = lab.exec("west", &["hostname", "-I"]);
    let outside = addresses.split_whitespace().next().expect("a host has an address");
    for (cluster, flags) in [
        ("east", vec![]),
        (
            "west",
            vec![
                format!("--dns-forward=east.lan={dns_of_east}"),
                format!("--dns-allow={outside}/32"),
            ],
        ),
    ] {
        let token = lab.broker(&["invite", cluster]);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        lab.tombolo(cluster, &[&["join", token.trim()], &flags[..]].concat());
    }
    lab.pod("west", "client", "west-w1", "lab/pause");

    let has_it = || (clusters.resolve() == [wanted.as_str()]).then_some(());
    wait("a pod of west to resolve a name of east's zone", has_it);

    // With its cluster away nobody knows the name, and "no such name" would be a lie.
    let (server, node) = clusters.name_server();
    lab.lab("cut", &["east"]);
    wait("the name server to give up", || {
        (clusters.status(CLIENT, &server, "53") == "SERVFAIL").then_some(())
    });
    lab.lab("heal", &["east"]);
    wait("a pod of west to resolve it again", has_it);

    lab.exec("west", &["ip", "route", "add", &server, "via", &node]);
    wait("the host outside to be answered", || {
        (clusters.status("west", &server, EXTERNAL_PORT) == "NOERROR").then_some(())
    });
    assert_eq!(
        clusters.status(CLIENT, &server, EXTERNAL_PORT),
        "REFUSED",
        "a pod's address is in no prefix that is allowed there"
    );
}

/// What the test asks of its lab.
struct Clusters(Lab);

impl Clusters {
    /// East's DNS answers for `east.lan` what it answers for `cluster.local`.
    fn give_east_a_zone(&self) {
        let config_map = ["configmap", "--namespace", "kube-system", "coredns"];
        let now = read(
            &self
                .0
                .kubectl("east", &[&["get", "-o", "json"], &config_map[..]].concat()),
        );
        let corefile = now["data"]["Corefile"].as_str().expect("a Corefile");
        let corefile = corefile.replace("kubernetes cluster.local", "kubernetes east.lan cluster.local");
        let change = json!({ "data": { "Corefile": corefile } }).to_string();
        let patch = ["patch", "--type", "merge", "--patch", &change];
        self.0.kubectl("east", &[&patch, &config_map[..]].concat());
    }

    /// The cluster IP of a service of east.
    fn address(&self, namespace: &str, service: &str) -> String {
        let address = "jsonpath={.spec.clusterIP}";
        let get = ["get", "service", "--namespace", namespace, service, "-o", address];
        self.0.kubectl("east", &get).trim().to_owned()
    }

    /// A name server of west: its address, and its node's.
    fn name_server(&self) -> (String, String) {
        let selector = "app.kubernetes.io/name=tombolo-lighthouse-dns";
        let get = [
            "get",
            "pods",
            "--namespace",
            "tombolo-system",
            "-l",
            selector,
            "-o",
            "json",
        ];
        let pods = read(&self.0.kubectl("west", &get));
        let text = |field: &str| {
            pods["items"][0]["status"][field]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        (text("podIP"), text("hostIP"))
    }

    /// What the client's resolver has, which asks the cluster's DNS.
    fn resolve(&self) -> Vec<String> {
        let fetch = [
            "tombolo",
            "lab",
            "fetch",
            "--resolve-only",
            "-o",
            "json",
            "--host",
            NAME,
        ];
        let output = self.0.try_exec(CLIENT, &fetch);
        let tried = read(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or("null"));
        let addresses = tried["resolved"].as_array().into_iter().flatten();
        addresses
            .filter_map(|address| Some(address.as_str()?.to_owned()))
            .collect()
    }

    /// What a name server says to somebody who asks once; nothing when it is silent for five seconds.
    fn status(&self, client: &str, server: &str, port: &str) -> String {
        let server = format!("@{server}");
        let dig = ["dig", "+tries=1", "+time=5", &server, "-p", port, NAME, "A"];
        let said = tests::said(&self.0.try_exec(client, &dig));
        let status = said.split_once("status: ").and_then(|(_, rest)| rest.split_once(','));
        status.map(|(status, _)| status.to_owned()).unwrap_or_default()
    }
}

/// Where the name server's pods answer hosts outside.
const EXTERNAL_PORT: &str = "5300";

//! The active gateway of a cluster answers every probe, and its kernel drops what it should forward, but only if it is large. No packet
//! says so. Traffic has to leave it all the same, and whoever looks has to be told why.

use std::process::Output;

use tests::{Lab, read, said, wait};

#[test]
fn a_gateway_that_loses_large_packets_loses_its_role_and_is_named() {
    if tests::must_skip() {
        return;
    }
    let clusters = Clusters(Lab::joined("prbgray"));
    let lab = &clusters.0;
    let first = "jsonpath={.items[0].status.podIP}";
    let server = lab.kubectl("east", &["-n", "shop", "get", "pods", "-l", "app=till", "-o", first]);
    assert!(
        clusters.fetches(&server),
        "a large answer arrives before anything is broken"
    );
    let broken = clusters.active_gateway("west");
    let place = format!("west/{broken}");
    // Only who was seen to work is called broken: large answers to deep probes have to have passed by it.
    let counter = "add table inet prbgray
        add chain inet prbgray lost { type filter hook forward priority 0; }
        add rule inet prbgray lost meta length > 1000 udp sport 4512 counter";
    lab.exec(&place, &["nft", counter]);
    wait("deep probes of full size to be answered", || {
        let rules = lab.exec(&place, &["nft", "list table inet prbgray"]);
        let (_, counted) = rules.split_once("packets ")?;
        let count: u32 = counted.split_whitespace().next()?.parse().ok()?;
        (count > 20).then_some(())
    });
    lab.exec(&place, &["nft", "add rule inet prbgray lost meta length > 1000 drop"]);

    wait("the other gateway to be the active one", || {
        (clusters.active_gateway("west") != broken).then_some(())
    });
    let told = wait("the reason to be told", || {
        clusters
            .reason_of(&broken)
            .filter(|(reason, _)| reason == "MtuBlackHole")
    });
    assert!(told.1.contains("bytes get lost"), "the size is named: {}", told.1);
    wait("large answers to arrive by the other gateway", || {
        clusters.fetches(&server).then_some(())
    });

    let events = lab.kubectl("east", &["-n", "tombolo-system", "get", "events"]);
    assert!(events.contains("MtuBlackHole"), "{events}");

    lab.exec(&place, &["nft", "delete table inet prbgray"]);
    wait("all to be well again", || {
        let status = lab.try_tombolo("east", &["show", "connections"]);
        status.status.success().then_some(())
    });
}

/// What the test asks of its lab.
struct Clusters(Lab);

impl Clusters {
    fn active_gateway(&self, cluster: &str) -> String {
        let report = read(&stdout(
            &self.0.try_tombolo(cluster, &["show", "gateways", "-o", "json"]),
        ));
        let rows = report["gateways"].as_array().expect("rows");
        let active = rows.iter().find(|row| row["role"] == "active");
        active.map_or_else(String::new, |row| row["gateway"].as_str().expect("a name").to_owned())
    }

    /// What any gateway of east says of its cable to this gateway of west: reason and message.
    fn reason_of(&self, gateway: &str) -> Option<(String, String)> {
        let list = read(&self.0.kubectl(
            "east",
            &["-n", "tombolo-system", "get", "gateways.tombolo.dev", "-o", "json"],
        ));
        let gateways = list["items"].as_array()?.iter();
        let connections = gateways.filter_map(|gateway| gateway["status"]["connections"].as_array());
        let mut wanted = connections.flatten().filter(|connection| connection["node"] == gateway);
        wanted.find_map(|connection| {
            let text = |field: &str| connection[field].as_str().map(str::to_owned);
            Some((text("reason")?, text("message")?))
        })
    }

    /// Whether an answer of many full-size packets arrives from a pod of east at one of west.
    fn fetches(&self, server: &str) -> bool {
        let fetch = [
            "tombolo",
            "lab",
            "fetch",
            "--timeout",
            "2",
            "--bytes",
            "300000",
            "-o",
            "json",
            "--host",
            server,
        ];
        said(&self.0.try_exec("west/default/client-worker", &fetch)).contains("\"ok\":true")
    }
}

/// A report is printed also where it is not all good.
fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

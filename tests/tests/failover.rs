//! A gateway dies while nobody can be asked: both API servers and the broker are gone, and the dead agent is never started again. The
//! only way for traffic is that nodes and gateways find out by themselves.

use std::time::{Duration, Instant};

use tests::{Lab, said};

#[test]
fn traffic_leaves_dead_gateways_on_both_sides_without_any_api_server() {
    if tests::must_skip() {
        return;
    }
    let clusters = Clusters(Lab::joined("e2efailover"));
    let lab = &clusters.0;
    let first = "jsonpath={.items[0].status.podIP}";
    let server = lab.kubectl("east", &["-n", "shop", "get", "pods", "-l", "app=till", "-o", first]);
    assert!(!server.is_empty(), "the server has an address");
    let active = ["west", "east"].map(|cluster| (cluster, lab.active_gateway(cluster)));

    for process in ["broker", "west/api", "east/api"] {
        lab.lab("kill", &[process]);
    }
    clusters.await_traffic(&server, "before anything died");
    for (cluster, gateway) in active {
        // Without its kubelet nobody starts the agent again.
        lab.lab("kill", &[&format!("{cluster}/{gateway}/kubelet")]);
        lab.lab("kill", &[&format!("{cluster}/{gateway}/gateway-agent")]);
        clusters.await_traffic(&server, &format!("after {cluster}'s active gateway {gateway} died"));
    }
}

/// What the test asks of its lab.
struct Clusters(Lab);

impl Clusters {
    fn await_traffic(&self, server: &str, when: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let fetch = [
            "tombolo",
            "lab",
            "fetch",
            "--timeout",
            "1",
            "--bytes",
            "64",
            "-o",
            "json",
        ];
        let fetch = [&fetch[..], &["--host", server]].concat();
        loop {
            let said = said(&self.0.try_exec("west/default/client-worker", &fetch));
            if said.contains("\"ok\":true") {
                return;
            }
            assert!(Instant::now() < deadline, "no traffic in 20 s {when}: {said}");
        }
    }
}

//! A whole cluster goes off the internet: what leads there goes from DNS, from the service proxy and from the routes, so that whoever
//! asks is told at once; and all of it comes back by itself.

use serde_json::Value;
use tests::{Lab, read, wait};

#[test]
fn names_and_connects_follow_a_cluster_that_goes_and_comes_back() {
    if tests::must_skip() {
        return;
    }
    let clusters = Clusters(Lab::joined("prbdead"));
    let lab = &clusters.0;
    let shop = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    lab.apply("west", shop);
    lab.tombolo("east", &["export", "service", "-n", "shop", "cart"]);
    let first = "jsonpath={.items[0].status.podIP}";
    let pod = lab.kubectl("east", &["-n", "shop", "get", "pods", "-l", "app=till", "-o", first]);
    clusters.await_life(&pod);

    lab.lab("cut", &["east"]);
    wait("east's name to be withdrawn", || {
        clusters.resolve(OF_EAST).is_empty().then_some(())
    });
    wait("connects to the service to be refused", || {
        clusters.connect(SERVICE, "80").contains("refused").then_some(())
    });
    assert!(!clusters.resolve(SERVICE).is_empty(), "the clusterset IP stays");
    wait("connects to pods to be refused", || {
        clusters.connect(&pod, "8080").contains("refused").then_some(())
    });
    for _ in 0..10 {
        let error = clusters.connect(&pod, "8080");
        assert!(error.contains("refused"), "not every time: {error}");
    }

    lab.lab("heal", &["east"]);
    clusters.await_life(&pod);
}

/// What the test asks of its lab, as a pod of west.
struct Clusters(Lab);

impl Clusters {
    fn await_life(&self, pod: &str) {
        wait("east's name", || (!self.resolve(OF_EAST).is_empty()).then_some(()));
        wait("the service to answer", || {
            self.connect(SERVICE, "80").is_empty().then_some(())
        });
        wait("a pod to answer", || self.connect(pod, "8080").is_empty().then_some(()));
    }

    fn resolve(&self, host: &str) -> Vec<Value> {
        let tried = self.fetch(&["--resolve-only", "--host", host]);
        tried["resolved"].as_array().cloned().unwrap_or_default()
    }

    /// The error, or nothing.
    fn connect(&self, host: &str, port: &str) -> String {
        let tried = self.fetch(&["--timeout", "1", "--host", host, "--port", port]);
        tried["error"].as_str().unwrap_or_default().to_owned()
    }

    fn fetch(&self, arguments: &[&str]) -> Value {
        let fetch = [&["tombolo", "lab", "fetch", "-o", "json"], arguments].concat();
        let output = self.0.try_exec("west/default/client-worker", &fetch);
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().next().map_or(Value::Null, read)
    }
}

const OF_EAST: &str = "east.cart.shop.svc.clusterset.local";
const SERVICE: &str = "cart.shop.svc.clusterset.local";

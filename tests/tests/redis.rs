//! A program that nobody wrote for the clusterset: Redis replicates by name from one cluster to another, and its one long connection
//! outlives the gateways that carry it.

use tests::{Lab, read, wait};

const PRIMARY: &str = "east/default/redis-primary";
const REPLICA: &str = "west/default/redis-replica";
const NAME: &str = "redis.default.svc.clusterset.local";

#[test]
fn redis_replicates_by_name_and_goes_on_through_a_failover() {
    if tests::must_skip_without(&[("redis-server", "redis-server"), ("redis-cli", "redis-tools")]) {
        return;
    }
    let clusters = Clusters(Lab::joined("dscredis"));
    let lab = &clusters.0;
    lab.apply("east", &[&pod("redis-primary", "east-w1"), SERVICE].concat());
    lab.apply("west", &pod("redis-replica", "west-w1"));
    lab.tombolo("east", &["export", "service", "-n", "default", "redis"]);
    for redis in [PRIMARY, REPLICA] {
        wait("Redis to answer", || {
            (clusters.redis(redis, &["ping"]) == "PONG").then_some(())
        });
    }

    clusters.redis(PRIMARY, &["set", "before", "apples"]);
    assert_eq!(clusters.redis(REPLICA, &["replicaof", NAME, "6379"]), "OK");
    clusters.await_value("before", "apples");
    assert_eq!(clusters.told(REPLICA, "master_host"), NAME);
    let replica = clusters.replica();
    let address = lab.kubectl(
        "west",
        &["get", "pod", "redis-replica", "-o", "jsonpath={.status.podIP}"],
    );
    assert!(
        replica.starts_with(&format!("ip={address},port=6379,state=online")),
        "the primary sees the replica's own address {address}: {replica}"
    );
    let connection = clusters.connection();

    for cluster in ["west", "east"] {
        let gateway = wait("an active gateway", || clusters.active_gateway(cluster));
        // Without its kubelet nobody starts the agent again.
        lab.lab("kill", &[&format!("{cluster}/{gateway}/kubelet")]);
        lab.lab("kill", &[&format!("{cluster}/{gateway}/gateway-agent")]);
        clusters.redis(PRIMARY, &["set", cluster, &gateway]);
        clusters.await_value(cluster, &gateway);
    }
    assert_eq!(clusters.connection(), connection, "it is still the same connection");
    assert_eq!(clusters.told(PRIMARY, "sync_full"), "1", "nothing had to be sent again");
}

/// Redis on one node. Every image of the lab holds the programs of the machine.
fn pod(name: &str, node: &str) -> String {
    format!(
        r#"---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  containers:
    - name: redis
      image: lab/pause
      command: [redis-server, --protected-mode, "no", --save, "", --dir, /tmp, --repl-diskless-sync-delay, "0"]
      ports: [{{containerPort: 6379}}]
"#
    )
}

const SERVICE: &str = "---
apiVersion: v1
kind: Service
metadata: {name: redis, namespace: default}
spec:
  selector: {app: redis-primary}
  ports: [{name: redis, port: 6379}]
";

/// What the test asks of its lab.
struct Clusters(Lab);

impl Clusters {
    /// What Redis in a pod says; what went wrong is told like an answer.
    fn redis(&self, pod: &str, command: &[&str]) -> String {
        let output = self.0.try_exec(pod, &[&["redis-cli"], command].concat());
        tests::said(&output).trim().to_owned()
    }

    /// A line of `INFO`.
    fn told(&self, pod: &str, field: &str) -> String {
        let info = self.redis(pod, &["info", "everything"]);
        let value = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        value
            .unwrap_or_else(|| panic!("no {field} in {info}"))
            .trim()
            .to_owned()
    }

    fn await_value(&self, key: &str, value: &str) {
        wait(&format!("{key} in the replica"), || {
            (self.redis(REPLICA, &["get", key]) == value).then_some(())
        });
    }

    /// The one replica that the primary knows, when it has caught up.
    fn replica(&self) -> String {
        wait("the primary to call its replica online", || {
            let replica = self.told(PRIMARY, "slave0");
            replica.contains("state=online").then_some(replica)
        })
    }

    /// The number that the primary gave to the replica's connection.
    fn connection(&self) -> String {
        let list = self.redis(PRIMARY, &["client", "list", "type", "replica"]);
        assert_eq!(list.lines().count(), 1, "one replica, one connection: {list}");
        list.split_whitespace().next().unwrap_or_default().to_owned()
    }

    fn active_gateway(&self, cluster: &str) -> Option<String> {
        // The exit code is of all connections.
        let output = self.0.try_tombolo(cluster, &["show", "gateways", "-o", "json"]);
        let report = read(&String::from_utf8_lossy(&output.stdout));
        let active = report["gateways"]
            .as_array()?
            .iter()
            .find(|row| row["role"] == "active")?;
        Some(active["gateway"].as_str()?.to_owned())
    }
}

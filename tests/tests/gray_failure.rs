//! The active gateway of a cluster answers every probe, and its kernel drops what it should forward: only what is large, all of it,
//! or all that connection tracking does not know. No packet says so. Traffic has to leave it all the same, and whoever looks has to be told why.

use serde_json::Value;
use tests::{Lab, said, wait};

#[test]
fn a_gateway_that_does_not_forward_loses_its_role_and_is_named() {
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
    let broken = lab.active_gateway("west");
    let place = format!("west/{broken}");
    // Only who was seen to work is called broken: large answers to deep probes have to have passed by it.
    let counter = "add table inet prbgray
        add set inet prbgray seen { type ipv4_addr; flags dynamic; counter; }
        add chain inet prbgray lost { type filter hook forward priority 0; }
        add rule inet prbgray lost meta length > 1000 udp sport 4512 update @seen { ip saddr }";
    lab.exec(&place, &["nft", counter]);
    wait("two nodes to answer deep probes of full size", || {
        let seen = lab.exec(&place, &["nft", "list set inet prbgray seen"]);
        let counts = seen.split("packets ").skip(1);
        let counts = counts.filter_map(|rest| rest.split_whitespace().next()?.parse::<u32>().ok());
        (counts.filter(|count| *count > 20).count() >= 2).then_some(())
    });
    lab.exec(&place, &["nft", "add rule inet prbgray lost meta length > 1000 drop"]);

    wait("the other gateway to be the active one", || {
        (lab.active_gateway("west") != broken).then_some(())
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
    clusters.await_health();

    let broken = lab.active_gateway("west");
    let place = format!("west/{broken}");
    let drop_all = "table inet prbgray { chain lost { type filter hook forward priority 0; drop; }; }";
    lab.exec(&place, &["nft", drop_all]);
    wait("the other reason to be told", || {
        clusters
            .reason_of(&broken)
            .filter(|(reason, _)| reason == "ForwardingBroken")
    });
    // By the other one, although that one recovers from what it was called before, and takes the role only later.
    wait("answers to arrive by the gateway that forwards", || {
        clusters.fetches(&server).then_some(())
    });
    lab.exec(&place, &["nft", "delete table inet prbgray"]);
    clusters.await_health();

    clusters.untracked_packets_are_dropped(&server);
    clusters.a_standby_forwards_nothing(&server);

    // This one is mended where it is.
    let gateway = format!("west/{}", lab.active_gateway("west"));
    lab.lab("fault", &["add", &gateway, "--no-forwarding"]);
    wait("forwarding to be on again", || {
        let forwarding = lab.exec(&gateway, &["sysctl", "-n", "net.ipv4.ip_forward"]);
        (forwarding.trim() == "1").then_some(())
    });
    wait("answers to arrive as before", || {
        clusters.fetches(&server).then_some(())
    });
}

/// What the test asks of its lab.
struct Clusters(Lab);

impl Clusters {
    /// A firewall that accepts what connection tracking knows lets no packet of a pod pass.
    fn untracked_packets_are_dropped(&self, server: &str) {
        let broken = self.0.active_gateway("west");
        let place = format!("west/{broken}");
        self.0.lab("fault", &["add", &place, "--drop-untracked"]);
        let message = wait("the firewall to be told of", || {
            let (reason, message) = self.reason_of(&broken)?;
            (reason == "UntrackedDropped").then_some(message)
        });
        assert!(message.contains(&format!("west.{broken}")), "{message}");
        wait("the other gateway to be the active one", || {
            (self.0.active_gateway("west") != broken).then_some(())
        });
        wait("answers to arrive by the gateway without a firewall", || {
            self.fetches(server).then_some(())
        });
        self.0.lab("fault", &["clear", &place]);
        self.await_health();
    }

    /// It says so before it is needed, and traffic goes on by the active one.
    fn a_standby_forwards_nothing(&self, server: &str) {
        let active = self.0.active_gateway("west");
        let gateways = ["west-gw1", "west-gw2"];
        let standby = gateways.into_iter().find(|gateway| *gateway != active).expect("two");
        let place = format!("west/{standby}");
        self.0.lab("fault", &["add", &place, "--drop-larger", "1"]);
        wait("the standby to be called broken", || {
            self.reason_of(standby)
                .filter(|(reason, _)| reason == "ForwardingBroken")
        });
        assert_eq!(self.0.active_gateway("west"), active, "the role stays where it is");
        assert_eq!(self.reason_of(&active), None);
        assert!(self.fetches(server));
        self.0.lab("fault", &["clear", &place]);
        self.await_health();
    }

    fn await_health(&self) {
        wait("all to be well again", || {
            let status = self.0.try_tombolo("east", &["show", "connections"]);
            status.status.success().then_some(())
        });
    }

    /// What any gateway of east says of its cable to this gateway of west: reason and message.
    fn reason_of(&self, gateway: &str) -> Option<(String, String)> {
        let shown = self.0.try_tombolo("east", &["show", "connections", "-o", "json"]);
        let shown: Value = serde_json::from_slice(&shown.stdout).ok()?;
        let connections = shown["connections"].as_array()?.iter();
        let mut wanted = connections.filter(|connection| connection["remoteGateway"] == gateway);
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

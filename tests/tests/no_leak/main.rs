//! Nothing of the clusters' own prefixes ever passes the internet but inside a cable, whatever is killed, cut or drained; and where there
//! is no way, connecting fails at once. One lab goes through all of it, under traffic both ways, while a packet socket on the
//! internet's router watches.

mod capture;
mod ground;

use capture::Capture;
use ground::{Ground, eventually};

#[test]
fn nothing_leaves_unencrypted_whatever_fails() {
    if tests::must_skip() {
        return;
    }
    let mut lab = Ground::up("fltleak");
    let east = lab.lab().pod("east", "leak-server", "east-w1", "lab/echo");
    let west = lab.lab().pod("west", "leak-server", "west-w1", "lab/echo");
    lab.lab().pod("east", "leak-client", "east-w1", "lab/pause");
    lab.lab().pod("west", "leak-worker", "west-w1", "lab/pause");
    lab.lab().pod("west", "leak-gateway", "west-gw1", "lab/pause");
    let capture = Capture::start(&lab.namespace("internet"), lab.private_prefixes());
    // Pods on a worker and on a gateway, and a node itself.
    for client in ["west/default/leak-worker", "west/default/leak-gateway", "west/w1"] {
        lab.send(client, &east);
    }
    lab.send("east/default/leak-client", &west);
    let scene = Scene {
        lab,
        capture,
        east,
        west,
    };
    scene.traffic_flows("before anything fails");

    scene.a_gateway_agent_is_killed();
    scene.a_gateway_node_is_cut();
    scene.a_gateway_is_drained();
    scene.no_api_server_answers();
    scene.the_path_is_bad();
    scene.all_gateways_freeze();
    scene.a_cluster_is_cut_off();
    scene.a_member_leaves_and_comes_back();
    scene.a_member_is_evicted();
    scene.the_capture_would_have_seen_it();
}

struct Scene {
    lab: Ground,
    capture: Capture,
    /// A server there.
    east: String,
    /// And one there.
    west: String,
}

impl Scene {
    fn a_gateway_agent_is_killed(&self) {
        for cluster in ["west", "east"] {
            let gateway = self.lab.lab().active_gateway(cluster);
            self.lab.run(&["kill", &format!("{cluster}/{gateway}/gateway-agent")]);
            self.traffic_flows(&format!("{cluster}'s active gateway agent was killed"));
        }
        // Both at once: nobody is left to choose.
        for gateway in ["gw1", "gw2"] {
            self.lab.run(&["kill", &format!("west/{gateway}/gateway-agent")]);
        }
        self.traffic_flows("both of west's gateway agents were killed");
        self.lab.run(&["kill", "west/w1/route-agent"]);
        self.traffic_flows("a route agent was killed");
    }

    fn a_gateway_node_is_cut(&self) {
        let gateway = format!("east/{}", self.lab.lab().active_gateway("east"));
        self.lab.run(&["cut", &gateway]);
        self.traffic_flows("east's active gateway node was cut off");
        self.lab.run(&["heal", &gateway]);
        self.traffic_flows("it came back");
    }

    fn a_gateway_is_drained(&self) {
        let gateway = self.lab.lab().active_gateway("west");
        self.lab.lab().drain("west", &gateway);
        self.traffic_flows("west's active gateway was drained");
    }

    fn no_api_server_answers(&self) {
        for server in ["broker", "west/api", "east/api"] {
            self.lab.run(&["kill", server]);
        }
        self.traffic_flows("API servers and broker were killed");
        self.lab.run(&["kill", "west/gw1/gateway-agent"]);
        self.traffic_flows("a gateway was killed meanwhile");
        for server in ["broker", "west/api", "east/api"] {
            self.lab.run(&["start", server]);
        }
        self.traffic_flows("API servers and broker came back");
    }

    fn the_path_is_bad(&self) {
        let fault = [
            "fault",
            "add",
            "west",
            "--loss",
            "20",
            "--reorder",
            "10",
            "--delay",
            "20ms",
        ];
        self.lab.run(&fault);
        self.traffic_flows("a fifth of all packets is lost");
        self.lab.run(&["fault", "clear"]);
        self.traffic_flows("the path is good again");
    }

    fn all_gateways_freeze(&self) {
        let agents = ["east/gw1/gateway-agent", "east/gw2/gateway-agent"];
        for agent in agents {
            self.lab.run(&["fault", "add", agent, "--freeze"]);
        }
        self.connecting_fails_at_once("all of east's gateways hang");
        self.lab.run(&["fault", "clear"]);
        self.traffic_flows("they go on");
    }

    fn a_cluster_is_cut_off(&self) {
        self.lab.run(&["cut", "east"]);
        self.connecting_fails_at_once("east was cut off");
        self.lab.run(&["heal", "east"]);
        self.traffic_flows("east came back");
    }

    fn a_member_leaves_and_comes_back(&self) {
        // One node does not get clean, so the others are for as long as this looks, while a pod on it goes on sending.
        self.lab.run(&["fault", "add", "east/w1/route-agent", "--freeze"]);
        let leave = self
            .lab
            .lab()
            .tombolo_command("east", &["leave", "--timeout", "2m"])
            .spawn();
        let mut leave = leave.expect("tombolo runs");
        for gateway in ["east/gw1", "east/gw2"] {
            eventually(&format!("{gateway} to be clean"), || {
                let links = self.lab.lab().exec(gateway, &["ip", "-o", "link"]);
                match links.contains("tombolo") {
                    true => Err(links),
                    false => Ok(()),
                }
            });
        }
        self.connecting_fails_at_once("east leaves");
        self.lab.run(&["fault", "clear"]);
        assert!(leave.wait().expect("tombolo ends").success(), "east has left");

        // Until it is back, its prefixes are nobody's: packets for them go where the network sends them.
        let token = self.lab.lab().broker(&["invite", "east", "--again"]);
        self.lab.lab().tombolo("east", &["join", token.trim()]);
        for from in [CLIENT, "west/default/client-gateway", "west/w1", "west/gw1"] {
            eventually(&format!("{from} to reach east again"), || {
                self.lab.connect(from, &self.east)
            });
        }
        eventually("east to reach west again", || {
            self.lab.connect("east/default/leak-client", &self.west)
        });
        self.capture.take_leaks();
        self.traffic_flows("east was back");
    }

    fn a_member_is_evicted(&self) {
        self.lab.lab().broker(&["evict", "east"]);
        self.connecting_fails_at_once("east was evicted");
    }

    /// The host of an API server is no node: what it sends to a pod goes the default way.
    fn the_capture_would_have_seen_it(&self) {
        eventually("a packet that is sent in the clear to be seen", || {
            let _ = self.lab.connect("west", &self.east);
            match self.capture.take_leaks().is_empty() {
                true => Err("nothing is seen".to_owned()),
                false => Ok(()),
            }
        });
    }

    /// Awaits an answer, and that nothing leaked until then.
    fn traffic_flows(&self, when: &str) {
        eventually(&format!("traffic when {when}"), || self.lab.connect(CLIENT, &self.east));
        let before = self.capture.cable_packets();
        eventually("packets of cables", || match self.capture.cable_packets() > before {
            true => Ok(()),
            false => Err("none is seen".to_owned()),
        });
        self.nothing_leaked(when);
    }

    /// Awaits that connecting is refused, from then on every time: a node by its own routes, a pod by its node.
    fn connecting_fails_at_once(&self, when: &str) {
        let is_refused = |from: &str| match self.lab.connect(from, &self.east) {
            Err(error)
                if ["refused", "nreachable", "No route to host"]
                    .iter()
                    .any(|why| error.contains(why)) =>
            {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        };
        let clients = [CLIENT, "west/default/client-gateway", "west/w1", "west/gw1"];
        for from in clients {
            eventually(&format!("{from} to be refused when {when}"), || is_refused(from));
        }
        for from in clients {
            for _ in 0..5 {
                assert_eq!(is_refused(from), Ok(()), "{from}, when {when}");
            }
        }
        self.nothing_leaked(when);
    }

    fn nothing_leaked(&self, when: &str) {
        let leaks = self.capture.take_leaks();
        let first = &leaks[..leaks.len().min(5)];
        assert!(
            leaks.is_empty(),
            "{} packets left unencrypted when {when}, such as {first:?}",
            leaks.len()
        );
    }
}

const CLIENT: &str = "west/default/client-worker";

//! What can go wrong around a join, and on a node, in one lab. What needs no lab is tested beside the code, and what needs two joined
//! clusters is stage 4 of the demo.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its world has failed")]

use std::collections::BTreeMap;
use std::process::{Output, Stdio};

use tests::{Lab, check, read, said, wait};

/// Of neither cluster in truth; both say it is theirs.
const PREFIX: &str = "10.99.0.0/16";
const CLUSTERS: [&str; 2] = ["east", "west"];

#[test]
fn joins_that_cannot_succeed_say_why_and_a_node_without_nft_is_named() {
    if tests::must_skip() {
        return;
    }
    let lab = Lab::up("e2ebad");
    let tokens = CLUSTERS.map(|cluster| lab.broker(&["invite", cluster]).trim().to_owned());

    a_broker_that_drops_packets_is_named(&lab, &tokens[0]);
    let [winner, loser] = one_of_two_claims_of_a_prefix_wins(&lab, &tokens);
    the_loser_mends_it(&lab, loser);
    nft_that_is_gone_is_a_condition_until_it_is_back(&lab, winner);
}

fn a_broker_that_drops_packets_is_named(lab: &Lab, token: &str) {
    lab.lab("cut", &["broker"]);
    let output = lab.try_tombolo("east", &["join", token]);
    lab.lab("heal", &["broker"]);
    let address = format!("https://{}:6443", lab.broker_address());
    assert!(!output.status.success());
    assert!(said(&output).contains(&address), "{}", said(&output));
    let namespaces = lab.kubectl("east", &["get", "namespaces", "-o", "name"]);
    assert!(!namespaces.contains("tombolo-system"), "{namespaces}");
}

/// Returns who won and who lost.
fn one_of_two_claims_of_a_prefix_wins(lab: &Lab, tokens: &[String; 2]) -> [&'static str; 2] {
    let joins = [0, 1].map(|index| {
        let mut join = lab.tombolo_command(CLUSTERS[index], &["join", &tokens[index], "--pod-prefix", PREFIX]);
        join.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        join.spawn().unwrap()
    });
    let outputs: Vec<Output> = joins.into_iter().map(|join| join.wait_with_output().unwrap()).collect();
    let succeeded = outputs.iter().position(|output| output.status.success());
    let winner = succeeded.unwrap_or_else(|| panic!("nobody won: {}{}", said(&outputs[0]), said(&outputs[1])));
    let loser = 1 - winner;
    let why = said(&outputs[loser]);
    assert!(!outputs[loser].status.success(), "both won: {why}");
    assert!(why.contains(PREFIX) && why.contains(CLUSTERS[winner]), "{why}");

    let (winner, loser) = (CLUSTERS[winner], CLUSTERS[loser]);
    for side in CLUSTERS {
        wait(&format!("{side} to know who has the prefix"), || {
            let accepted = accepted(lab, side);
            let of = |cluster: &str| accepted.get(cluster).map(String::as_str);
            (of(winner)?.starts_with("True") && of(loser)? == "False PrefixOverlap").then_some(())
        });
    }
    // The winner's own pods have these addresses. The loser is where a wrong verdict would lead packets to.
    for node in ["gw1", "gw2", "w1"] {
        let routes = lab.exec(&format!("{winner}/{node}"), &["ip", "route", "show", "table", "all"]);
        let prefix = PREFIX.split('/').next().unwrap();
        assert!(!routes.contains(prefix), "{winner}/{node}:\n{routes}");
    }
    [winner, loser]
}

/// `Accepted` of every cluster that this one knows, as status and reason.
fn accepted(lab: &Lab, side: &str) -> BTreeMap<String, String> {
    let clusters = read(&lab.kubectl(
        side,
        &["get", "clusters.tombolo.dev", "-n", "tombolo-system", "-o", "json"],
    ));
    let mut accepted = BTreeMap::new();
    for cluster in clusters["items"].as_array().unwrap() {
        let id = cluster["spec"]["clusterId"].as_str().unwrap().to_owned();
        let conditions = cluster["status"]["conditions"].as_array().into_iter().flatten();
        for condition in conditions.filter(|condition| condition["type"] == "Accepted") {
            let word = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            accepted.insert(id.clone(), format!("{} {}", word("status"), word("reason")));
        }
    }
    accepted
}

fn the_loser_mends_it(lab: &Lab, loser: &str) {
    lab.tombolo(loser, &["leave"]);
    let token = lab.broker(&["invite", loser, "--again"]);
    lab.tombolo(loser, &["join", token.trim()]);
}

fn nft_that_is_gone_is_a_condition_until_it_is_back(lab: &Lab, cluster: &str) {
    let agent = agent_process(lab, cluster);
    let nft = check(
        std::process::Command::new("sh")
            .args(["-c", "command -v nft"])
            .output()
            .unwrap(),
    );
    let folder = nft.trim().trim_end_matches("/nft");
    // The agent's container has mounts of its own.
    let in_container = |program: &[&str]| {
        let mut command = std::process::Command::new("nsenter");
        check(command.args(["-t", &agent, "-m", "--"]).args(program).output().unwrap());
    };
    in_container(&["mount", "-t", "tmpfs", "none", folder]);
    // The agent has no reason to call nft while the rules are as they should be.
    lab.exec(&format!("{cluster}/w1"), &["nft", "delete", "table", "inet", "tombolo"]);
    wait("a condition that names nft", || {
        let (status, message) = nftables_unavailable(lab, cluster)?;
        (status == "True" && message.contains("nft") && message.contains("w1")).then_some(())
    });
    in_container(&["/bin/umount", folder]);
    wait("the condition to go", || {
        (nftables_unavailable(lab, cluster)?.0 == "False").then_some(())
    });
}

/// The process of the worker's route agent.
fn agent_process(lab: &Lab, cluster: &str) -> String {
    let status = lab.lab("status", &[]);
    let lines = status
        .lines()
        .skip_while(|line| !line.starts_with(&format!("cluster {cluster}")));
    let on_worker = lines.skip_while(|line| !line.trim_start().starts_with(&format!("{cluster}-w1")));
    let agent = on_worker
        .into_iter()
        .find(|line| line.contains("route-agent"))
        .unwrap_or_else(|| panic!("no route agent:\n{status}"));
    agent.rsplit_once("pid ").unwrap().1.trim().to_owned()
}

fn nftables_unavailable(lab: &Lab, cluster: &str) -> Option<(String, String)> {
    let agents = read(&lab.kubectl(
        cluster,
        &["get", "routeagents.tombolo.dev", "-n", "tombolo-system", "-o", "json"],
    ));
    let of_worker = agents["items"]
        .as_array()?
        .iter()
        .find(|agent| agent["metadata"]["name"] == format!("{cluster}-w1"))?;
    let conditions = of_worker["status"]["conditions"].as_array()?;
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == "NftablesUnavailable")?;
    let word = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
    Some((word("status"), word("message")))
}

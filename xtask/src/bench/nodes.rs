//! `cargo xtask bench nodes`: what the nodes of its own cluster cost one gateway.
//!
//! Every node probes every gateway of its cluster over the VXLAN, ten times a second the one that it uses. Here the gateway's answering end
//! runs alone in a network namespace, and all nodes in one process in another, each with an address of its own. All use this
//! gateway. When all are answered, the gateway is watched for a while.

use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Args;
use model::names::{VXLAN_LINK, VXLAN_PORT, VXLAN_VNI};

use super::dataplane::ground::{Ground, Place};
use super::dataplane::tools;
use super::proc::{cpu_seconds, peak_rss_mb};
use super::told::{has_told, tell, wait};
use crate::report::Report;
use crate::repository;

/// Measures one gateway with many nodes.
#[derive(Debug, Args)]
pub(crate) struct Nodes {
    /// Nodes that use the one gateway
    #[arg(long, default_value_t = 1000)]
    nodes: u16,
    /// How often
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Seconds for which it is watched
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Use this build of gateway-agent's example `nodes` instead of a release build
    #[arg(long, value_name = "FILE")]
    program: Option<String>,
}

impl Nodes {
    pub(crate) fn run(self) -> anyhow::Result<Report> {
        let mut report = Report::new("bench nodes");
        report.rounds(self.rounds);
        let program = match &self.program {
            Some(program) => program.clone(),
            None => tools::example_of("gateway-agent", "nodes").context("cannot build the answering end")?,
        };
        for _ in 0..self.rounds {
            self.measure(&program, &mut report)?;
        }
        report.ok = true;
        Ok(report)
    }

    fn measure(&self, program: &str, report: &mut Report) -> anyhow::Result<()> {
        let ground = Ground::build()?;
        self.lay_vxlan(&ground)?;
        let folder = repository::target_directory().join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let told = folder.join("nodes.txt");
        let count = self.nodes.to_string();
        let gateway = ground.start(Place::West, program, &["gateway"])?;
        let nodes = tell(
            ground.command(Place::East, program, &["nodes", "--count", &count]),
            &told,
        )?;
        wait("all nodes to be answered", || has_told(&told, &count))?;

        let before = (cpu_seconds(gateway.pid())?, answers(gateway.pid())?);
        std::thread::sleep(Duration::from_secs(self.seconds.into()));
        let (cpu, sent) = (
            cpu_seconds(gateway.pid())? - before.0,
            answers(gateway.pid())? - before.1,
        );
        let rss = peak_rss_mb(gateway.pid())?;
        ensure!(has_told(&told, &count), "some nodes are not answered any more");
        let seconds = f64::from(self.seconds);
        let mut figure = |name: &str, unit, value| report.figure(&format!("nodes{count}_{name}"), unit, &[value]);
        figure("answers_per_s", "1/s", sent / seconds);
        figure("cpu_percent", "% of a core", cpu / seconds * 100.0);
        figure("cpu_us_per_answer", "us", cpu / sent * 1e6);
        figure("rss_mb", "MB", rss);
        drop((nodes, gateway));
        fs::remove_dir_all(&folder)?;
        Ok(())
    }

    /// A VXLAN between the two. The far end has an address for each node, and the near end knows all of them, as route agents see to.
    fn lay_vxlan(&self, ground: &Ground) -> anyhow::Result<()> {
        for (place, link, mac) in [(Place::West, "wan-e", GATEWAY_MAC), (Place::East, "wan-w", NODES_MAC)] {
            let (local, remote) = (place.underlay(), place.opposite().underlay());
            ground.ip(
                place,
                &format!(
                    "link add {VXLAN_LINK} address {mac} type vxlan id {VXLAN_VNI} dstport {VXLAN_PORT} local {local} \
                     remote {remote} dev {link} nolearning"
                ),
            )?;
            ground.ip(place, &format!("link set {VXLAN_LINK} up"))?;
        }
        let (mut nodes, mut neighbours) = (String::new(), String::new());
        for number in 1..=self.nodes {
            writeln!(nodes, "address add fe80::1:{number:x}/64 dev {VXLAN_LINK} nodad")?;
            writeln!(
                neighbours,
                "neighbour add fe80::1:{number:x} lladdr {NODES_MAC} dev {VXLAN_LINK} nud permanent"
            )?;
        }
        writeln!(neighbours, "address add {GATEWAY}/64 dev {VXLAN_LINK} nodad")?;
        writeln!(
            nodes,
            "neighbour add {GATEWAY} lladdr {GATEWAY_MAC} dev {VXLAN_LINK} nud permanent"
        )?;
        batch(ground.command(Place::East, "ip", &["-batch", "-"]), &nodes)?;
        batch(ground.command(Place::West, "ip", &["-batch", "-"]), &neighbours)
    }
}

fn batch(mut command: Command, lines: &str) -> anyhow::Result<()> {
    let mut child = command.stdin(Stdio::piped()).spawn().context("cannot start ip")?;
    let mut input = child.stdin.take().context("ip has no input")?;
    input.write_all(lines.as_bytes())?;
    drop(input);
    let ended = child.wait()?;
    ensure!(ended.success(), "ip -batch failed: {ended}");
    Ok(())
}

/// Datagrams that were sent over IPv6 in the namespace of a process, ever.
fn answers(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp6")).context("the gateway has ended")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Udp6OutDatagrams"));
    let sent = line.context("no Udp6OutDatagrams in /proc/net/snmp6")?;
    sent.trim().parse().context("Udp6OutDatagrams")
}

/// The gateway's end of the VXLAN, as the example expects it.
const GATEWAY: &str = "fe80::1";
const GATEWAY_MAC: &str = "02:00:5e:00:53:01";
const NODES_MAC: &str = "02:00:5e:00:53:02";

//! What breaks, and how it is mended.

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde_json::Value;

use super::active_gateway;
use crate::demo::lab::Lab;

/// One kind of trial. Its fault is on the active gateway of one of the clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Event {
    /// SIGKILL to the gateway agent; its node stays
    KillProcess,
    /// The node loses its network
    CutNode,
    /// The gateway agent's pod is deleted
    Drain,
    /// SIGKILL to the gateway agent while all API servers and the broker are down
    KillProcessApiDown,
    /// The gateway's node stops forwarding; everything else goes on
    GrayForwarding,
    /// The gateway's node loses what is large, and nothing else
    GrayLargePackets,
    /// Nothing arrives any more at one lane's own port
    LaneDead,
    /// Packets above 1,300 bytes vanish on the way, without a word
    MtuDrop,
}

impl Event {
    pub(crate) const ALL: [Self; 8] = [
        Self::KillProcess,
        Self::CutNode,
        Self::Drain,
        Self::KillProcessApiDown,
        Self::GrayForwarding,
        Self::GrayLargePackets,
        Self::LaneDead,
        Self::MtuDrop,
    ];

    /// As figures are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KillProcess => "kill_process",
            Self::CutNode => "cut_node",
            Self::Drain => "drain",
            Self::KillProcessApiDown => "kill_process_api_down",
            Self::GrayForwarding => "gray_forwarding",
            Self::GrayLargePackets => "gray_large_packets",
            Self::LaneDead => "lane_dead",
            Self::MtuDrop => "mtu_drop",
        }
    }

    pub(crate) fn aim_ms(self) -> f64 {
        match self {
            Self::KillProcess | Self::KillProcessApiDown => 500.0,
            Self::CutNode => 700.0,
            // No packet lost is no gap.
            Self::Drain => 1.0,
            Self::GrayForwarding | Self::GrayLargePackets | Self::LaneDead => 1500.0,
            Self::MtuDrop => 3000.0,
        }
    }

    /// Size of the messages of its streams.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::GrayLargePackets => 1200,
            Self::MtuDrop => 1350,
            _ => 64,
        }
    }

    /// How many streams of datagrams, each of its own port, and so of the lane that falls to it.
    pub(crate) fn streams(self) -> usize {
        match self {
            Self::LaneDead => 8,
            _ => 1,
        }
    }

    /// What has to be there before the streams start: a relay in the path, which is not to be put in while they run.
    pub(crate) fn prepare(self, lab: &Lab) -> anyhow::Result<()> {
        if self == Self::MtuDrop {
            lab.lab("fault", &["add", "west", "--delay", "0ms"])?;
        }
        Ok(())
    }

    pub(crate) fn begin(self, lab: &Lab, cluster: &str, gateway: &str) -> anyhow::Result<()> {
        let node = format!("{cluster}/{gateway}");
        let agent = format!("{node}/gateway-agent");
        match self {
            Self::KillProcess => drop(lab.lab("kill", &[&agent])?),
            Self::CutNode => drop(lab.lab("cut", &[&node])?),
            Self::Drain => delete_agent(lab, cluster, gateway)?,
            Self::KillProcessApiDown => {
                for process in ["broker", "west/api", "east/api"] {
                    lab.lab("kill", &[process])?;
                }
                lab.lab("kill", &[&agent])?;
            }
            Self::GrayForwarding => drop(lab.lab("fault", &["add", &node, "--no-forwarding"])?),
            Self::GrayLargePackets => drop(lab.lab("fault", &["add", &node, "--drop-larger", "1000"])?),
            Self::LaneDead => {
                // One of the two ends began the lane, and its own port is what the lane goes by.
                for cluster in ["west", "east"] {
                    let node = format!("{cluster}/{}", active_gateway(lab, cluster)?);
                    lab.lab("fault", &["add", &node, "--drop-port", &lane_port(lab, &node)?])?;
                }
            }
            Self::MtuDrop => drop(lab.lab("fault", &["add", "west", "--mtu", "1300", "--no-icmp"])?),
        }
        Ok(())
    }

    pub(crate) fn undo(self, lab: &Lab, cluster: &str, gateway: &str) -> anyhow::Result<()> {
        match self {
            Self::KillProcess | Self::Drain => {}
            Self::CutNode => drop(lab.lab("heal", &[&format!("{cluster}/{gateway}")])?),
            Self::KillProcessApiDown => {
                for process in ["west/api", "east/api"] {
                    lab.lab("start", &[process])?;
                }
                lab.start_broker()?;
            }
            Self::GrayForwarding | Self::GrayLargePackets => drop(lab.lab("fault", &["clear"])?),
            Self::LaneDead | Self::MtuDrop => {
                lab.lab("fault", &["clear"])?;
                for node in GATEWAYS {
                    // A new process measures the path anew, for which the one that runs would take ten minutes; and its lanes
                    // begin by their own ports, while those of the other end may have found another way.
                    lab.lab("kill", &[&format!("{node}/gateway-agent")])?;
                }
            }
        }
        Ok(())
    }
}

/// The port of its own that a gateway's second lane has.
fn lane_port(lab: &Lab, node: &str) -> anyhow::Result<String> {
    let sockets = lab.exec(node, &["ss", "-Hulnp"])?;
    let ports = sockets
        .lines()
        .filter(|line| line.contains("tombolo-gateway"))
        .filter_map(|line| line.split_whitespace().nth(3)?.strip_prefix("0.0.0.0:"));
    let port = ports.filter(|port| *port != "4510").min();
    Ok(port
        .with_context(|| format!("{node} has one lane:\n{sockets}"))?
        .to_owned())
}

/// Ends the agent the gentle way: its pod is deleted, and the DaemonSet makes another.
fn delete_agent(lab: &Lab, cluster: &str, gateway: &str) -> anyhow::Result<()> {
    let kubectl = ["kubectl", "--namespace", "tombolo-system"];
    let pods = lab.exec(cluster, &[&kubectl[..], &["get", "pods", "-o", "json"]].concat())?;
    let pods: Value = serde_json::from_str(&pods).context("kubectl prints JSON")?;
    let pods = pods["items"].as_array().into_iter().flatten();
    let name = pods
        .filter(|pod| pod["spec"]["nodeName"] == gateway)
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .find(|name| name.starts_with("tombolo-gateway-agent"));
    let name = name.with_context(|| format!("no gateway agent on {gateway}"))?;
    let said = lab.exec(
        cluster,
        &[&kubectl[..], &["delete", "pod", name, "--wait=false"]].concat(),
    )?;
    ensure!(said.contains("deleted"), "kubectl said {said}");
    Ok(())
}

const GATEWAYS: [&str; 4] = ["west/gw1", "west/gw2", "east/gw1", "east/gw2"];

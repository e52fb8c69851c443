//! What breaks, and how it is mended.

use anyhow::{Context, ensure};
use clap::ValueEnum;
use serde_json::Value;

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
    /// Datagrams above 1,300 bytes vanish on the way, without a word
    MtuDrop,
}

impl Event {
    pub(crate) const ALL: [Self; 6] = [
        Self::KillProcess,
        Self::CutNode,
        Self::Drain,
        Self::KillProcessApiDown,
        Self::GrayForwarding,
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
            Self::MtuDrop => "mtu_drop",
        }
    }

    pub(crate) fn aim_ms(self) -> f64 {
        match self {
            Self::KillProcess | Self::KillProcessApiDown => 500.0,
            Self::CutNode => 700.0,
            // No packet lost is no gap.
            Self::Drain => 1.0,
            Self::GrayForwarding => 1500.0,
            Self::MtuDrop => 3000.0,
        }
    }

    /// Size of the datagrams of its stream.
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::MtuDrop => 1350,
            _ => 64,
        }
    }

    pub(crate) fn begin(self, lab: &Lab, cluster: &str, gateway: &str) -> anyhow::Result<()> {
        let agent = format!("{cluster}/{gateway}/gateway-agent");
        match self {
            Self::KillProcess => drop(lab.lab("kill", &[&agent])?),
            Self::CutNode => drop(lab.lab("cut", &[&format!("{cluster}/{gateway}")])?),
            Self::Drain => delete_agent(lab, cluster, gateway)?,
            Self::KillProcessApiDown => {
                for process in ["broker", "west/api", "east/api"] {
                    lab.lab("kill", &[process])?;
                }
                lab.lab("kill", &[&agent])?;
            }
            Self::GrayForwarding => set_forwarding(lab, cluster, gateway, false)?,
            Self::MtuDrop => {
                // On both sides' gateways, so that it is the path that has become narrow, whichever gateways are in use.
                for node in GATEWAYS {
                    lab.exec(node, &["nft", BLACK_HOLE])?;
                }
            }
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
            Self::GrayForwarding => set_forwarding(lab, cluster, gateway, true)?,
            Self::MtuDrop => {
                for node in GATEWAYS {
                    lab.exec(node, &["nft", "delete table inet narrow"])?;
                    // A new process measures anew; waiting for the one that runs would take a minute.
                    lab.lab("kill", &[&format!("{node}/gateway-agent")])?;
                }
            }
        }
        Ok(())
    }
}

fn set_forwarding(lab: &Lab, cluster: &str, gateway: &str, on: bool) -> anyhow::Result<()> {
    let setting = format!("net.ipv4.ip_forward={}", u8::from(on));
    lab.exec(&format!("{cluster}/{gateway}"), &["sysctl", "-w", &setting])?;
    Ok(())
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
const BLACK_HOLE: &str = "add table inet narrow; add chain inet narrow in { type filter hook prerouting priority -400; }; \
                          add rule inet narrow in udp dport 4510 meta length > 1300 drop";

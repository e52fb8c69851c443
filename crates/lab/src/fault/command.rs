//! `tombolo lab fault add|list|clear`.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};

use super::Fault;
use crate::command::Output;
use crate::impair::{Impairment, NatKind, NatSettings, Percent, Rate, Settings, duration};
use crate::state::Lab;
use crate::target::Target;
use crate::topology::LabName;

/// Make something go wrong, see what does, and undo it.
#[derive(Debug, Args)]
pub struct Faults {
    /// The lab's name
    #[arg(long, global = true, default_value = "lab", env = "TOMBOLO_LAB")]
    name: LabName,
    #[command(subcommand)]
    command: FaultCommand,
}

/// What to do about faults.
#[derive(Debug, Subcommand)]
enum FaultCommand {
    /// Make something go wrong at a place; what is wrong there already stays
    #[command(after_help = ADD_EXAMPLES)]
    Add(Box<Add>),
    /// Show what is wrong on purpose
    #[command(after_help = "Examples:\n  tombolo lab fault list\n  tombolo lab fault list -o json")]
    List(List),
    /// Undo the faults of some places, or all of them
    #[command(after_help = "Examples:\n  tombolo lab fault clear\n  tombolo lab fault clear west east/gw1")]
    Clear(Clear),
}

/// A fault to make.
#[derive(Debug, Clone, Args)]
struct Add {
    /// For links: CLUSTER (its way to the internet), CLUSTER/NODE, CLUSTER/api or broker. For processes, as `lab kill` has them
    target: String,
    #[command(flatten)]
    link: LinkFault,
    /// The hosts of the cluster share its router's IPv4 address
    #[arg(long, value_name = "KIND", help_heading = LINK)]
    nat: Option<NatKind>,
    /// The node forwards nothing
    #[arg(long, help_heading = NODE)]
    no_forwarding: bool,
    /// The node forwards no packets larger than this
    #[arg(long, value_name = "BYTES", help_heading = NODE)]
    drop_larger: Option<u16>,
    /// The node receives nothing from or to this UDP port
    #[arg(long, value_name = "PORT", help_heading = NODE)]
    drop_port: Option<u16>,
    /// The node forwards only what connection tracking knows, as firewalls do that accept established connections
    #[arg(long, help_heading = NODE)]
    drop_untracked: bool,
    /// The process is stopped: it keeps its sockets and answers nothing
    #[arg(long, help_heading = "A process")]
    freeze: bool,
}

#[derive(Debug, Clone, Args)]
struct LinkFault {
    /// Only from the place, or only to it
    #[arg(long, value_name = "WAY", help_heading = LINK)]
    only: Option<Way>,
    /// Added to the way of each packet
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = LINK)]
    delay: Option<Duration>,
    /// Up to so much more; packets keep their order
    #[arg(long, value_name = "TIME", value_parser = duration, help_heading = LINK)]
    jitter: Option<Duration>,
    /// Share of packets that vanish
    #[arg(long, value_name = "PERCENT", help_heading = LINK)]
    loss: Option<Percent>,
    /// Share of packets that are held back for 10 ms, while others overtake them
    #[arg(long, value_name = "PERCENT", help_heading = LINK)]
    reorder: Option<Percent>,
    /// Share of packets that arrive twice
    #[arg(long, value_name = "PERCENT", help_heading = LINK)]
    duplicate: Option<Percent>,
    /// No more than this passes; up to 100 ms of it waits
    #[arg(long, value_name = "RATE", help_heading = LINK)]
    rate: Option<Rate>,
    /// Larger IP packets do not pass; their senders are told by ICMP, if they forbade fragments
    #[arg(long, value_name = "BYTES", help_heading = LINK)]
    mtu: Option<u16>,
    /// Nobody is told of the MTU
    #[arg(long, requires = "mtu", help_heading = LINK)]
    no_icmp: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// From the place
    Out,
    /// To the place
    In,
}

/// How to show faults.
#[derive(Debug, Clone, Args)]
struct List {
    /// Format
    #[arg(short, long, default_value = "text")]
    output: Output,
}

/// Which faults to undo.
#[derive(Debug, Clone, Args)]
struct Clear {
    /// Places; none means all
    targets: Vec<String>,
}

impl Faults {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let lab = Lab::open(&self.name)?;
        match self.command {
            FaultCommand::Add(command) => command.run(&lab).await,
            FaultCommand::List(command) => command.run(&lab),
            FaultCommand::Clear(command) => command.run(&lab).await,
        }
    }
}

impl Add {
    async fn run(self, lab: &Lab) -> anyhow::Result<()> {
        let impairment = self.link.impairment();
        let is_link = impairment != Impairment::default() || self.nat.is_some();
        let drops = self.drop_larger.is_some() || self.drop_port.is_some() || self.drop_untracked;
        ensure!(
            is_link || self.no_forwarding || drops || self.freeze,
            "nothing is to go wrong at '{}'; say what, such as --loss 2 or --freeze",
            self.target
        );
        let target = lab.place(&self.target, self.freeze)?;
        if self.no_forwarding || drops {
            // Refused before it is written down.
            lab.namespace_of_node(&target)?;
        }
        let mut fault = lab.fault(&target)?;
        if is_link {
            let mut settings = fault.link.unwrap_or_default();
            self.link.apply(&impairment, &mut settings);
            if let Some(kind) = self.nat {
                let outside = lab.outside_address(&target)?;
                settings.nat = Some(NatSettings { kind, outside });
            }
            fault.link = Some(settings);
        }
        fault.is_not_forwarding |= self.no_forwarding;
        fault.drops_larger = self.drop_larger.or(fault.drops_larger);
        fault.drops_port = self.drop_port.or(fault.drops_port);
        fault.drops_untracked |= self.drop_untracked;
        fault.is_frozen |= self.freeze;
        lab.remember_fault(&fault)?;
        if let Some(settings) = fault.link.as_ref().filter(|_| is_link) {
            lab.impair(&target, settings).await?;
        }
        if self.no_forwarding {
            lab.set_forwarding(&target, false)?;
        }
        if drops {
            lab.drop_packets(&fault).await?;
        }
        if self.freeze {
            lab.freeze(&target, true)?;
        }
        eprintln!("{fault}");
        Ok(())
    }
}

impl LinkFault {
    fn impairment(&self) -> Impairment {
        Impairment {
            delay: self.delay,
            jitter: self.jitter,
            loss: self.loss,
            reorder: self.reorder,
            duplicate: self.duplicate,
            rate: self.rate,
            mtu: self.mtu,
            is_silent: self.no_icmp,
        }
    }

    fn apply(&self, impairment: &Impairment, settings: &mut Settings) {
        if self.only != Some(Way::In) {
            settings.out = settings.out.clone().with(impairment);
        }
        if self.only != Some(Way::Out) {
            settings.into = settings.into.clone().with(impairment);
        }
    }
}

impl List {
    fn run(&self, lab: &Lab) -> anyhow::Result<()> {
        let faults = lab.faults()?;
        match self.output {
            Output::Text => faults.iter().for_each(|fault| println!("{fault}")),
            Output::Json => println!(
                "{}",
                serde_json::to_string_pretty(&faults).context("cannot write the faults as JSON")?
            ),
        }
        Ok(())
    }
}

impl Clear {
    async fn run(self, lab: &Lab) -> anyhow::Result<()> {
        let mut targets = Vec::new();
        for target in &self.targets {
            targets.push(lab.place(target, false).or_else(|_| lab.place(target, true))?);
        }
        let known = lab.faults()?;
        for fault in known
            .iter()
            .filter(|fault| targets.is_empty() || targets.contains(&fault.target))
        {
            lab.clear(fault).await?;
            eprintln!("{} is as it was", fault.target);
        }
        Ok(())
    }
}

impl Lab {
    async fn clear(&self, fault: &Fault) -> anyhow::Result<()> {
        let target = &fault.target;
        if fault.link.is_some() {
            self.stop_impairing(target).await?;
        }
        if fault.is_not_forwarding {
            self.set_forwarding(target, true)?;
        }
        if fault.drops() {
            let nothing = Fault {
                target: target.clone(),
                ..Fault::default()
            };
            self.drop_packets(&nothing).await?;
        }
        if fault.is_frozen {
            // It may have been killed since, which needs no thawing.
            let _ = self.freeze(target, false);
        }
        self.forget_fault(target)
    }

    /// One name for one place: nodes by the short part of theirs.
    fn place(&self, text: &str, is_process: bool) -> anyhow::Result<String> {
        if is_process {
            return Ok(self.process_name(text));
        }
        let target = Target::find(self, text, None)?;
        Ok(match target {
            Target::Api(cluster) if cluster != text => format!("{cluster}/api"),
            Target::Node { cluster, host } => {
                let short = host.strip_prefix(&format!("{cluster}-")).unwrap_or(&host);
                format!("{cluster}/{short}")
            }
            other => other.to_string(),
        })
    }
}

const LINK: &str = "A link";
const NODE: &str = "A node";

const ADD_EXAMPLES: &str = "\
Examples:
  tombolo lab fault add west --delay 150ms --loss 2 --reorder 1     300 ms more round trip, 2 % lost each way
  tombolo lab fault add west --only in --loss 100                   west hears nobody, and is heard
  tombolo lab fault add west --rate 10mbit --jitter 5ms
  tombolo lab fault add west --mtu 1300 --no-icmp                   a black hole for large packets
  tombolo lab fault add west --nat symmetric
  tombolo lab fault add east/gw1 --no-forwarding                    the gateway looks fine and forwards nothing
  tombolo lab fault add east/gw1 --drop-larger 1000
  tombolo lab fault add east/gw1 --drop-untracked                   a firewall that gateways' untracked transit does not pass
  tombolo lab fault add east/gw1 --drop-port 4510                   no cable that others began reaches the gateway
  tombolo lab fault add east/gw1/gateway-agent --freeze
  tombolo lab fault add east/api --freeze";

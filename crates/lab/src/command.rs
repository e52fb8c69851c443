//! `tombolo lab …`: the commands for people, and, hidden, the roles that the lab's own processes play.

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};

use crate::state::Lab;
use crate::target::Target;
use crate::topology::{IpFamily, LabName, Options, Topology};
use crate::{
    api_server, apply, cluster_dns, container, controllers, down, enter, external, fault, impair, kubelet, proxy, up,
    workload,
};

/// Kubernetes clusters made of network namespaces, on this machine.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Make a lab: clusters, a broker's host, and a routed internet between them
    #[command(after_help = UP_EXAMPLES)]
    Up(Up),
    /// Remove a lab: processes, namespaces, mounts, files
    #[command(after_help = "Examples:\n  tombolo lab down\n  tombolo lab down --name second")]
    Down(Name),
    /// Show what there is of a lab
    #[command(after_help = "Examples:\n  tombolo lab status\n  tombolo lab status -o json")]
    Status(Status),
    /// Run a command at a place of a lab
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(Exec),
    /// Take a host off its network, or a cluster off the internet
    #[command(
        after_help = "Examples:\n  tombolo lab cut east/gw1\n  tombolo lab cut east/api\n  tombolo lab cut west      the whole cluster"
    )]
    Cut(Host),
    /// Undo a cut
    #[command(after_help = "Examples:\n  tombolo lab heal east/gw1\n  tombolo lab heal west")]
    Heal(Host),
    /// Kill a process without warning
    #[command(after_help = KILL_EXAMPLES)]
    Kill(Process),
    /// Start a killed process again, or something new on a host
    #[command(after_help = START_EXAMPLES)]
    Start(Start),
    /// Make something go wrong, see what does, and undo it
    Fault(fault::command::Faults),
    /// Print the log of a process or a container
    #[command(
        after_help = "Examples:\n  tombolo lab logs east/api\n  tombolo lab logs east/gw1/kubelet -f\n  tombolo lab logs east/shop/cart"
    )]
    Logs(Logs),
    /// Apply manifests to a cluster, as kubectl would, and wait for their pods
    #[command(
        after_help = "Examples:\n  tombolo lab apply east -f shop.yaml --wait 30\n  cat shop.yaml | tombolo lab apply east"
    )]
    Apply(apply::Args),

    #[command(hide = true)]
    Apiserver(api_server::Args),
    #[command(hide = true)]
    Relay(external::relay::Args),
    #[command(hide = true)]
    Impair(impair::Args),
    #[command(hide = true)]
    Controllers(controllers::Args),
    #[command(hide = true)]
    Kubelet(kubelet::Args),
    #[command(hide = true)]
    Proxy(proxy::Args),
    #[command(hide = true)]
    ClusterDns(cluster_dns::Args),
    #[command(hide = true)]
    Echo(workload::echo::Args),
    #[command(hide = true)]
    Pause(workload::pause::Args),
    #[command(hide = true)]
    Fetch(workload::fetch::Args),
    #[command(hide = true)]
    Stream(workload::stream::Args),
    #[command(hide = true)]
    Container(container::Args),
    #[command(hide = true)]
    Enter(enter::Args),
}

/// Which lab.
#[derive(Debug, Clone, Args)]
pub struct Name {
    /// The lab's name
    #[arg(long, default_value = "lab", env = "TOMBOLO_LAB")]
    pub name: LabName,
}

/// What lab to make.
#[derive(Debug, Clone, Args)]
pub struct Up {
    #[command(flatten)]
    name: Name,
    /// Repeats the random choices of an earlier lab
    #[arg(long)]
    seed: Option<u64>,
    /// How many clusters, or their names
    #[arg(long, default_value = "east,west", value_name = "N|A,B,…")]
    clusters: String,
    /// Nodes per cluster that are meant to be gateways
    #[arg(long, default_value_t = 2, value_name = "N")]
    gateways: usize,
    /// Other nodes per cluster
    #[arg(long, default_value_t = 1, value_name = "N")]
    workers: usize,
    /// Address families of nodes, pods and Services
    #[arg(long, default_value = "v4")]
    ip_family: IpFamily,
    /// MTU of every link between hosts
    #[arg(long, default_value_t = 1500, value_name = "BYTES")]
    underlay_mtu: u16,
    /// Give all clusters the same pod and service prefixes, to see that refused
    #[arg(long)]
    overlap: bool,
    /// Use the API servers of the kubeconfigs in this folder: cluster1.kubeconfig is the first cluster's, and so on; one more
    /// is the broker's, which else shares the first
    #[arg(long, value_name = "DIR", conflicts_with_all = ["network_only", "overlap"])]
    kubeconfig_dir: Option<PathBuf>,
    /// Make the network only: no Kubernetes
    #[arg(long)]
    network_only: bool,
    /// Print the lab as JSON
    #[arg(long)]
    json: bool,
}

/// How to show a lab.
#[derive(Debug, Clone, Args)]
pub struct Status {
    #[command(flatten)]
    name: Name,
    /// Format
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// What to run, and where.
#[derive(Debug, Clone, Args)]
pub struct Exec {
    #[command(flatten)]
    name: Name,
    /// Which container of a pod; the first that runs if not given
    #[arg(short, long)]
    container: Option<String>,
    /// A place: broker, CLUSTER, CLUSTER/NODE or CLUSTER/NAMESPACE/POD
    target: String,
    /// Program and arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A host's link.
#[derive(Debug, Clone, Args)]
pub struct Host {
    #[command(flatten)]
    name: Name,
    /// broker, CLUSTER, CLUSTER/api or CLUSTER/NODE
    host: String,
}

/// A process.
#[derive(Debug, Clone, Args)]
pub struct Process {
    #[command(flatten)]
    name: Name,
    /// broker, CLUSTER/api, CLUSTER/controllers, CLUSTER/NODE/kubelet, CLUSTER/NODE/proxy or CLUSTER/NODE/CONTAINER
    process: String,
}

/// A process to start.
#[derive(Debug, Clone, Args)]
pub struct Start {
    #[command(flatten)]
    process: Process,
    /// What to run there, if it is something new
    #[arg(last = true)]
    command: Vec<String>,
}

/// A log.
#[derive(Debug, Clone, Args)]
pub struct Logs {
    #[command(flatten)]
    process: Process,
    /// Go on as the log grows
    #[arg(short, long)]
    follow: bool,
}

/// Does what the command says.
///
/// # Errors
/// When it cannot be done; the text says why and what helps.
pub async fn run(command: LabCommand) -> anyhow::Result<ExitCode> {
    match command {
        LabCommand::Up(command) => command.run().await?,
        LabCommand::Down(Name { name }) => {
            let was_there = down::down(&name).await?;
            eprintln!(
                "{}",
                if was_there {
                    format!("lab '{name}' is removed")
                } else {
                    format!("there is no lab '{name}'")
                }
            );
        }
        LabCommand::Status(command) => command.run()?,
        LabCommand::Exec(command) => return command.run().await,
        LabCommand::Cut(Host { name, host }) => Lab::open(&name.name)?.cut(&host).await?,
        LabCommand::Heal(Host { name, host }) => Lab::open(&name.name)?.heal(&host).await?,
        LabCommand::Kill(Process { name, process }) => {
            let count = Lab::open(&name.name)?.kill(&process).await?;
            eprintln!(
                "killed {count} process{} of '{process}'",
                if count == 1 { "" } else { "es" }
            );
        }
        LabCommand::Start(Start { process, command }) => {
            let is_new = Lab::open(&process.name.name)?
                .restart(&process.process, command)
                .await?;
            eprintln!(
                "'{}' {}",
                process.process,
                if is_new { "is started" } else { "runs already" }
            );
        }
        LabCommand::Fault(command) => command.run().await?,
        LabCommand::Logs(command) => return command.run().await,
        LabCommand::Apply(args) => apply::run(args).await?,
        role => play(role).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn play(role: LabCommand) -> anyhow::Result<()> {
    // These become other programs or talk to a person; they keep no log.
    match &role {
        LabCommand::Container(args) => match container::run(args)? {},
        LabCommand::Enter(args) => match enter::run(args)? {},
        LabCommand::Fetch(_) | LabCommand::Stream(_) => {}
        _ => daemon::init_logging(),
    }
    match role {
        LabCommand::Apiserver(args) => api_server::run(args).await,
        LabCommand::Relay(args) => external::relay::run(args).await,
        LabCommand::Impair(args) => impair::run(args).await,
        LabCommand::Controllers(args) => controllers::run(args).await,
        LabCommand::Kubelet(args) => kubelet::run(args).await,
        LabCommand::Proxy(args) => proxy::run(args).await,
        LabCommand::ClusterDns(args) => cluster_dns::run(args).await,
        LabCommand::Echo(args) => workload::echo::run(args).await,
        LabCommand::Pause(args) => workload::pause::run(args).await,
        LabCommand::Fetch(args) => workload::fetch::run(args).await,
        LabCommand::Stream(args) => workload::stream::run(args).await,
        _ => bail!("this command is no role"),
    }
}

impl Up {
    async fn run(self) -> anyhow::Result<()> {
        let seed = self.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
        let clusters = cluster_names(&self.clusters)?;
        let servers = match &self.kubeconfig_dir {
            Some(folder) => external::servers(folder, clusters.len(), self.ip_family).await?,
            None => Vec::new(),
        };
        let topology = Topology::generate(&Options {
            lab: self.name.name,
            seed,
            clusters,
            gateways: self.gateways,
            workers: self.workers,
            ip_family: self.ip_family,
            underlay_mtu: self.underlay_mtu,
            is_overlapping: self.overlap,
            servers,
        })?;
        let lab = up::up(topology, !self.network_only, |step| eprintln!("{step}")).await?;
        if self.json {
            println!(
                "{}",
                serde_json::to_string_pretty(&lab.status()?).context("cannot write the status as JSON")?
            );
        } else {
            print!("{}", lab.status()?);
        }
        Ok(())
    }
}

impl Status {
    fn run(&self) -> anyhow::Result<()> {
        let status = Lab::open(&self.name.name)?.status()?;
        match self.output {
            Output::Text => print!("{status}"),
            Output::Json => println!(
                "{}",
                serde_json::to_string_pretty(&status).context("cannot write the status as JSON")?
            ),
        }
        Ok(())
    }
}

impl Logs {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let lab = Lab::open(&self.process.name.name)?;
        let paths = lab.log_files(&self.process.process)?;
        let mut command = tokio::process::Command::new("tail");
        command.args(["-n", "+1"]).args(self.follow.then_some("-F")).args(paths);
        run_to_end(command).await
    }
}

impl Exec {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let lab = Lab::open(&self.name.name)?;
        let target = Target::find(&lab, &self.target, self.container.as_deref())?;
        run_to_end(lab.command(&target, &self.command)?).await
    }
}

/// The exit code is the command's own; 128 and the signal's number after a signal, as shells have it.
async fn run_to_end(mut command: tokio::process::Command) -> anyhow::Result<ExitCode> {
    use std::os::unix::process::ExitStatusExt;
    let status = command
        .stdin(Stdio::inherit())
        .status()
        .await
        .context("cannot start the command")?;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}

/// `3`, or names. The first two are those of every example.
fn cluster_names(text: &str) -> anyhow::Result<Vec<String>> {
    const NAMES: [&str; 4] = ["east", "west", "north", "south"];
    let Ok(count) = text.parse::<usize>() else {
        return Ok(text.split(',').map(|name| name.trim().to_owned()).collect());
    };
    // Far above what any lab has; Topology says what that is.
    let count = count.min(1000);
    Ok((0..count)
        .map(|index| {
            NAMES
                .get(index)
                .map_or_else(|| format!("c{}", index + 1), |name| (*name).to_owned())
        })
        .collect())
}

const UP_EXAMPLES: &str = "\
Examples:
  tombolo lab up
  tombolo lab up --clusters 3 --ip-family dual
  tombolo lab up --name second --clusters paris,oslo --underlay-mtu 1400
  tombolo lab up --seed 174                     the same lab again
  tombolo lab up --kubeconfig-dir ~/servers     on API servers that are there, instead of the embedded one";

const EXEC_EXAMPLES: &str = "\
Examples:
  tombolo lab exec east -- kubectl get nodes        with an administrator's KUBECONFIG
  tombolo lab exec east/gw1 -- ip route show table 174
  tombolo lab exec west/shop/client -- tombolo lab fetch --host cart.shop.svc.clusterset.local --port 8080
  tombolo lab exec broker -- tombolo broker invite east";

const KILL_EXAMPLES: &str = "\
Examples:
  tombolo lab kill east/api
  tombolo lab kill east/gw1/kubelet
  tombolo lab kill east/gw1/gateway-agent       its kubelet starts it again
  tombolo lab kill broker";

const START_EXAMPLES: &str = "\
Examples:
  tombolo lab start east/api
  tombolo lab start broker -- tombolo broker serve --data-dir /tmp/broker";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_counted_or_named() {
        assert_eq!(cluster_names("2").unwrap(), ["east", "west"]);
        assert_eq!(cluster_names("5").unwrap()[4], "c5");
        assert_eq!(cluster_names("paris, oslo").unwrap(), ["paris", "oslo"]);
    }

    #[test]
    fn the_commands_parse() {
        #[derive(Debug, clap::Parser)]
        struct Program {
            #[command(subcommand)]
            command: LabCommand,
        }
        use clap::{CommandFactory, Parser};
        Program::command().debug_assert();
        let parsed = Program::try_parse_from(["lab", "exec", "east/gw1", "--", "ip", "-o", "link"]).unwrap();
        let LabCommand::Exec(exec) = parsed.command else {
            panic!("exec is exec")
        };
        assert_eq!((exec.target.as_str(), exec.command.len()), ("east/gw1", 3));
        assert!(Program::try_parse_from(["lab", "up", "--name", "a-b"]).is_err());
    }
}

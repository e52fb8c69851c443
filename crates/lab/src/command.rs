//! `tombolo lab …`: the commands for people, and, hidden, the roles that the lab's own processes play.

mod up;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};

use self::up::Up;
use crate::state::Lab;
use crate::target::Target;
use crate::topology::LabName;
use crate::{
    api_server, apply, cluster_dns, container, controllers, down, enter, external, fault, feed, impair, kubelet, proxy,
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
    Connects(workload::connects::Args),
    #[command(hide = true)]
    Names(workload::names::Args),
    #[command(hide = true)]
    Feed(feed::Args),
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
        LabCommand::Exec(command) => return command.run(),
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
        LabCommand::Logs(command) => return command.run(),
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
        LabCommand::Fetch(_)
        | LabCommand::Stream(_)
        | LabCommand::Connects(_)
        | LabCommand::Names(_)
        | LabCommand::Feed(_) => {}
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
        LabCommand::Connects(args) => workload::connects::run(args).await,
        LabCommand::Names(args) => workload::names::run(args).await,
        LabCommand::Feed(args) => feed::run(args).await,
        _ => bail!("this command is no role"),
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
    fn run(self) -> anyhow::Result<ExitCode> {
        let lab = Lab::open(&self.process.name.name)?;
        let paths = lab.log_files(&self.process.process)?;
        let mut command = Command::new("tail");
        command.args(["-n", "+1"]).args(self.follow.then_some("-F")).args(paths);
        become_it(command)
    }
}

impl Exec {
    fn run(self) -> anyhow::Result<ExitCode> {
        let lab = Lab::open(&self.name.name)?;
        let target = Target::find(&lab, &self.target, self.container.as_deref())?;
        become_it(lab.command(&target, &self.command)?)
    }
}

/// Becomes the command, so that signals and the exit code are its own.
fn become_it(mut command: Command) -> anyhow::Result<ExitCode> {
    Err(command.exec()).context("cannot start the command")
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

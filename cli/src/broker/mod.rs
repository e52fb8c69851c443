//! `tombolo broker …`: the side that lets members in and throws them out.
//!
//! A broker is any Kubernetes API server with our four kinds. Each member has a namespace there, `tombolo-m-<cluster-id>`, where
//! it writes; it reads our kinds everywhere, and nothing else. The administrator's commands find the broker by kubeconfig.

pub mod backup;
pub mod evict;
pub mod install;
pub mod invite;
mod member;
pub mod peer;
pub mod restore;
pub mod serve;
pub mod status;

use clap::{Args, Subcommand};

use crate::connect::KubeTarget;

/// The broker of a clusterset.
#[derive(Debug, Args)]
pub struct Broker {
    #[command(flatten)]
    target: KubeTarget,
    #[command(subcommand)]
    command: BrokerCommand,
}

#[derive(Debug, Subcommand)]
enum BrokerCommand {
    /// Run a broker: an embedded API server with our kinds only, one process and one folder
    Serve(serve::Serve),
    /// Make a broker of any Kubernetes cluster
    Install(install::Install),
    /// Let a cluster in: prints the token that `tombolo join` takes
    Invite(invite::Invite),
    /// Let a stock WireGuard peer in: prints its configuration
    AddPeer(peer::AddPeer),
    /// Throw a member out, with or without its help
    Evict(evict::Evict),
    /// Save everything that an embedded broker holds, while it serves
    Backup(backup::Backup),
    /// Make an embedded broker's folder from a backup
    Restore(restore::Restore),
    /// Show the members and open invitations
    Status(status::Status),
}

impl Broker {
    /// Runs the command.
    ///
    /// # Errors
    /// As the command says.
    pub async fn run(&self) -> anyhow::Result<()> {
        match &self.command {
            BrokerCommand::Serve(serve) => serve.run().await,
            BrokerCommand::Install(install) => install.run(&self.target).await,
            BrokerCommand::Invite(invite) => invite.run(&self.target).await,
            BrokerCommand::AddPeer(add_peer) => add_peer.run(&self.target).await,
            BrokerCommand::Evict(evict) => evict.run(&self.target).await,
            BrokerCommand::Backup(backup) => backup.run(&self.target).await,
            BrokerCommand::Restore(restore) => restore.run(),
            BrokerCommand::Status(status) => status.run(&self.target).await,
        }
    }
}

//! The `tombolo` command: a person's way to join clusters, and to see what became of it.
//!
//! It is a client of API servers and nothing else. Every command reads objects, decides, and applies objects; what then happens to
//! packets is the agents' work, and what is shown of it is what they report. So every command can be run from anywhere, killed,
//! and run again.
//!
//! ```text
//!   broker serve ─▶ apiserver (embedded)          broker install|invite|evict|status ─▶ broker's API
//!
//!   join ──┬─▶ broker's API     token.rs, join/redeem.rs
//!          └─▶ cluster's API    join/prefixes.rs, join/gateways.rs, manifests.rs (all pure), apply.rs, dns/
//!   leave, export, show ─▶ cluster's API
//! ```
//!
//! What is decided is decided by pure functions over what was read ([`join::prefixes`], [`join::gateways`], [`join::wait`],
//! [`dns`]'s edits, [`show`]'s rows), so that it can be tested without a server. A report is a struct; [`output`] makes a table, JSON or YAML of it.
//!
//! Exit codes ([`exit`]): 0 done, 1 failed, 2 usage, 3 not everything is connected.

#![forbid(unsafe_code)]

pub mod apply;
pub mod broker;
mod completion;
pub mod connect;
pub mod diagnose;
pub mod dns;
pub mod duration;
pub mod exit;
pub mod export;
pub mod join;
pub mod leave;
pub mod manifests;
pub mod membership;
pub mod output;
pub mod progress;
pub mod show;
pub mod token;
pub mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Joins Kubernetes clusters at layer 3, and shows the state of every cable.
#[derive(Debug, Parser)]
#[command(
    name = "tombolo",
    version,
    after_help = "\
A first clusterset:
  tombolo broker serve --data-dir /var/lib/tombolo-broker --listen 192.0.2.1:6443
  tombolo broker invite east --kubeconfig /var/lib/tombolo-broker/admin.kubeconfig
  tombolo join <token>                        # with east's KUBECONFIG
  tombolo export service cart -n shop
  tombolo show gateways

Exit codes: 0 done, 1 failed, 2 usage, 3 not everything is connected."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The broker of a clusterset: serve, install, invite, evict, status
    Broker(broker::Broker),
    /// Make this cluster a member
    Join(Box<join::Join>),
    /// Take this cluster out again
    Leave(leave::Leave),
    /// Export a service to the clusterset
    Export(export::Export),
    /// Take an export back
    Unexport(export::Unexport),
    /// Show gateways, connections, services or clusters
    Show(show::Show),
    /// Find out why an exported service cannot be reached
    Diagnose(diagnose::Diagnose),
    /// Show versions
    Version(version::Version),
    /// Print a shell's completion script
    Completion(completion::Completion),
    /// Clusters made of network namespaces on this machine, to try things out (needs root)
    #[command(subcommand)]
    Lab(lab::command::LabCommand),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// With a text for a person.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Broker(broker) => broker.run().await?,
            Command::Join(join) => join.run().await?,
            Command::Leave(leave) => leave.run().await?,
            Command::Export(export) => export.run().await?,
            Command::Unexport(unexport) => unexport.run().await?,
            Command::Show(show) => show.run().await?,
            Command::Diagnose(diagnose) => diagnose.run().await?,
            Command::Version(version) => version.run().await?,
            Command::Completion(completion) => completion.run()?,
            Command::Lab(command) => return lab::command::run(command).await,
        }
        Ok(ExitCode::from(exit::OK))
    }
}

/// Parses the command line, runs the command, prints its error, and says how it went by the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    init_logging();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::from(exit::FAILED);
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(code) => code,
        Err(error) => {
            eprint!("{}", told(&error));
            ExitCode::from(exit::code_of(&error))
        }
    }
}

/// An error for a person: what happened first, then each cause that adds something, a line each.
fn told(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    let mut above = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !above.contains(&cause) {
            text.push_str(&format!("  because: {cause}\n"));
        }
        above = cause;
    }
    text
}

/// Logs are for whoever asks for them by RUST_LOG; what a person needs to know is printed.
fn init_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_of_ours_shows_examples() {
        fn walk(command: &clap::Command, path: &str, without: &mut Vec<String>) {
            let own = command.get_subcommands().filter(|sub| sub.get_name() != "help");
            let mut is_leaf = true;
            for sub in own {
                is_leaf = false;
                if !(path.is_empty() && sub.get_name() == "lab") {
                    walk(sub, &format!("{path} {}", sub.get_name()), without);
                }
            }
            if is_leaf
                && command
                    .get_after_help()
                    .is_none_or(|help| !help.to_string().contains("tombolo"))
            {
                without.push(path.to_owned());
            }
        }
        let mut without = Vec::new();
        walk(&Cli::command(), "", &mut without);
        assert_eq!(without, Vec::<String>::new());
    }

    #[test]
    fn the_command_tree_is_the_one_that_was_agreed() {
        fn walk(command: &clap::Command, path: &str, lines: &mut String) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                let path = format!("{path} {}", sub.get_name());
                lines.push_str(&format!("{path}: {}\n", sub.get_about().unwrap_or_default()));
                // The lab's own tree is the lab's to test.
                if sub.get_name() != "lab" {
                    walk(sub, &path, lines);
                }
            }
        }
        let mut lines = String::new();
        walk(&Cli::command(), "tombolo", &mut lines);
        assert_eq!(lines, include_str!("../tests/commands.txt"));
    }

    #[test]
    fn causes_are_told_a_line_each_and_never_twice() {
        let error = anyhow::anyhow!("disk full")
            .context("cannot write x: disk full")
            .context("cannot start");
        assert_eq!(
            told(&error),
            "error: cannot start\n  because: cannot write x: disk full\n"
        );
        let plain: anyhow::Result<()> = Err(anyhow::anyhow!("b")).context("a");
        assert_eq!(told(&plain.unwrap_err()), "error: a\n  because: b\n");
    }
}

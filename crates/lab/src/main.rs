//! The lab's roles as a program of their own, so that this crate can be tested without the rest of the workspace.
//! People use `tombolo lab`.

use std::process::ExitCode;

use clap::Parser;
use lab::command::{LabCommand, run};

#[derive(Debug, Parser)]
enum Program {
    /// Kubernetes clusters made of network namespaces
    #[command(subcommand)]
    Lab(LabCommand),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let Program::Lab(command) = Program::parse();
    run(command).await
}

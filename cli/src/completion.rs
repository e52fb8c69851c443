use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Prints a completion script.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tombolo completion bash > /etc/bash_completion.d/tombolo
  source <(tombolo completion zsh)
  tombolo completion fish > ~/.config/fish/completions/tombolo.fish")]
pub(crate) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        // Generated into memory first: clap_complete panics on a closed pipe.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "tombolo", &mut script);
        std::io::Write::write_all(&mut std::io::stdout(), &script)?;
        Ok(())
    }
}

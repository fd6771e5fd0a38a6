//! `throughline completions`: for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::{Exit, Failure};

/// Prints completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Example:
  throughline completions bash > /etc/bash_completion.d/throughline")]
pub(super) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut command = super::Cli::command();
    clap_complete::generate(arguments.shell, &mut command, "throughline", &mut std::io::stdout());
    Ok(Exit::Done)
}

//! `throughline completions`: for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::failure::{Exit, Failure};
use super::output::Stdout;

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
    // Not at once to stdout: it panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "throughline", &mut script);
    let mut out = Stdout::lock();
    out.text(&String::from_utf8_lossy(&script))?;
    out.finish()?;
    Ok(Exit::Done)
}

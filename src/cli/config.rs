//! `throughline config show`: the settings in force.

use clap::Subcommand;

use super::failure::{Exit, Failure};
use super::output::Stdout;
use crate::settings::Loaded;
use crate::telemetry::stderr::write_line;

/// Shows the settings in force
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// The effective settings, secrets masked, each with where it came from
    #[command(after_help = "Example:
  throughline config show --config production.toml")]
    Show {
        /// For programs: an array of objects.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &ConfigCommand, loaded: &Loaded) -> Result<Exit, Failure> {
    let ConfigCommand::Show { json } = *command;
    let mut out = Stdout::lock();
    match json {
        true => out.line(format_args!("{:#}", loaded.show_json()))?,
        false => out.text(&loaded.show())?,
    }
    out.finish()?;
    for warning in &loaded.warnings {
        write_line(format_args!("throughline: {warning}"));
    }
    Ok(Exit::Done)
}

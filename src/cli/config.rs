//! `throughline config show`: the settings in force.

use clap::{Args, Subcommand};

use super::failure::{Exit, Failure};
use crate::settings::Loaded;

/// Shows the settings in force
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The effective settings, secrets masked, each with where it came from
    #[command(after_help = "Example:
  throughline config show --config production.toml")]
    Show {
        /// For programs: an array of objects.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(arguments: &Arguments, loaded: &Loaded) -> Result<Exit, Failure> {
    let What::Show { json } = arguments.what;
    match json {
        true => println!("{:#}", loaded.show_json()),
        false => print!("{}", loaded.show()),
    }
    for warning in &loaded.warnings {
        eprintln!("throughline: {warning}");
    }
    Ok(Exit::Done)
}

//! `throughline rules`: what a rules file would change.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::failure::{Exit, Failure};
use super::output::Stdout;
use crate::app;
use crate::reload::{ReloadError, RulesSource};
use crate::settings::Settings;
use crate::settings::rules_file::{self, Change};

/// Compares rules files
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says in words what changes for whom
    ///
    /// Compares what the rules do, not how they are written, and tries the new ones on the case files
    /// that the setting rules.cases names. Exits with 1 if any of these cases fails, and with 64 if
    /// either file is no rules file.
    #[command(after_help = "Examples:
  throughline rules diff config/rules.toml new-rules.toml
  throughline rules diff --json old.toml new.toml | jq -r '.changes[].what'")]
    Diff(DiffArguments),
}

#[derive(Debug, Args)]
struct DiffArguments {
    /// The rules as they are.
    #[arg(value_name = "OLD")]
    old: PathBuf,
    /// The rules as they would be.
    #[arg(value_name = "NEW")]
    new: PathBuf,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

/// The names that a line holds at most; `--json` has all of them.
const NAMES_SHOWN: usize = 8;

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let Command::Diff(arguments) = &arguments.command;
    let load = |file: &PathBuf| rules_file::load(file).map_err(ReloadError::from);
    let (old, new) = (load(&arguments.old)?, load(&arguments.new)?);
    for warning in &new.warnings {
        tracing::warn!("rules: {warning}");
    }
    let (old, new) = (old.rules, new.rules);
    let changes = rules_file::changes(&old, &new);
    let mut out = Stdout::lock();
    if arguments.json {
        let document = serde_json::json!({
            "old": old.revision().as_str(), "new": new.revision().as_str(), "changes": changes,
        });
        out.line(format_args!("{document}"))?;
    } else {
        let revisions = (old.revision().as_str(), new.revision().as_str());
        out.line(format_args!("revision {} → {}", revisions.0, revisions.1))?;
        if changes.is_empty() {
            out.line(format_args!("nothing changes"))?;
        }
        let mut section = "";
        for change in &changes {
            if section != change.section {
                section = change.section;
                out.line(format_args!("\n{section}"))?;
            }
            out.line(format_args!("  {}: {}", named(change), change.what))?;
        }
    }
    out.finish()?;
    let source = RulesSource { file: arguments.new.clone(), ..app::rules_source(settings) };
    match source.load() {
        Ok(_) => Ok(Exit::Done),
        Err(ReloadError::Cases(failed)) => {
            let why = ReloadError::Cases(failed);
            Err(Failure::new(Exit::DoesNotHold, format_args!("failed to {why}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The names that a change affects; the first few of them.
fn named(change: &Change) -> String {
    match change.who.len().checked_sub(NAMES_SHOWN) {
        None | Some(0) => change.who.join(", "),
        Some(more) => format!("{} and {more} more", change.who[..NAMES_SHOWN].join(", ")),
    }
}

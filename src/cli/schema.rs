//! `throughline schema`: what messages and files may hold, for editors and other programs.

use clap::{Args, ValueEnum};

use super::Common;
use super::failure::{Exit, Failure};
use super::output::Stdout;
use crate::app;
use crate::broker;
use crate::settings::{self, rules_file};
use crate::telemetry::stderr::write_line;
use crate::{cases, formats};

/// Prints the schema of messages, of files, or of all that is at the broker
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline schema rules > rules.schema.json
  throughline schema asyncapi --config production.toml > asyncapi.json

docs/rules.md says how to give the schema of rules to an editor.")]
pub(super) struct Arguments {
    /// What is described.
    #[arg(value_enum, value_name = "WHAT")]
    name: SchemaName,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SchemaName {
    /// What is taken: our own format, bare or as a CloudEvent (JSON Schema)
    Inbound,
    /// What is published (JSON Schema)
    Enriched,
    /// A rules file (JSON Schema)
    Rules,
    /// A settings file (JSON Schema)
    Settings,
    /// A case file (JSON Schema)
    Cases,
    /// Exchanges, queues and messages under the settings in force (AsyncAPI 3.0)
    Asyncapi,
}

pub(super) fn run(arguments: &Arguments, common: &Common) -> Result<Exit, Failure> {
    let document = match arguments.name {
        SchemaName::Inbound => formats::schema::inbound(),
        SchemaName::Enriched => formats::schema::enriched(),
        SchemaName::Rules => rules_file::schema(),
        SchemaName::Settings => settings::schema().map_err(|error| Failure::settings(&error))?,
        SchemaName::Cases => cases::schema(),
        SchemaName::Asyncapi => {
            let loaded = common.load()?;
            for warning in &loaded.warnings {
                write_line(format_args!("throughline: {warning}"));
            }
            let settings = &loaded.settings;
            let outputs = &settings.output.further;
            broker::asyncapi(&app::broker_settings(settings), &app::topology(settings), outputs)
        }
    };
    let mut out = Stdout::lock();
    out.line(format_args!("{document:#}"))?;
    out.finish()?;
    Ok(Exit::Done)
}

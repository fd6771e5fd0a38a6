//! The command line: one file per command, and the exit codes.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | something asked about does not hold: a failed case, a rejected line of `convert` or with `--strict`, nothing found, a worker that is not ready |
//! | 2 | the command line is wrong, or its input cannot be read |
//! | 64 | bad settings or rules, files of theirs included |
//! | 69 | broker or store not to be had (`run` waits for both); no worker that answers `status` |
//! | 70 | internal error |
//! | 75 | stopped with work left |
//!
//! Results go to stdout, everything else to stderr.

mod check;
mod completions;
mod config;
mod convert;
mod dead_letters;
mod erase;
mod explain;
mod failure;
mod healthcheck;
mod history;
mod input;
mod migrate;
mod output;
mod pipe;
mod rules;
mod run;
mod schema;
mod status;
mod test;
mod topology;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::app;
use crate::domain::Rules;
use crate::reload::RulesSource;
use crate::settings::{self, Flag, Loaded, Settings, Sources};
use crate::store::{self, Store};
use crate::telemetry::{logs, panics};
use failure::{Exit, Failure};

/// Carries what is known of a customer from one interaction to the next: consumes interaction
/// messages, applies the owner's rules to user data, keeps only what history allows, publishes the
/// enriched interaction.
#[derive(Debug, Parser)]
#[command(name = "throughline", version, max_term_width = 100)]
#[command(after_help = "Examples:
  throughline pipe interactions.ndjson > enriched.ndjson
  throughline explain interactions.ndjson
  throughline check --config production.toml --connect
  throughline run --config production.toml

Settings come from the embedded defaults, then --config files, then THROUGHLINE_SECTION__KEY, then
flags; `throughline config show` tells what is in force and why.

Exit codes: 0 done; 1 something asked about does not hold; 2 usage; 64 bad settings or rules; 69
broker or store not to be had; 70 internal error; 75 stopped with work left.")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of all commands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
struct Common {
    /// A settings file (TOML); later ones override earlier ones.
    #[arg(long, value_name = "FILE", global = true)]
    config: Vec<PathBuf>,
    /// The rules file (TOML or JSON); the setting rules.file.
    #[arg(long, value_name = "FILE", global = true)]
    rules: Option<String>,
    /// The store, sqlite:PATH or postgres://…; the setting store.url.
    #[arg(long, value_name = "URL", global = true)]
    store: Option<String>,
    /// The form of log lines on stderr; the setting log.format.
    #[arg(long, value_name = "FORM", global = true)]
    log: Option<LogForm>,
    /// More in the log: -v for debug, -vv for trace.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Arguments),
    Status(status::Arguments),
    Healthcheck(healthcheck::Arguments),
    Pipe(pipe::Arguments),
    Explain(explain::Arguments),
    Test(test::Arguments),
    Check(check::Arguments),
    Migrate(migrate::Arguments),
    History(history::Arguments),
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    Erase(erase::Arguments),
    #[command(subcommand)]
    Topology(topology::TopologyCommand),
    Rules(rules::Arguments),
    Convert(convert::Arguments),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Schema(schema::Arguments),
    Completions(completions::Arguments),
}

/// Runs the program with the process's arguments and environment.
pub fn main() -> ExitCode {
    panics::withhold_messages();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows which stream each goes to.
            let printed = error.print();
            return match printed {
                // The exit code is the same whether or not the message could be written.
                _ if error.use_stderr() => Exit::Usage.into(),
                Ok(()) => Exit::Done.into(),
                Err(_) => Exit::Internal.into(),
            };
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(),
    }
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    let Cli { common, command } = cli;
    match command {
        // These need no settings, or load them without starting the logs.
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Test(arguments) => test::run(&arguments, common.rules.as_deref().map(Path::new)),
        Command::Config(command) => config::run(&command, &common.load()?),
        Command::Schema(arguments) => schema::run(&arguments, &common),
        Command::Run(arguments) => run::run(&arguments, &common.start()?),
        Command::Status(arguments) => status::run(&arguments, &common.start()?),
        Command::Healthcheck(arguments) => healthcheck::run(&arguments, &common.start()?),
        Command::Pipe(arguments) => {
            let store = common.store.is_some();
            pipe::run(&arguments, &common.start()?, store)
        }
        Command::Explain(arguments) => {
            let store = common.store.is_some();
            explain::run(&arguments, &common.start()?, store)
        }
        Command::Check(arguments) => check::run(&arguments, &common.start()?),
        Command::Migrate(arguments) => migrate::run(&arguments, &common.start()?),
        Command::History(arguments) => history::run(&arguments, &common.start()?),
        Command::DeadLetters(command) => dead_letters::run(&command, &common.start()?),
        Command::Erase(arguments) => erase::run(&arguments, &common.start()?),
        Command::Topology(command) => topology::run(&command, &common.start()?),
        Command::Rules(arguments) => rules::run(&arguments, &common.start()?),
        Command::Convert(arguments) => convert::run(&arguments, &common.start()?),
    }
}

impl Common {
    /// Loads the settings.
    fn load(&self) -> Result<Loaded, Failure> {
        let mut flags = Vec::new();
        let log = self.log.map(|form| match form {
            LogForm::Text => "text".to_owned(),
            LogForm::Json => "json".to_owned(),
        });
        let level = match self.verbose {
            0 => None,
            1 => Some("debug".to_owned()),
            _ => Some("trace".to_owned()),
        };
        for (name, setting, value) in [
            ("--rules", "rules.file", self.rules.clone()),
            ("--store", "store.url", self.store.clone()),
            ("--log", "log.format", log),
            ("--verbose", "log.level", level),
        ] {
            if let Some(value) = value {
                flags.push(Flag { name, setting, value });
            }
        }
        let env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let sources = Sources { files: self.config.clone(), env, flags };
        settings::load(sources).map_err(|error| Failure::settings(&error))
    }

    /// Loads the settings and starts the logs, in which their warnings are the first lines.
    fn start(&self) -> Result<Settings, Failure> {
        let loaded = self.load()?;
        logs::init(&loaded.settings.log).map_err(Failure::internal)?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded.settings)
    }
}

/// Loads the rules for a command that applies them; their warnings go to the log.
fn load_rules(settings: &Settings) -> Result<Rules, Failure> {
    load_rules_from(settings, &app::rules_source(settings))
}

/// The same for a command that only prints them, even if they fail their cases.
fn load_untried_rules(settings: &Settings) -> Result<Rules, Failure> {
    load_rules_from(settings, &RulesSource { cases: Vec::new(), ..app::rules_source(settings) })
}

fn load_rules_from(settings: &Settings, source: &RulesSource) -> Result<Rules, Failure> {
    let (rules, warnings) = app::load_rules(settings, source)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(rules)
}

/// Opens the existing store. A command that queries or erases neither creates a store nor migrates its
/// schema.
async fn existing_store(settings: &Settings) -> Result<Store, Failure> {
    let of_store = app::store_settings(settings);
    let of_store = store::Settings { migrate: false, must_exist: true, ..of_store };
    Ok(store::connect(&of_store).await?)
}

/// Completes when the process receives SIGINT, SIGTERM or SIGHUP, from this call on.
fn shutdown_signal() -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::internal)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::internal)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::internal)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Runs a command's asynchronous part.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::internal)?;
    let done = runtime.block_on(future);
    // A thread that still waits for a line on standard input must not keep a finished command running.
    runtime.shutdown_timeout(Duration::from_millis(100));
    done
}

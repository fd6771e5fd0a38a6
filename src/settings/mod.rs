//! Settings: reads and validates them, and keeps the origin of each.
//!
//! [`load`] lays the [`Sources`] one over the other (embedded defaults, files, variables, files of
//! secrets, flags), reads every setting once into a type that cannot be wrong, and reports all
//! problems at once, each with the setting's path and the file, variable or flag it came from. The
//! rules are no settings: they define what happens to user data, and have a file of their own.
//!
//! Nothing here reads the process's environment or command line, so tests need not set either.

use std::fmt;

mod amqp;
mod flows;
mod format_name;
mod gate;
mod http;
mod nearest;
mod partitions;
mod provenance;
mod raw;
pub mod rules_file;
mod schema;
mod secret;
mod sections;
mod sources;
mod tables;
mod traces;

pub use amqp::{Amqp, ClientCertificate, Topology};
pub use flows::Source;
pub use gate::Gate;
pub use http::Http;
pub use partitions::Partitions;
pub use provenance::{EffectiveSetting, Origin};
pub use schema::schema;
pub use secret::Secret;
pub use sections::{
    DeadLetters, History, Limits, Live, LiveKey, Output, Pipeline, Rules, Shutdown, Store, Waiting,
};
pub use sources::{Flag, Sources};

use crate::telemetry::{self, logs};
use flows::WrittenSource;
use schema::Expectation;

/// Everything that can be set, checked. `config/default.toml` describes each.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many lanes work side by side.
    pub lanes: usize,
    /// RabbitMQ.
    pub amqp: Amqp,
    /// The work queues that are written; none: the one that `amqp` describes.
    pub source: Vec<Source>,
    /// Exchanges, queues and bindings.
    pub topology: Topology,
    /// Order by conversation over several consumers.
    pub partitions: Partitions,
    /// Where interactions are kept.
    pub store: Store,
    /// The rules file.
    pub rules: Rules,
    /// Batches.
    pub pipeline: Pipeline,
    /// Live data.
    pub live: Live,
    /// Saved interactions.
    pub history: History,
    /// Messages that wait for another interaction.
    pub waiting: Waiting,
    /// The queue of messages that are set aside.
    pub dead_letters: DeadLetters,
    /// The status gate.
    pub gate: Gate,
    /// Bounds on messages.
    pub limits: Limits,
    /// Published messages.
    pub output: Output,
    /// The end.
    pub shutdown: Shutdown,
    /// The HTTP server.
    pub http: Http,
    /// Traces.
    pub traces: telemetry::traces::Settings,
    /// Logs.
    pub log: logs::Settings,
}

/// The settings, with their warnings and origins.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Sentences worth logging: variables that look like ours and match no setting.
    pub warnings: Vec<String>,
    /// Every setting in the order of `config/default.toml`, as it may be shown, with its origin.
    pub provenance: Vec<EffectiveSetting>,
}

impl Loaded {
    /// Every setting in order, a line each, as TOML: its value, secrets masked, and its origin.
    pub fn show(&self) -> String {
        provenance::as_text(&self.provenance)
    }

    /// The same for programs: an array of objects with `setting`, `value` and `origin`.
    pub fn show_json(&self) -> serde_json::Value {
        provenance::as_json(&self.provenance)
    }
}

/// Loads the settings. Reads the files that are named, and those that `…_FILE` variables name.
///
/// # Errors
/// [`SettingsError::Invalid`] with all problems found.
pub fn load(sources: Sources) -> Result<Loaded, SettingsError> {
    Ok(read(sources)?.0)
}

/// Loads the settings, with the schema of each.
fn read(sources: Sources) -> Result<(Loaded, Vec<Expectation>), SettingsError> {
    let layers = sources::Layers::read(sources);
    let merged = layers
        .weakest_first
        .into_iter()
        .fold(config::Config::builder(), |builder, layer| builder.add_source(layer))
        .build()?;
    let mut raw = raw::Raw::new(merged, layers.problems);
    // In the order of config/default.toml, which is the order of `config show`.
    // Each lane holds two channels and a connection to the store: 64 are plenty.
    let lanes = raw.integer("lanes", 1..=64);
    let written = WrittenSource::read_all(&mut raw);
    let amqp = Amqp::read(&mut raw);
    let source = WrittenSource::fill(written, &mut raw, &amqp, lanes);
    let sources = match source.is_empty() {
        true => vec![Source::from_amqp(&amqp, lanes)],
        false => source.clone(),
    };
    flows::check_outbound(&mut raw, &amqp, &sources);
    flows::check_dead_letters(&mut raw, &amqp, &sources);
    let settings = Settings {
        lanes,
        amqp: amqp.clone(),
        source,
        topology: Topology::read(&mut raw),
        partitions: Partitions::read(&mut raw, &sources),
        store: Store::read(&mut raw),
        rules: Rules::read(&mut raw),
        pipeline: Pipeline::read(&mut raw),
        live: Live::read(&mut raw),
        history: History::read(&mut raw),
        waiting: Waiting::read(&mut raw),
        dead_letters: DeadLetters::read(&mut raw),
        gate: Gate::read(&mut raw),
        limits: Limits::read(&mut raw),
        output: Output::read(&mut raw, &amqp, &sources),
        shutdown: Shutdown::read(&mut raw),
        http: Http::read(&mut raw),
        traces: traces::read(&mut raw),
        log: sections::read_log(&mut raw),
    };
    if settings.store.repeat < settings.waiting.unroutable {
        // A message that comes again after its event was forgotten would not be finished.
        raw.problem("store.repeat_secs", "is shorter than waiting.unroutable_secs");
    }
    let (provenance, expectations) = raw.finish().map_err(SettingsError::Invalid)?;
    Ok((Loaded { settings, warnings: layers.warnings, provenance }, expectations))
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Something that was written is wrong.
    #[error("load the settings:{}", listed(.0))]
    Invalid(Vec<Problem>),
    /// The layers could not be laid one over the other.
    #[error("load the settings")]
    Layers(#[from] config::ConfigError),
}

/// An invalid setting: its path, its origin and the reason. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the setting, as in `amqp.queue`; empty when it is about a whole file.
    pub setting: String,
    /// Where it was written.
    pub origin: Origin,
    /// The reason: a sentence without its subject.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { setting, origin, what } = self;
        if setting.is_empty() {
            write!(f, "{origin}: {what}")
        } else {
            write!(f, "{setting}: {what} ({origin})")
        }
    }
}

/// The problems, each on a line of its own.
fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

//! Logs: one line per event on stderr, as text or as JSON.
//!
//! stdout is never written: it belongs to the commands that print results (`pipe`, `explain`). There
//! are no log files and no rotation; the service manager or container runtime collects stderr.

use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry;

/// Libraries whose log lines repeat ours (statements, connections of the pool): held at `warn`.
const NOISY: [&str; 1] = ["sqlx"];

/// Libraries that are never logged, whatever the filter says: lapin logs a returned message with its body
/// (K8), and `amq_protocol_tcp` the broker's URL with its password. Their errors come back
/// to the caller as values.
const SILENT: [&str; 2] = ["lapin", "amq_protocol"];

/// How to log.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The format of a line.
    pub format: Format,
    /// Which events are logged.
    pub filter: Filter,
}

/// The format of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text: time, level, message, fields; coloured on a terminal.
    #[default]
    Text,
    /// One JSON object, the event's fields beside `timestamp`, `level` and `target`.
    Json,
}

/// Which events are logged: a level for everything, and for modules by name.
#[derive(Clone, Debug)]
pub struct Filter(Targets);

impl Default for Filter {
    fn default() -> Filter {
        Filter::new(Targets::new().with_default(LevelFilter::INFO))
    }
}

impl Filter {
    /// The requested targets, with the noisy libraries held at `warn` unless they are named.
    fn new(requested: Targets) -> Filter {
        let general = requested.default_level().unwrap_or(LevelFilter::OFF);
        let quiet = NOISY.map(|target| (target.to_owned(), general.min(LevelFilter::WARN)));
        let silent = SILENT.map(|target| (target.to_owned(), LevelFilter::OFF));
        let is_permitted = |(target, _): &(String, LevelFilter)| {
            !SILENT.iter().any(|silent| target.starts_with(silent))
        };
        let requested = requested.into_iter().filter(is_permitted);
        // A later entry for the same target replaces the earlier one: the requested one wins.
        let all = quiet.into_iter().chain(requested).chain(silent);
        Filter(all.collect::<Targets>().with_default(general))
    }
}

impl FromStr for Filter {
    type Err = LogsError;

    fn from_str(text: &str) -> Result<Filter, LogsError> {
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        // `Targets` reads a bare word as a module to be logged in full: a typo (`inof`) would silence all
        // other modules.
        let is_level_or_pair = |part: &&str| {
            part.contains('=') || !part.is_empty() && part.parse::<LevelFilter>().is_ok()
        };
        if !parts.iter().all(is_level_or_pair) {
            return Err(LogsError::Filter);
        }
        // The cause would repeat the text; the settings name where it is set.
        parts.join(",").parse().map(Filter::new).map_err(|_: ParseError| LogsError::Filter)
    }
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// The text is no filter.
    #[error("read the log level: not a level or a list of module=level")]
    Filter,
    /// Logging was set up before.
    #[error("set up logging: it is set up already")]
    Installed(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Logs the events of this process to stderr, as the settings say. To be called once, before
/// anything else is started: earlier events are lost.
///
/// # Errors
/// When logging is set up already.
pub fn init(settings: &Settings) -> Result<(), LogsError> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stderr().is_terminal() && !no_color;
    Ok(tracing::subscriber::set_global_default(subscriber(settings, colours, io::stderr))?)
}

/// The subscriber behind [`init`], over any writer.
pub fn subscriber<W>(
    settings: &Settings,
    colours: bool,
    writer: W,
) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer);
    let lines = match settings.format {
        Format::Text => lines.with_target(false).with_ansi(colours).boxed(),
        // Fields stand at the top level, where log collectors index them.
        Format::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    registry().with(lines.with_filter(settings.filter.0.clone()))
}

//! `throughline pipe`: the same flow without a broker.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::io::{BufReader, BufWriter};
use tokio_util::sync::CancellationToken;

use super::failure::{Exit, Failure};
use super::{block_on, input, load_rules, shutdown_signal};
use crate::app;
use crate::files::{LinePublisher, LineSettler, LineSource, WaitingLines};
use crate::pipeline::gate_policy::GateOverflow;
use crate::pipeline::lane::Lane;
use crate::pipeline::observe::labels::Outcome;
use crate::pipeline::observe::tally::{Counts, Tally};
use crate::pipeline::save::rules_in_force::RulesInForce;
use crate::settings::Settings;
use crate::store;
use crate::telemetry::stderr::{write_line, write_text};

/// The same flow without a broker: NDJSON in, enriched NDJSON out
///
/// One message per line; blank lines are skipped. What must wait for a parent is tried again when
/// the parent arrives, and decided at the end of input. Interactions are kept in a temporary SQLite
/// store unless --store names one. Where a status gate is configured, it is asked as by `run`, and what waits
/// for an answer comes out behind what does not. Prints the enriched messages only: further outputs
/// are for a broker. A summary goes to stderr at the end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline pipe config/samples/interactions.ndjson
  zcat day.ndjson.gz | throughline pipe --dead-letters rejected.ndjson > enriched.ndjson
  throughline pipe --strict --store sqlite:day.db day.ndjson")]
pub(super) struct Arguments {
    /// The input; standard input if it is - or absent.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where rejected lines go, with their reasons; without it they are only counted and logged.
    #[arg(long, value_name = "FILE")]
    dead_letters: Option<PathBuf>,
    /// Exit with 1 if any line is rejected.
    #[arg(long)]
    strict: bool,
}

/// The size of the read and write buffers: large enough that the cost of system calls does not count.
const BUFFER_BYTES: usize = 1024 * 1024;

pub(super) fn run(
    arguments: &Arguments,
    settings: &Settings,
    store_is_named: bool,
) -> Result<Exit, Failure> {
    let rules = load_rules(settings)?;
    let gating = app::gating(settings, GateOverflow::Wait)?;
    block_on(async {
        // Installed before the temporary folder exists, so that a signal cannot leave the folder behind.
        let shutdown_signal = shutdown_signal()?;
        let reader =
            BufReader::with_capacity(BUFFER_BYTES, input::open(arguments.file.as_ref()).await?);
        let dead_letters = match &arguments.dead_letters {
            Some(path) if is_input(path, arguments.file.as_ref()) => {
                let why = "--dead-letters names the input, which would be lost";
                return Err(Failure::new(Exit::Usage, why));
            }
            Some(path) => Some(create(path).await?),
            None => None,
        };
        // Removed with all that is in it when this ends.
        let folder = tempfile::tempdir().map_err(Failure::internal)?;
        let mut of_store = app::store_settings(settings);
        if !store_is_named {
            of_store.url = format!("sqlite:{}", folder.path().join("pipe.db").display());
            of_store.live_key_file = None;
            of_store.live_key = None;
            of_store.migrate = true;
            of_store.temporary = true;
        }
        let rules = Arc::new(RulesInForce::new(rules));
        let mut worker = app::worker(settings, rules, store::connect(&of_store).await?);
        worker.wakes_within_batch = true;
        // Standard output is for the enriched messages alone.
        worker.outputs = Vec::new();
        worker.gating = gating;
        let tally = Tally::default();
        let room = WaitingLines::default();
        let out = BufWriter::with_capacity(BUFFER_BYTES, tokio::io::stdout());
        let lane = Lane {
            worker: &worker,
            source: LineSource::new(reader, &room),
            publisher: LinePublisher::new(out, dead_letters, &room),
            settler: LineSettler::new(&room),
            batch_messages: settings.pipeline.batch_messages,
            tally: &tally,
        };
        let stop = CancellationToken::new();
        let started = tokio::time::Instant::now();
        let ended = tokio::select! {
            ended = lane.run(&stop) => ended.map(|()| true),
            () = shutdown_signal => Ok(false),
            never = show_progress(&tally) => match never {},
        };
        clear_progress();
        worker.store.close().await;
        let counts = tally.counts();
        write_line(summary(&counts, started.elapsed()));
        match ended {
            Ok(true) if arguments.strict && rejected(&counts) > 0 => Ok(Exit::DoesNotHold),
            Ok(true) => Ok(Exit::Done),
            Ok(false) => {
                Err(Failure::new(Exit::WorkLeft, "interrupted; the input is not finished"))
            }
            Err(error) => Err(Failure::new(
                Exit::WorkLeft,
                format_args!("failed to {error}; the input is not finished"),
            )),
        }
    })
}

/// Whether a file is the input, under whatever name.
fn is_input(path: &Path, input: Option<&PathBuf>) -> bool {
    let file = |path: &Path| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.dev(), about.ino()))
    };
    file(path).is_some_and(|known| input.is_some_and(|input| file(input) == Some(known)))
}

async fn create(path: &PathBuf) -> Result<BufWriter<tokio::fs::File>, Failure> {
    let failed = |error| {
        let name = path.display();
        Failure::new(Exit::Usage, format_args!("failed to create {name}: {error}"))
    };
    Ok(BufWriter::new(tokio::fs::File::create(path).await.map_err(failed)?))
}

/// Shows progress on stderr while it is a terminal. Never ends.
async fn show_progress(tally: &Tally) -> std::convert::Infallible {
    if !std::io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let started = tokio::time::Instant::now();
    // Four times a second: a person cannot read faster.
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    loop {
        ticks.tick().await;
        let counts = tally.counts();
        let rejected = rejected(&counts);
        let messages = lines(&counts);
        let rate = rate(messages, started.elapsed());
        write_text(format_args!("\r\x1b[K{messages} messages, {rate}/s, {rejected} rejected"));
    }
}

fn clear_progress() {
    if std::io::stderr().is_terminal() {
        write_text("\r\x1b[K");
    }
}

/// Messages of the input: those that were taken, less those that were taken again.
fn lines(counts: &Counts) -> u64 {
    counts.received.saturating_sub(counts.retried)
}

fn rejected(counts: &Counts) -> u64 {
    counts.of(Outcome::DeadLettered)
}

fn rate(messages: u64, elapsed: Duration) -> u64 {
    let micros = elapsed.as_micros().max(1);
    u64::try_from(u128::from(messages) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

fn summary(counts: &Counts, elapsed: Duration) -> String {
    let reasons = counts.dead_lettered();
    let reasons: Vec<_> = reasons.map(|(reason, count)| format!("{reason} {count}")).collect();
    let reasons = match reasons.is_empty() {
        true => String::new(),
        false => format!(" ({})", reasons.join(", ")),
    };
    let messages = lines(counts);
    format!(
        "{messages} messages in {:.2} s ({}/s): {} enriched, {} ended, {} duplicate, {} ignored, {} \
         rejected{reasons}; {} waited",
        elapsed.as_secs_f64(),
        rate(messages, elapsed),
        counts.of(Outcome::Enriched),
        counts.of(Outcome::Ended),
        counts.of(Outcome::Duplicate),
        counts.of(Outcome::Ignored),
        rejected(counts),
        counts.of(Outcome::Waiting),
    )
}

//! `throughline explain`: what would happen to messages, and why.

mod table;

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::failure::{Exit, Failure};
use super::output::Stdout;
use super::{block_on, existing_store, input, load_untried_rules};
use crate::clock::Clock;
use crate::domain::byte_order_mark::bytes_without_mark;
use crate::domain::{Attempt, Digest, Identity, Rules};
use crate::files::{ONE_PER_LINE, ends_within_json};
use crate::formats::enriched::{self, Stamp};
use crate::formats::{self, Decoded, Hints, Refusal};
use crate::pipeline::ports::Recall as _;
use crate::pipeline::ports::{Row, Store as _};
use crate::pipeline::save::spilled::doubtful;
use crate::pipeline::save::table::{InteractionTable, looks_for_parent};
use crate::settings::Settings;
use crate::telemetry::stderr::write_line;

/// What would happen to these messages, in order, and why
///
/// Plays them against an empty store, or against the one that --store names; nothing is stored or
/// sent, and the status gate is not asked. A message that would wait is shown as waiting.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline explain config/samples/interactions.ndjson
  throughline explain --show-values message.json
  throughline explain --json - < messages.ndjson | jq .dropped")]
pub(super) struct Arguments {
    /// Messages, one JSON document or one per line; standard input if it is - or absent.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// For programs: the published message with its outcome and the dropped pairs, one per line.
    #[arg(long)]
    json: bool,
    /// Show values; without it their lengths.
    #[arg(long)]
    show_values: bool,
    /// Decide what would wait as after its last attempt.
    #[arg(long)]
    last_attempt: bool,
}

pub(super) fn run(
    arguments: &Arguments,
    settings: &Settings,
    store_is_named: bool,
) -> Result<Exit, Failure> {
    let rules = load_untried_rules(settings)?;
    let input = block_on(input::read(arguments.file.as_ref()))?;
    let bodies = split(&input);
    if bodies.len() > 1 && bodies.iter().any(|body| ends_within_json(body)) {
        write_line(format_args!("throughline: {ONE_PER_LINE}"));
    }
    let max_bytes = settings.limits.body_max_bytes;
    let texts: Vec<_> = bodies.iter().map(|body| formats::body::check(body, max_bytes)).collect();
    let decoded: Vec<Result<Decoded<'_>, Refusal>> = bodies
        .iter()
        .zip(&texts)
        .map(|(body, text)| match text {
            Ok(text) => formats::decode(text, body, Hints::default()),
            Err(refusal) => Err(refusal.clone()),
        })
        .collect();
    let rows = match store_is_named {
        true => block_on(known(settings, &decoded))?,
        false => Known::default(),
    };
    let mut out = Stdout::lock();
    explain(arguments, settings, &rules, &decoded, &rows, &mut out)?;
    out.finish()?;
    if settings.gate.endpoint.is_some() {
        write_line("throughline: the status gate is not asked: `routing` is left out");
    }
    Ok(Exit::Done)
}

fn explain(
    arguments: &Arguments,
    settings: &Settings,
    rules: &Rules,
    decoded: &[Result<Decoded<'_>, Refusal>],
    (rows, events): &Known,
    out: &mut Stdout,
) -> Result<(), Failure> {
    let now_ms = Clock::System.now_ms();
    let mut table = InteractionTable::default();
    for row in rows {
        table.insert(row, now_ms, settings.live.ttl.as_secs());
    }
    for (identity, digest) in events {
        table.recall(identity, *digest);
    }
    let last = arguments.last_attempt;
    let attempt =
        Attempt { may_be_unfinished: false, last_for_parent: last, last_for_interaction: last };
    let time = enriched::rfc3339(now_ms);
    let origins = settings.output.origins;
    let stamp = Stamp { revision: rules.revision(), time: &time, origins };
    for (n, message) in decoded.iter().enumerate() {
        match message {
            Err(refusal) if arguments.json => {
                out.line(format_args!("{}", table::refused_json(refusal)))?;
            }
            Err(refusal) => table::print_refused(out, n + 1, refusal)?,
            Ok(decoded) => {
                let step = table.take(rules, &decoded.message, attempt);
                match arguments.json {
                    true => {
                        let json = enriched::explain(decoded, &step, stamp);
                        out.line(format_args!("{}", String::from_utf8_lossy(&json)))?;
                    }
                    false => table::print(out, n + 1, decoded, &step, arguments.show_values)?,
                }
            }
        }
    }
    Ok(())
}

/// The messages of an input: one document, else one per line.
fn split(input: &[u8]) -> Vec<&[u8]> {
    let unmarked = bytes_without_mark(input);
    if serde_json::from_slice::<serde::de::IgnoredAny>(unmarked).is_ok() {
        // As `pipe` has it, where the line break is no part of a message: the id of a message that
        // names none is its digest.
        return vec![input.strip_suffix(b"\n").unwrap_or(input)];
    }
    let lines = input.split(|byte| *byte == b'\n');
    lines.filter(|line| !bytes_without_mark(line).iter().all(u8::is_ascii_whitespace)).collect()
}

/// Rows, and what of their spilled events came again.
type Known = (Vec<Row>, Vec<(Identity<'static>, Digest)>);

/// The stored rows of the interactions and of their parents. The transaction is dropped at once.
async fn known(
    settings: &Settings,
    decoded: &[Result<Decoded<'_>, Refusal>],
) -> Result<Known, Failure> {
    let store = existing_store(settings).await?;
    let messages = || decoded.iter().flatten().map(|decoded| &decoded.message);
    let identities: BTreeSet<_> = messages()
        .map(|message| message.identity.clone())
        .chain(messages().filter_map(looks_for_parent))
        .collect();
    let identities: Vec<_> = identities.into_iter().collect();
    let (rows, mut transaction) = store.begin(&[], &identities).await?;
    let mut events = doubtful(&rows, messages());
    if !events.is_empty() {
        let known = transaction.recall(&events).await?;
        events = known.into_iter().map(|place| events[place].clone()).collect();
    }
    let events =
        events.into_iter().map(|event| (event.identity.to_owned(), event.digest)).collect();
    drop(transaction);
    store.close().await;
    Ok((rows, events))
}

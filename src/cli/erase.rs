//! `throughline erase`: anonymises what is saved of a person.
//!
//! Counts are printed, never values; a value that is searched for is not repeated either, not even
//! when the command line is wrong.

use std::fmt;
use std::io::{Read as _, stdin};

use clap::Args;
use serde_json::json;

use super::failure::{Exit, Failure};
use super::output::Stdout;
use super::{block_on, existing_store};
use crate::clock::Clock;
use crate::settings::Settings;
use crate::store::{EraseResult, EraseTarget};
use crate::telemetry::stderr::write_line;

/// Anonymises saved values, of interactions by id or by what is saved of them
///
/// Each saved value becomes `{Anonymized by DPO}`, live data is erased, the record stays. An active
/// interaction counts as ended from then on: none of its messages is looked at any more. Safe while
/// workers run, and to be run again: an interaction that came in meanwhile may be missed by --where.
///
/// Only the store is searched, and of it history, which is all that stays. Dead letters and messages
/// that wait at the broker hold data as it was received; discard them there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline erase 0000DaFU51GM001D 0000DaFU51GM001E --tenant 1
  throughline erase --where customerId=C-1138 --dry-run
  secret-tool lookup customer 1138 | throughline erase --where-stdin customerId --json

A value after --where can be seen by others on this machine and stays in the shell's history; use
--where-stdin where that matters. Exit code 1: nothing matched.")]
pub(super) struct Arguments {
    /// Interactions by id.
    #[arg(value_name = "ID", required_unless_present_any = ["saved", "saved_stdin"])]
    ids: Vec<String>,
    /// Interactions of this tenant only; an empty one is the tenant without a name.
    #[arg(long)]
    tenant: Option<String>,
    /// Interactions that have saved exactly VALUE under KEY, which ends at the first `=`.
    #[arg(long = "where", value_name = "KEY=VALUE", conflicts_with_all = ["ids", "saved_stdin"])]
    saved: Option<RedactedValue>,
    /// The same with VALUE from standard input, less one line break at its end.
    #[arg(long = "where-stdin", value_name = "KEY", conflicts_with = "ids")]
    saved_stdin: Option<String>,
    /// Only count what would be erased.
    #[arg(long)]
    dry_run: bool,
    /// For programs: the counts as a JSON object.
    #[arg(long)]
    json: bool,
}

/// A text of the command line that may hold a value: `Debug` does not show it.
#[derive(Clone)]
struct RedactedValue(String);

impl From<&str> for RedactedValue {
    fn from(text: &str) -> RedactedValue {
        RedactedValue(text.to_owned())
    }
}

impl fmt::Debug for RedactedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    let saved = saved(arguments)?;
    let whose = match &saved {
        Some((key, value)) => EraseTarget::Saved { key, value },
        None => EraseTarget::Ids(&arguments.ids),
    };
    let erased = block_on(async {
        let store = existing_store(settings).await?;
        let now_ms = Clock::System.now_ms();
        let tenant = arguments.tenant.as_deref();
        let erased = store.erase(whose, tenant, now_ms, arguments.dry_run).await?;
        store.close().await;
        Ok(erased)
    })?;
    for id in &erased.missing {
        write_line(format_args!("throughline: no such interaction: {id}"));
    }
    let mut out = Stdout::lock();
    match arguments.json {
        true => out.line(as_json(&erased, arguments.dry_run))?,
        false => out.line(as_text(&erased, arguments.dry_run))?,
    }
    out.finish()?;
    if let Some(place) = erased.remains {
        write_line(format_args!(
            "throughline: older versions of these rows may still be found in {place}"
        ));
    }
    Ok(if erased.found == 0 { Exit::DoesNotHold } else { Exit::Done })
}

/// The key and the value that are searched for, if any.
fn saved(arguments: &Arguments) -> Result<Option<(String, String)>, Failure> {
    let wrong = |what| Failure::new(Exit::Usage, what);
    if let Some(RedactedValue(pair)) = &arguments.saved {
        return match pair.split_once('=') {
            Some((key, value)) if !value.is_empty() => Ok(Some((key.to_owned(), value.to_owned()))),
            _ => Err(wrong("--where needs KEY=VALUE, with a value")),
        };
    }
    let Some(key) = &arguments.saved_stdin else { return Ok(None) };
    let mut value = String::new();
    // The error names invalid UTF-8 or the system's reason; it does not quote the value.
    stdin().read_to_string(&mut value).map_err(|error| {
        Failure::new(Exit::Usage, format_args!("failed to read the value: {error}"))
    })?;
    let line = value.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    match line.unwrap_or(&value) {
        "" => Err(wrong("--where-stdin needs a value on standard input")),
        value => Ok(Some((key.clone(), value.to_owned()))),
    }
}

fn as_text(erased: &EraseResult, dry_run: bool) -> String {
    let EraseResult { found, erased, values, ended, .. } = erased;
    let would = if dry_run { "would be " } else { "" };
    format!(
        "{found} interactions match; {erased} {would}erased ({values} saved values; {ended} of them \
         active, {would}ended), {} had nothing left to erase",
        found - erased
    )
}

fn as_json(erased: &EraseResult, dry_run: bool) -> serde_json::Value {
    json!({
        "dryRun": dry_run,
        "found": erased.found,
        "erased": erased.erased,
        "values": erased.values,
        "ended": erased.ended,
        "missing": erased.missing,
    })
}

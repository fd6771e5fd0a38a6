//! `throughline history`: the contact log.

mod csv;

use clap::{Args, ValueEnum};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::{Exit, Failure};
use super::output::Stdout;
use super::{block_on, existing_store};
use crate::domain::Identity;
use crate::formats::enriched::rfc3339;
use crate::settings::Settings;
use crate::store::{HistoryFilter, HistoryRow};
use crate::telemetry::stderr::write_line;

/// The contact log: what was saved of each interaction
///
/// Only history is shown; live data is sealed and stays so.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  throughline history 0000DaFU51GM001D
  throughline history --channel chat --since 2026-11-21T00:00:00Z --format csv
  throughline history --format csv --raw | import-into-a-database")]
pub(super) struct Arguments {
    /// One interaction; all if absent.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// How to print it.
    #[arg(long, value_name = "FORM", default_value = "table")]
    format: OutputFormat,
    /// In CSV, leave cells as they are that a spreadsheet would take for formulas; without it each of
    /// them begins with an apostrophe.
    #[arg(long)]
    raw: bool,
    /// Interactions with a message at or after this time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<i64>,
    /// Interactions of this channel.
    #[arg(long)]
    channel: Option<String>,
    /// Interactions of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Interactions of this tenant; an empty one is the tenant without a name.
    #[arg(long)]
    tenant: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputFormat {
    Table,
    Json,
    Csv,
}

fn parse_time(text: &str) -> Result<i64, String> {
    let time = OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "give a time like 2026-11-21T09:00:00Z".to_owned())?;
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).map_err(|error| error.to_string())
}

/// Rows that are read at once.
const PAGE_ROWS: u32 = 1000;

pub(super) fn run(arguments: &Arguments, settings: &Settings) -> Result<Exit, Failure> {
    block_on(async {
        let store = existing_store(settings).await?;
        let mut after: Option<Identity<'static>> = None;
        if arguments.raw && arguments.format != OutputFormat::Csv {
            return Err(Failure::new(Exit::Usage, "--raw is for --format csv"));
        }
        let mut rows = 0;
        let mut out = Stdout::lock();
        header(&mut out, arguments.format)?;
        loop {
            let filter = HistoryFilter {
                id: arguments.id.as_deref(),
                tenant: arguments.tenant.as_deref(),
                channel: arguments.channel.as_deref(),
                queue: arguments.queue.as_deref(),
                since_ms: arguments.since,
                after: after.as_ref(),
                limit: PAGE_ROWS,
            };
            let page = store.history(&filter).await?;
            for row in &page {
                print_row(&mut out, arguments, row)?;
            }
            rows += page.len();
            match page.into_iter().last() {
                Some(last) => after = Some(last.identity),
                None => break,
            }
        }
        store.close().await;
        out.finish()?;
        if rows == 0 && arguments.id.is_some() {
            write_line("throughline: no such interaction");
            return Ok(Exit::DoesNotHold);
        }
        Ok(Exit::Done)
    })
}

fn header(out: &mut Stdout, form: OutputFormat) -> Result<(), Failure> {
    match form {
        OutputFormat::Table => out.line(format_args!(
            "{:<24} {:<24} {:<14} {:<8} {:<24} SAVED",
            "UPDATED", "INTERACTION", "CHANNEL", "STATE", "QUEUE"
        ))?,
        OutputFormat::Csv => {
            out.line(format_args!(
                "tenant,id,channel,queue,state,created,updated,ended,key,value"
            ))?;
        }
        OutputFormat::Json => {}
    }
    Ok(())
}

fn print_row(out: &mut Stdout, arguments: &Arguments, row: &HistoryRow) -> Result<(), Failure> {
    let queue = row.queue.as_deref().unwrap_or_default();
    let state = row.state.as_str();
    let times =
        [Some(row.created_ms), Some(row.updated_ms), row.ended_ms].map(|ms| ms.map(rfc3339));
    match arguments.format {
        OutputFormat::Table => {
            let saved: Vec<_> =
                row.record.pairs().map(|(key, text)| format!("{key}={text:?}")).collect();
            out.row(format_args!(
                "{:<24} {:<24} {:<14} {state:<8} {queue:<24} {}",
                times[1].as_deref().unwrap_or_default(),
                row.identity.to_string(),
                row.channel,
                saved.join(" ")
            ))?;
        }
        OutputFormat::Json => {
            let pairs = row.record.pairs().map(|(key, text)| (key.to_owned(), text.into()));
            let extra: serde_json::Map<_, _> = pairs.collect();
            out.line(format_args!(
                "{}",
                json!({
                    "tenant": row.identity.tenant, "id": row.identity.id, "channel": row.channel,
                    "queue": row.queue, "state": state, "created": times[0], "updated": times[1],
                    "ended": times[2], "extraData": extra,
                })
            ))?;
        }
        OutputFormat::Csv => {
            let [created, updated, ended] = times.map(Option::unwrap_or_default);
            let identity = &row.identity;
            let common = [
                &identity.tenant,
                &identity.id,
                row.channel.as_str(),
                queue,
                state,
                &created,
                &updated,
                &ended,
            ];
            let none = [("", "")];
            let pairs: Vec<_> = row.record.pairs().collect();
            for (key, text) in if pairs.is_empty() { &none[..] } else { &pairs } {
                let fields = common.iter().copied().chain([*key, *text]);
                let cells: Vec<_> = fields.map(|text| csv::cell(text, arguments.raw)).collect();
                out.line(format_args!("{}", cells.join(",")))?;
            }
        }
    }
    Ok(())
}

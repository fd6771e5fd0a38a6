//! The table for people: a line for each pair, whatever became of it.

use crate::cli::failure::Failure;
use crate::cli::output::Stdout;
use crate::domain::{EndedInteraction, Enriched, Key, Outcome, Step, Value, WaitFor};
use crate::formats::{Decoded, Refusal};

/// Prints what a message came to.
pub(super) fn print(
    out: &mut Stdout,
    number: usize,
    decoded: &Decoded<'_>,
    step: &Step<'_>,
    show_values: bool,
) -> Result<(), Failure> {
    let message = &decoded.message;
    let what = match &step.outcome {
        Outcome::Enriched(enriched) => format!(
            "enriched (channel {}, parent {})",
            enriched.facts.channel,
            enriched.parent.as_str()
        ),
        Outcome::Ended(ended) => format!("ended ({})", ended.state.as_str()),
        Outcome::Ignored => "ignored".to_owned(),
        Outcome::Duplicate => "duplicate: this event was handled before".to_owned(),
        Outcome::Waiting(WaitFor::Parent(parent)) => format!("waiting for its parent {parent}"),
        Outcome::Waiting(WaitFor::Interaction(_)) => "waiting for its interaction".to_owned(),
        Outcome::Rejected(refusal) => format!("rejected: {refusal}"),
    };
    out.row(format_args!("{number}. {} of {}: {what}", message.event.as_str(), message.identity))?;
    let mut lines = Vec::new();
    match &step.outcome {
        Outcome::Enriched(enriched) => enriched_lines(enriched, show_values, &mut lines),
        Outcome::Ended(ended) => ended_lines(ended, show_values, &mut lines),
        Outcome::Ignored | Outcome::Duplicate | Outcome::Waiting(_) | Outcome::Rejected(_) => {}
    }
    for (key, reason) in step.report.dropped() {
        // A pair that is not allocated has its line already.
        if reason.as_str() != "not_allocated" {
            let from = format!("dropped: {reason}");
            lines.push([key.to_string(), "-".to_owned(), from, no(), no(), no()]);
        }
    }
    print_lines(out, &lines)?;
    if let Outcome::Enriched(enriched) = &step.outcome {
        let defaults = enriched
            .metadata
            .iter()
            .filter(|(name, _)| enriched.data.get(&Key::from(*name)).is_none());
        for (name, value) in defaults {
            out.row(format_args!(
                "   metadata {name} = {} (the item's default)",
                shown(value, show_values)
            ))?;
        }
    }
    for warning in step.report.warnings() {
        match &warning.key {
            Some(key) => out.row(format_args!("   warning: {} ({key})", warning.code))?,
            None => out.row(format_args!("   warning: {}", warning.code))?,
        }
    }
    out.line("")
}

/// Prints that a body could not be read.
pub(super) fn print_refused(
    out: &mut Stdout,
    number: usize,
    refusal: &Refusal,
) -> Result<(), Failure> {
    out.line(format_args!("{number}. rejected: {refusal}\n"))
}

/// The same for programs.
pub(super) fn refused_json(refusal: &Refusal) -> serde_json::Value {
    serde_json::json!({
        "outcome": "rejected",
        "reason": refusal.reason.as_str(),
        "detail": refusal.detail.as_str(),
        "warnings": [],
        "dropped": {},
    })
}

/// Key, value, where it came from, published, in metadata, saved.
type Line = [String; 6];

fn enriched_lines(enriched: &Enriched<'_>, show_values: bool, lines: &mut Vec<Line>) {
    for (key, value, origin) in enriched.data.iter() {
        let in_metadata = enriched.metadata.iter().any(|(name, _)| Key::from(*name) == *key);
        let saved = enriched.record.pairs().any(|(name, _)| Key::from(name) == *key);
        let published = match enriched.publishes(key) {
            true => "yes".to_owned(),
            false => "no: not_allocated".to_owned(),
        };
        lines.push([
            key.to_string(),
            shown(value, show_values),
            origin.to_string(),
            published,
            yes_or_no(in_metadata),
            yes_or_no(saved),
        ]);
    }
}

fn ended_lines(ended: &EndedInteraction<'_>, show_values: bool, lines: &mut Vec<Line>) {
    for (key, text) in ended.record.pairs() {
        let value = Value::from_text(text);
        let from = "history".to_owned();
        let value = shown(&value, show_values);
        lines.push([
            key.to_owned(),
            value,
            from,
            "as extra data".to_owned(),
            no(),
            "yes".to_owned(),
        ]);
    }
}

fn shown(value: &Value<'_>, show_values: bool) -> String {
    match show_values {
        true => value.as_json().to_owned(),
        false => format!("{} bytes", value.as_json().len()),
    }
}

fn yes_or_no(yes: bool) -> String {
    if yes { "yes".to_owned() } else { no() }
}

fn no() -> String {
    "-".to_owned()
}

fn print_lines(out: &mut Stdout, lines: &[Line]) -> Result<(), Failure> {
    if lines.is_empty() {
        return Ok(());
    }
    let titles = ["KEY", "VALUE", "FROM", "PUBLISHED", "METADATA", "SAVED"].map(str::to_owned);
    // A value can be long; the columns after it need not follow it off the screen.
    const WIDEST: usize = 40;
    let width = |column: usize| {
        let cells = lines.iter().chain([&titles]).map(|line| line[column].chars().count());
        cells.max().unwrap_or_default().min(WIDEST)
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    for line in std::iter::once(&titles).chain(lines) {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let row: Vec<_> = cells.collect();
        out.row(format_args!("   {}", row.join("  ").trim_end()))?;
    }
    Ok(())
}

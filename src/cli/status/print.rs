//! A status for people.

use super::StatusSample;
use crate::cli::failure::Failure;
use crate::cli::output::Stdout;
use crate::formats::enriched::rfc3339;
use crate::http::{LaneStatus, Status, WaitingMessage};

/// The waiting messages that are listed at most. `--json` has all that the worker reports.
const LISTED: usize = 20;

/// Prints a status, a fact a line, what is wrong first.
pub(super) fn print(out: &mut Stdout, sample: &StatusSample) -> Result<(), Failure> {
    let StatusSample { status, rates, queues, waiting_prefix } = sample;
    print_health(out, status)?;
    let Status { received, in_hand, .. } = status;
    out.line(format_args!("received  {received}, {:.1}/s; {in_hand} in hand", rates.received))?;
    let finished: Vec<_> = counted(&status.finished);
    let total: u64 = status.finished.values().sum();
    let finished = if finished.is_empty() { String::new() } else { listed(&finished) };
    out.line(format_args!("finished  {total}, {:.1}/s{finished}", rates.finished))?;
    let reasons = counted(&status.dead_lettered);
    if !reasons.is_empty() {
        out.line(format_args!("set aside since the start{}", listed(&reasons)))?;
    }
    for lane in &status.lanes {
        out.line(format_args!("lane {}    {}", lane.lane, lane_line(lane)))?;
    }
    let known = |rows: Option<u64>| rows.map_or_else(|| "?".to_owned(), |rows| rows.to_string());
    let (rows, live) = (known(status.stored_rows), known(status.live_rows));
    out.line(format_args!("store     {rows} interactions, {live} of them active"))?;
    match queues {
        Ok(queues) => {
            for (name, ready) in queues {
                let ready = match ready {
                    // Most waiting queues are empty most of the time.
                    Some(0) if name.starts_with(waiting_prefix) => continue,
                    Some(ready) => format!("{ready} ready"),
                    None => "not there, or not ours to see".to_owned(),
                };
                out.line(format_args!("queue     {name}: {ready}"))?;
            }
        }
        Err(why) => out.line(format_args!("queues    not known: {why}"))?,
    }
    for wait in status.waiting.iter().take(LISTED) {
        out.row(format_args!("waiting   {}", waits(wait)))?;
    }
    if let more @ 1.. = status.waiting.len().saturating_sub(LISTED) {
        out.line(format_args!("waiting   and {more} more (--json has them)"))?;
    }
    Ok(())
}

fn print_health(out: &mut Stdout, status: &Status) -> Result<(), Failure> {
    let is_well = status.readiness.missing.is_empty() && status.liveness.dead.is_empty();
    let version = &status.version;
    out.line(format_args!(
        "{}, for {} s; version {}, rules {}",
        if is_well { "ready" } else { "not ready" },
        status.uptime_ms / 1000,
        version.version,
        version.rules_revision,
    ))?;
    for problem in &status.liveness.dead {
        out.line(format_args!("dead      {problem}"))?;
    }
    for problem in &status.readiness.missing {
        out.line(format_args!("missing   {problem}"))?;
    }
    for problem in &status.readiness.warnings {
        out.line(format_args!("warning   {problem}"))?;
    }
    Ok(())
}

fn counted(counts: &std::collections::BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let counts = counts.iter().map(|(word, count)| (word.as_str(), *count));
    counts.filter(|(_, count)| *count > 0).collect()
}

fn listed(counts: &[(&str, u64)]) -> String {
    let each: Vec<_> = counts.iter().map(|(word, count)| format!("{word} {count}")).collect();
    format!(": {}", each.join(", "))
}

fn lane_line(lane: &LaneStatus) -> String {
    let LaneStatus { received, in_hand, idle_ms, .. } = lane;
    let state = match lane {
        LaneStatus { running: false, .. } => "does not run",
        LaneStatus { waits_for_store: true, .. } => "waits for the store",
        LaneStatus { waits_for_takers: true, .. } => {
            "waits for the broker to accept what it publishes"
        }
        LaneStatus { in_hand: 0, .. } => "idle",
        _ => "works",
    };
    format!("{state}; {received} received, {in_hand} in hand, latest step {idle_ms} ms ago")
}

fn waits(wait: &WaitingMessage) -> String {
    let name = match (&wait.interaction, &wait.message_id) {
        (Some(interaction), _) => format!("interaction {interaction}"),
        (None, Some(id)) => format!("message {id}"),
        (None, None) => "a message without an id".to_owned(),
    };
    let on = match &wait.waits_for {
        Some(on) => format!(" for {on}"),
        None => String::new(),
    };
    format!("{name}{on} ({}), since {}", wait.cause, rfc3339(wait.since_ms))
}

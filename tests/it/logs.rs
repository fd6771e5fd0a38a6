//! Logs: the form of a line, and which lines there are.

use pretty_assertions::assert_eq;
use throughline::telemetry::logs::{self, Format, Settings};

use crate::support::log_buffer::LogBuffer;

/// What is written while `events` are logged.
fn logged(format: Format, level: &str, events: impl FnOnce()) -> String {
    let filter = level.parse().expect("the level is one");
    let written = LogBuffer::default();
    let writer = written.clone();
    let subscriber = logs::subscriber(&Settings { format, filter }, false, move || writer.clone());
    tracing::subscriber::with_default(subscriber, events);
    written.text()
}

#[test]
fn text_format_is_human_readable() {
    let lines = logged(Format::Text, "info", || tracing::info!(lane = 2, "lane started"));
    let (_time, line) = lines.split_once(' ').expect("a line begins with the time");
    assert_eq!(line, " INFO lane started lane=2\n");
}

#[test]
fn json_is_one_object_per_line_with_fields_at_the_top() {
    let lines = logged(Format::Json, "info", || {
        tracing::info_span!("batch", size = 3).in_scope(|| tracing::warn!(code = 312, "returned"));
        tracing::info!("two\nlines");
    });
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect();
    assert_eq!(lines.len(), 2, "a line break in a message makes no line");
    assert_eq!(lines[0]["level"], "WARN");
    assert_eq!(lines[0]["message"], "returned");
    assert_eq!(lines[0]["code"], 312);
    assert_eq!(lines[0]["span"]["size"], 3);
    assert_eq!(lines[1]["message"], "two\nlines");
}

#[test]
fn libraries_log_at_warn_unless_named_and_lapin_is_off() {
    let events = || {
        tracing::debug!("ours");
        tracing::error!(target: "lapin::returned_messages", "body");
        tracing::error!(target: "amq_protocol_tcp", "password");
        tracing::info!(target: "sqlx::query", "chatter");
        tracing::warn!(target: "sqlx::query", "slow");
    };
    let messages = |level| {
        let lines = logged(Format::Text, level, events);
        let last_word = |line: &str| line.rsplit(' ').next().map(str::to_owned);
        lines.lines().filter_map(last_word).collect::<Vec<_>>()
    };
    assert_eq!(messages("debug"), ["ours", "slow"]);
    assert_eq!(messages("debug, sqlx=info"), ["ours", "chatter", "slow"]);
    assert_eq!(messages("sqlx=info"), ["chatter", "slow"]);
    assert_eq!(messages("debug,lapin=trace,lapin::returned_messages=trace"), ["ours", "slow"]);
    assert_eq!(messages("amq_protocol_tcp=trace"), [""; 0]);
    assert!(messages("error").is_empty());
    assert!(messages("off").is_empty());
}

#[test]
fn invalid_log_level_is_refused() {
    for level in ["inof", "", "info,", "info,lapin", "throughline=loud"] {
        assert!(level.parse::<logs::Filter>().is_err(), "{level:?} is taken for a filter");
    }
}

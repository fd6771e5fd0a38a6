//! Dead letters as people and programs read them: a line each, or all that is known of one.
//!
//! The text for people holds no control characters: ids, keys and headers come from the sender, and could
//! otherwise control the terminal. Programs get the JSON, which escapes them.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::broker::DeadLetter;
use crate::cli::output::printable;
use crate::domain::RejectReason;
use crate::formats::enriched::rfc3339;

/// The format in which a dead letter is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LetterFormat {
    /// A line of a table.
    Row,
    /// A line of JSON with what the table has.
    JsonRow,
    /// Everything, with or without its body.
    Whole {
        /// As a line of JSON.
        json: bool,
        /// With its body.
        body: bool,
    },
}

impl LetterFormat {
    /// A line each.
    pub(super) fn line(json: bool) -> LetterFormat {
        if json { LetterFormat::JsonRow } else { LetterFormat::Row }
    }
}

/// Makes the text of one dead letter after the other.
pub(super) struct Printer {
    format: LetterFormat,
    /// The largest body that is unpacked.
    body_max_bytes: usize,
    begun: bool,
}

impl Printer {
    pub(super) fn new(format: LetterFormat, body_max_bytes: usize) -> Printer {
        Printer { format, body_max_bytes, begun: false }
    }

    /// The text of one dead letter, with the table's head before the first.
    pub(super) fn text(&mut self, letter: &DeadLetter) -> String {
        let max = |body: bool| body.then_some(self.body_max_bytes);
        let first = !std::mem::replace(&mut self.begun, true);
        match self.format {
            LetterFormat::Row if first => format!("{}{}", row(&HEAD), row(&cells(letter))),
            LetterFormat::Row => row(&cells(letter)),
            LetterFormat::JsonRow => format!("{}\n", Value::from(summary(letter))),
            LetterFormat::Whole { json: true, body } => {
                format!("{}\n", Value::from(whole(letter, max(body))))
            }
            LetterFormat::Whole { json: false, body } => {
                let gap = if first { "" } else { "\n" };
                format!("{gap}{}", page(letter, max(body)))
            }
        }
    }

    /// The text for one that the broker cannot hand over: nothing of it is known.
    pub(super) fn undeliverable(&mut self) -> String {
        let first = !std::mem::replace(&mut self.begun, true);
        let reason = RejectReason::Undeliverable.as_str();
        match self.format {
            LetterFormat::JsonRow | LetterFormat::Whole { json: true, .. } => {
                format!("{}\n", json!({ "id": null, "reason": reason }))
            }
            LetterFormat::Row | LetterFormat::Whole { json: false, .. } => {
                let cells = ["-", reason, "-", "-", "-", "-", "-", "-", "-"];
                let head = if first { row(&HEAD) } else { String::new() };
                format!("{head}{}", row(&cells))
            }
        }
    }
}

/// Writes to stdout and flushes, so that exactly the dead letters that are done are printed.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

const HEAD: [&str; 9] = [
    "ID",
    "REASON",
    "STAGE",
    "ATTEMPTS",
    "FIRST SEEN",
    "REPLAYED",
    "BYTES",
    "ROUTING KEY",
    "DETAIL",
];

/// The columns of the table; an unknown value is a dash.
fn cells(letter: &DeadLetter) -> [String; 9] {
    let or_dash = |text: Option<&str>| text.map_or_else(|| "-".to_owned(), printable);
    [
        or_dash(letter.id.as_deref()),
        or_dash(letter.reason.as_deref()),
        or_dash(letter.stage.as_deref()),
        letter.attempts.to_string(),
        letter.first_seen_ms.map_or_else(|| "-".to_owned(), rfc3339),
        letter.replayed.to_string(),
        letter.body().len().to_string(),
        printable(letter.routing_key()),
        or_dash(letter.detail.as_deref()),
    ]
}

/// One line of the table. A longer text shifts the rest of its line: lines are printed while the queue
/// is read, so the longest text is not known.
fn row(cells: &[impl AsRef<str>; 9]) -> String {
    let [id, reason, stage, attempts, first_seen, replayed, bytes, key, detail] =
        cells.each_ref().map(AsRef::as_ref);
    format!(
        "{id:<36} {reason:<19} {stage:<9} {attempts:>8} {first_seen:<24} {replayed:>8} {bytes:>8} \
         {key:<24} {detail}\n"
    )
}

/// The columns of the table, for programs.
fn summary(letter: &DeadLetter) -> Map<String, Value> {
    let DeadLetter { id, reason, detail, stage, attempts, first_seen_ms, replayed, .. } = letter;
    let members = [
        ("id", json!(id)),
        ("reason", json!(reason)),
        ("detail", json!(detail)),
        ("stage", json!(stage)),
        ("attempts", json!(attempts)),
        ("firstSeen", json!(first_seen_ms.map(rfc3339))),
        ("replayed", json!(replayed)),
        ("routingKey", json!(letter.routing_key())),
        ("bodyBytes", json!(letter.body().len())),
    ];
    // The member is absent where nothing was replaced.
    let replaced = letter.replaced().map(|words| ("undecodable", json!(words)));
    members.into_iter().chain(replaced).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Everything, for programs; with a body, which is unpacked up to so many bytes.
fn whole(letter: &DeadLetter, show_body: Option<usize>) -> Map<String, Value> {
    let mut all = summary(letter);
    all.insert("properties".to_owned(), letter.properties_json().into());
    all.insert("headers".to_owned(), letter.headers_json().into());
    let Some(max_bytes) = show_body else { return all };
    // As received, and also unpacked where it came packed; bytes that are not UTF-8 become base64.
    let mut insert = |names: [&str; 2], bytes: &[u8]| {
        let (name, text) = match std::str::from_utf8(bytes) {
            Ok(text) => (names[0], text.to_owned()),
            Err(_) => (names[1], BASE64.encode(bytes)),
        };
        all.insert(name.to_owned(), text.into());
    };
    insert(["body", "bodyBase64"], letter.body());
    match letter.unpacked(max_bytes) {
        None => {}
        Some(Ok(bytes)) => insert(["unpacked", "unpackedBase64"], &bytes),
        Some(Err(refusal)) => {
            all.insert("notUnpacked".to_owned(), refusal.to_string().into());
        }
    }
    all
}

/// Everything, for people.
fn page(letter: &DeadLetter, show_body: Option<usize>) -> String {
    let line = |name: &str, text: &str| format!("{name:<28} {text}").trim_end().to_owned();
    let mut lines: Vec<_> =
        HEAD.iter().zip(cells(letter)).map(|(name, text)| line(name, &text)).collect();
    lines.extend(letter.replaced().map(|words| line("UNDECODABLE", &words)));
    for (title, members) in
        [("PROPERTIES", letter.properties_json()), ("HEADERS", letter.headers_json())]
    {
        lines.push(title.to_owned());
        let members = members.iter();
        lines.extend(
            members.map(|(name, value)| line(&format!("  {}", printable(name)), &shown(value))),
        );
    }
    if let Some(max_bytes) = show_body {
        let shown = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => text.split('\n').map(printable).collect::<Vec<_>>().join("\n"),
            Err(_) => BASE64.encode(bytes),
        };
        let (title, text) = match letter.unpacked(max_bytes) {
            None => ("BODY", shown(letter.body())),
            Some(Ok(bytes)) => ("BODY, UNPACKED", shown(&bytes)),
            Some(Err(refusal)) => {
                lines.push(line("NOT UNPACKED", &refusal.to_string()));
                ("BODY", shown(letter.body()))
            }
        };
        lines.extend([title.to_owned(), text]);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// A value as people read it: texts without quotes.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

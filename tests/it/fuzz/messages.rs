//! Messages: decoding in every format, and the whole way through the rules, one after the other.
//!
//! An input is a conversation: messages with the byte 0x1E between them. Where a message begins with
//! `#`, its first line is what came beside the body, as words: `format=NAME`, `id=EVENT`,
//! `widget=ID`, `tenant=ID`, `ce-ATTRIBUTE=TEXT` (a CloudEvent in binary mode), `again` (a
//! redelivery), `last` (no more waiting). `#plain` in the first one leaves the rules empty.
//!
//! Laws, for every message:
//! - it is refused with a reason, or decoded to an identity within its limits;
//! - decoded → canonical → decoded is the same message, and a fixed point;
//! - what is published is one line of JSON;
//! - stored and read back, each interaction is the one that was stored;
//! - the same event again is a duplicate, and as a redelivery is published as it was.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value as Json;
use throughline::domain::{Attempt, Identity, Outcome, Record, Rules, Step};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Decoded, Hints, body, canonical};
use throughline::pipeline::ports::{Row, RowChange, StoredLiveData};
use throughline::pipeline::save::table::InteractionTable;
use throughline::settings::rules_file::{self, Document, Syntax};

/// Above what a fuzzer makes, below what takes a moment.
const BODY_MAX_BYTES: usize = 1_048_576;

/// Panics if a law does not hold for this input.
pub(crate) fn hold_for(input: &[u8]) {
    let plain = input.starts_with(b"#plain");
    let rules = if plain { empty_rules() } else { sample_rules() };
    let mut rows = StoredRows::default();
    for record in input.split(|byte| *byte == 0x1E) {
        let input = FuzzInput::parse(record);
        let Ok(text) = body::check(input.body, BODY_MAX_BYTES) else { continue };
        let hints = Hints {
            message_id: input.message_id,
            format: input.format,
            cloud_event: &input.cloud_event,
            widget: input.widget,
            tenant: input.tenant,
        };
        match formats::decode(&text, input.body, hints) {
            Err(refusal) => assert!(!refusal.detail.is_empty(), "a refusal says what exactly"),
            Ok(decoded) => {
                identity_is_within_its_limits(&decoded.message.identity);
                conversion_changes_nothing(rules, &decoded);
                rows = apply_message(rules, &decoded, input.attempt, rows);
            }
        }
    }
}

fn identity_is_within_its_limits(identity: &Identity<'_>) {
    assert!(!identity.id.is_empty());
    for name in [&identity.id, &identity.tenant] {
        assert!(name.len() <= 255 && !name.contains('\0'));
    }
}

fn conversion_changes_nothing(rules: &Rules, decoded: &Decoded<'_>) {
    let once = String::from_utf8(canonical::encode(decoded)).expect("UTF-8");
    let again = formats::decode(&once, once.as_bytes(), Hints::default()).expect("it is canonical");
    assert_eq!(again.message.format, "canonical");
    assert_eq!(once.as_bytes(), canonical::encode(&again), "a fixed point");
    assert_eq!(decoded.message.event, again.message.event);
    assert_eq!(decoded.message.event_id, again.message.event_id);
    assert_eq!(decoded.message.identity, again.message.identity);
    assert_eq!(decoded.message.facts, again.message.facts);
    assert_eq!(decoded.time, again.time);
    // Names of keys are judged by the format's own default, which conversion does not carry.
    if !decoded.message.format.starts_with("sinch-") {
        let alone = |decoded: &Decoded<'_>| {
            let step = InteractionTable::default().take(rules, &decoded.message, LAST_ATTEMPT);
            published(rules, decoded, &step)
        };
        assert_eq!(alone(decoded), alone(&again), "it comes to the same");
    }
}

/// It may not wait any more.
const LAST_ATTEMPT: Attempt =
    Attempt { may_be_unfinished: false, last_for_parent: true, last_for_interaction: true };

/// Takes a message through the rules, and gives the rows as they are stored then.
fn apply_message(
    rules: &Rules,
    decoded: &Decoded<'_>,
    attempt: Attempt,
    rows: StoredRows,
) -> StoredRows {
    let mut table = rows.table();
    let step = table.take(rules, &decoded.message, attempt);
    let first = published(rules, decoded, &step);
    let changed: Vec<Row> = table.changes(0).iter().map(|change| row(&change.row())).collect();
    drop(table);
    if changed.is_empty() {
        return rows;
    }
    let mut rows = rows;
    rows.0.extend(changed.into_iter().map(|row| (row.identity.clone(), row)));

    let again = |may_be_unfinished| {
        let mut table = rows.table();
        let attempt = Attempt { may_be_unfinished, ..attempt };
        let step = table.take(rules, &decoded.message, attempt);
        assert!(table.changes(0).is_empty(), "an event is applied once");
        (matches!(step.outcome, Outcome::Duplicate), published(rules, decoded, &step))
    };
    assert!(again(false).0, "the same event again is a duplicate");
    assert_eq!(again(true), (false, first), "what was saved is published as it was");
    rows
}

/// What is published, less the warnings: they speak of the message, the rest of the interaction.
fn published(rules: &Rules, decoded: &Decoded<'_>, step: &Step<'_>) -> Option<Json> {
    let stamp =
        Stamp { revision: rules.revision(), time: "1970-01-01T00:00:00.000Z", origins: true };
    let line = enriched::encode(decoded, step, stamp)?;
    assert!(!line.contains(&b'\n'), "it is one line");
    // Numbers as written may be beyond what a tree can hold, and are JSON all the same.
    let members: HashMap<String, &serde_json::value::RawValue> =
        serde_json::from_slice(&line).expect("what is published is JSON");
    let rest = members.into_iter().filter(|(name, _)| name != "warnings");
    Some(rest.map(|(name, value)| (name, Json::from(value.get()))).collect())
}

/// What came beside a body, and the body.
struct FuzzInput<'a> {
    body: &'a [u8],
    format: Option<&'a str>,
    message_id: Option<&'a str>,
    widget: Option<&'a str>,
    tenant: Option<&'a str>,
    cloud_event: Vec<(String, String)>,
    attempt: Attempt,
}

impl<'a> FuzzInput<'a> {
    fn parse(record: &'a [u8]) -> FuzzInput<'a> {
        let ends = record.iter().position(|byte| *byte == b'\n');
        let (line, body) = match ends.filter(|_| record.starts_with(b"#")) {
            Some(at) => {
                (std::str::from_utf8(&record[1..at]).unwrap_or_default(), &record[at + 1..])
            }
            None => ("", record),
        };
        let mut input = FuzzInput {
            body,
            format: None,
            message_id: None,
            widget: None,
            tenant: None,
            cloud_event: Vec::new(),
            attempt: Attempt::default(),
        };
        for word in line.split(' ') {
            match word.split_once('=') {
                Some(("format", name)) => input.format = Some(name),
                Some(("id", id)) => input.message_id = Some(id),
                Some(("widget", id)) => input.widget = Some(id),
                Some(("tenant", id)) => input.tenant = Some(id),
                Some((name, text)) => {
                    let name = name.strip_prefix("ce-").map(str::to_owned);
                    input.cloud_event.extend(name.map(|name| (name, text.to_owned())));
                }
                None if word == "again" => input.attempt.may_be_unfinished = true,
                None if word == "last" => {
                    input.attempt.last_for_parent = true;
                    input.attempt.last_for_interaction = true;
                }
                None => {}
            }
        }
        input
    }
}

/// Rows in memory, written and read as a store would.
#[derive(Default)]
struct StoredRows(HashMap<Identity<'static>, Row>);

impl StoredRows {
    fn table(&self) -> InteractionTable<'_> {
        let mut table = InteractionTable::default();
        for row in self.0.values() {
            table.insert(row, row.updated_ms, 60);
        }
        table
    }
}

/// What a store gives back of what it was given.
pub(crate) fn row(change: &RowChange<'_>) -> Row {
    let record = change.record.to_json();
    let restored = Record::restored(&record).expect("what a record wrote");
    assert_eq!(restored.to_json(), record, "history is read as it was written");
    Row {
        identity: change.identity.to_owned(),
        state: change.state,
        channel: change.channel.to_owned(),
        queue: change.queue.map(str::to_owned),
        facts: change.facts.to_owned(),
        record: restored,
        live: change.live.map_or(StoredLiveData::Absent, |live| StoredLiveData::Open(live.clone())),
        events: change.events.to_vec(),
        created_ms: change.created_ms,
        updated_ms: change.updated_ms,
        ended_ms: change.ended_ms,
    }
}

fn empty_rules() -> &'static Rules {
    static RULES: OnceLock<Rules> = OnceLock::new();
    RULES.get_or_init(Rules::empty)
}

/// The shipped sample, with everything else switched on that a rules file can say.
fn sample_rules() -> &'static Rules {
    const EXTRA_RULES: &str = r#"
        [updates]
        customer_frozen = ["webchat", "voice"]
        [parents]
        unknown = "dead_letter"
        [limits]
        user_data_warn_bytes = 128
        user_data_max_bytes = 2048
        [[user_data_set]]
        name = "Fuzz"
        [[user_data_set.key]]
        name = "a"
        default = 1.10
        [[user_data_set.key]]
        name = "b"
        default = "d"
        replace = true
        [[user_data_set.key]]
        name = "c"
        [[widget]]
        id = "w"
        user_data_set = "Fuzz"
        call_target = "t"
        [[call_target]]
        id = "t"
        [[call_target.metadata_item]]
        name = "a"
        default = "none"
        [[assign]]
        key = "b"
        value = { z = [ 1.0, {} ] }
    "#;
    static RULES: OnceLock<Rules> = OnceLock::new();
    RULES.get_or_init(|| {
        let shipped = include_str!("../../../config/rules.toml");
        let text = format!("{shipped}\n{EXTRA_RULES}");
        let document = Document::parse(&text, Syntax::Toml).expect("the sample is TOML");
        rules_file::compile(&document).expect("the sample is accepted").rules
    })
}

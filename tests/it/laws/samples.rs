//! What the laws are tried on: rules, messages and a store, small enough to collide often.
//!
//! Keys, ids and channels come from short lists, so that parents are found, events repeat, sets drop
//! and sources compete in most of the samples. Everything is JSON text, as it arrives.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use serde_json::{Value, json};
use throughline::domain::{Identity, Rules};
use throughline::formats::{self, Decoded, Hints, body};
use throughline::pipeline::ports::Row;
use throughline::pipeline::save::table::InteractionTable;
use throughline::settings::rules_file::{self, Document, Syntax};

use crate::fuzz::messages::row;

const KEYS: [&str; 7] = ["a", "b", "c d", "größe", "rule", "jsonEvent", "\u{0}x"];
const CHANNELS: [&str; 4] = ["webengagement", "chat", "webchat", "voice"];

/// Values as they may be written, line breaks between tokens included.
const VALUES: [&str; 16] = [
    "null",
    "true",
    "0",
    "-0.0",
    "1.10",
    "1E400",
    "12345678901234567890",
    r#""""#,
    r#""text""#,
    r#""\u00e9\ud83d\ude00""#,
    r#""\ud800""#,
    r#""a\u0000b""#,
    r#""x\r\ny""#,
    r#"{"z":1,"a":[ 1.0 ]}"#,
    "[\n1,\r\n{}]",
    r#"{"page":{"title":"T"}}"#,
];

/// The most a body may have; the samples stay far below.
const MAX_BYTES: usize = 1_048_576;

/// A JSON object of pairs, as text: keys may repeat.
pub(super) fn pairs() -> impl Strategy<Value = String> {
    vec((select(&KEYS[..]), select(&VALUES[..])), 0..5).prop_map(|pairs| object(&pairs))
}

pub(super) fn object(pairs: &[(&str, &str)]) -> String {
    let member = |(key, value): &(&str, &str)| format!("{}:{value}", json!(key));
    format!("{{{}}}", pairs.iter().map(member).collect::<Vec<_>>().join(","))
}

/// The body of a message.
pub(super) fn message() -> impl Strategy<Value = String> {
    let kind = select(&["created", "created", "opened", "updated", "updated", "ended"][..]);
    let source = select(&["customer", "agent", "integration", "crm", "bot"][..]);
    let who = (kind, 0..12_u8, select(&["A", "B", "C"][..]), select(&CHANNELS[..]), source);
    let links = (
        option::of(select(&["A", "B", "P"][..])),
        option::of(select(&["w", "bare", "nope"][..])),
        option::of(select(&["q", "r"][..])),
        option::of(select(&["1", "9"][..])),
        option::weighted(0.2, pairs()),
    );
    (who, links, pairs(), option::of(pairs())).prop_map(
        |((kind, event, id, channel, source), (parent, widget, queue, target, inline), own, more)| {
            let mut members = vec![format!(r#""id":"{id}","channel":"{channel}","userData":{own}"#)];
            let texts =
                [("parentId", parent), ("widget", widget), ("queue", queue), ("callTarget", target)];
            for (name, text) in texts {
                members.extend(text.map(|text| format!(r#""{name}":"{text}""#)));
            }
            members.extend(inline.map(|data| format!(r#""parent":{{"userData":{data}}}"#)));
            members.extend(
                more.map(|data| format!(r#""attached":[{{"source":"integration","userData":{data}}}]"#)),
            );
            let members = members.join(",\n");
            format!(
                r#"{{"type":"interaction.{kind}","id":"e{event}","source":"{source}","interaction":{{{members}}}}}"#
            )
        },
    )
}

/// A rules document that is accepted.
pub(super) fn rules() -> impl Strategy<Value = Value> {
    let keys = || vec(select(&KEYS[..]), 0..4);
    let copy = select(&["no", "all", "a;rule", "jsonEvent;b", "ALL", "größe;c d"][..]);
    let set = vec((select(&VALUES[2..]), any::<bool>(), any::<bool>()), 0..4);
    (copy, keys(), keys(), option::of(keys()), set, any::<[bool; 4]>()).prop_map(
        |(copy, of_chat, of_queue, allocated, set, [assigns, xml, ranked, freezes])| {
            // The last key of the list is no set's and jsonEvent may not be one.
            let set = set.iter().zip(KEYS).map(|((default, has_default, replace), name)| {
                let default: Value = serde_json::from_str(default).unwrap_or(json!("huge"));
                // TOML's integers have 64 bits.
                let default = if default.is_u64() && !default.is_i64() { json!(17) } else { default };
                match has_default {
                    true => json!({ "name": name, "default": default, "replace": replace }),
                    false => json!({ "name": name }),
                }
            });
            let mut rules = json!({
                "copy_user_data": { "value": copy, "children": CHANNELS },
                "user_data_set": [ { "name": "S", "key": set.collect::<Vec<_>>() } ],
                "widget": [ { "id": "w", "user_data_set": "S", "call_target": "1" }, { "id": "bare" } ],
                "call_target": [ { "id": "1", "metadata_item": [ { "name": "a", "default": "d" } ] } ],
                "metadata_item": [ { "name": "rule" } ],
                "history": {
                    "chat": of_chat, "webengagement": "a, rule",
                    "queue": [ { "queue": "q", "keys": of_queue } ],
                },
            });
            if let Some(keys) = allocated {
                rules["allocated"] = json!({ "voice": keys });
            }
            if assigns {
                rules["assign"] = json!([
                    { "key": "title", "from": "/jsonEvent/page/title" },
                    { "channel": "chat", "key": "b", "value": { "z": [ 1, {} ], "a": "x" } },
                ]);
            }
            if xml {
                rules["keys"] = json!({ "names": "xml" });
            }
            if ranked {
                rules["priority"] = json!({ "order": ["crm", "integration", "agent"] });
            }
            if freezes {
                rules["updates"] = json!({ "customer_frozen": ["chat"] });
            }
            rules
        },
    )
}

/// Any JSON at all, with names that a rules document knows among the others.
pub(super) fn any_document() -> impl Strategy<Value = Value> {
    let leaf: BoxedStrategy<Value> = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        select(&["", "all", "jsonEvent", "/jsonEvent", "/a~2", "xml", "S", "a,b", "\u{0}"][..])
            .prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ]
    .boxed();
    let names = select(
        &[
            "copy_user_data",
            "value",
            "parents",
            "children",
            "route",
            "parent",
            "child",
            "assign",
            "channel",
            "key",
            "from",
            "user_data_set",
            "name",
            "description",
            "default",
            "replace",
            "widget",
            "id",
            "call_target",
            "metadata_item",
            "history",
            "queue",
            "keys",
            "allocated",
            "priority",
            "order",
            "names",
            "formats",
            "updates",
            "customer_frozen",
            "limits",
            "chat",
            "unknown",
            "user_data_max_bytes",
            "canonical",
            "",
        ][..],
    );
    leaf.prop_recursive(5, 64, 6, move |inner| {
        let members = vec((names.clone(), inner.clone()), 0..6);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            members.prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

/// The rules of a document; written over several lines, as people write them.
pub(super) fn compiled(document: &Value) -> Rules {
    let text = serde_json::to_string_pretty(document).expect("JSON");
    let document = Document::parse(&text, Syntax::Json).expect("JSON");
    rules_file::compile(&document).expect("rules that are accepted").rules
}

/// Bodies as text, decoded; samples are always messages.
pub(super) fn decoded<'t>(texts: &'t [std::borrow::Cow<'t, str>]) -> Vec<Decoded<'t>> {
    let decode = |text: &'t std::borrow::Cow<'t, str>| {
        formats::decode(text, text.as_bytes(), Hints::default()).expect("a message")
    };
    texts.iter().map(decode).collect()
}

pub(super) fn checked(bodies: &[String]) -> Vec<std::borrow::Cow<'_, str>> {
    bodies.iter().map(|text| body::check(text.as_bytes(), MAX_BYTES).expect("a body")).collect()
}

/// Rows in memory, written and read as a store would.
#[derive(Default)]
pub(super) struct StoredRows(pub(super) HashMap<Identity<'static>, Row>);

impl StoredRows {
    /// A table of all rows, none of them expired.
    pub(super) fn table(&self) -> InteractionTable<'_> {
        let mut table = InteractionTable::default();
        for row in self.0.values() {
            table.insert(row, row.updated_ms, 60);
        }
        table
    }

    /// The rows that a table's changes make, copied out of it.
    pub(super) fn changed(table: &InteractionTable<'_>, now_ms: i64) -> Vec<Row> {
        table.changes(now_ms).iter().map(|change| row(&change.row())).collect()
    }

    pub(super) fn write(&mut self, rows: Vec<Row>) {
        self.0.extend(rows.into_iter().map(|row| (row.identity.clone(), row)));
    }
}

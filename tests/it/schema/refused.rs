//! Documents that must not be valid, by name.

use serde_json::{Value, json};

use super::{schema, validator};

/// A row: what is wrong, and the document.
type Row = (&'static str, Value);

fn assert_refused(name: &str, rows: &[Row]) {
    let schema = validator(&schema(name));
    let accepted = rows.iter().filter(|(_, document)| schema.is_valid(document));
    let accepted: Vec<_> = accepted.map(|(what, _)| what).collect();
    assert!(accepted.is_empty(), "{name} accepts {accepted:?}");
}

#[test]
fn rules() {
    let set_key = |key: Value| json!({ "user_data_set": [{ "name": "S", "key": [key] }] });
    assert_refused(
        "rules",
        &[
            ("no table", json!([])),
            ("an unknown section", json!({ "hstory": {} })),
            ("an unknown key", json!({ "copy_user_data": { "vlaue": "all" } })),
            ("a key list of the wrong type", json!({ "history": { "chat": 7 } })),
            ("a number in a key list", json!({ "history": { "chat": ["a", 7] } })),
            ("a queue without its keys", json!({ "history": { "queue": [{ "queue": "q" }] } })),
            ("a set without a name", json!({ "user_data_set": [{ "key": [] }] })),
            ("a set with an empty name", json!({ "user_data_set": [{ "name": "" }] })),
            ("replace without a default (U8)", set_key(json!({ "name": "k", "replace": true }))),
            (
                "replace with a null default",
                set_key(json!({ "name": "k", "replace": true, "default": null })),
            ),
            ("a set key jsonEvent", set_key(json!({ "name": "jsonEvent" }))),
            ("a flag that is a text", set_key(json!({ "name": "k", "replace": "no" }))),
            ("a widget without an id", json!({ "widget": [{ "user_data_set": "S" }] })),
            ("an assignment of nothing", json!({ "assign": [{ "key": "k" }] })),
            (
                "an assignment of both",
                json!({ "assign": [{ "key": "k", "from": "/a", "value": 1 }] }),
            ),
            (
                "an assignment onto jsonEvent (A2)",
                json!({ "assign": [{ "key": "jsonEvent", "value": 1 }] }),
            ),
            ("no JSON Pointer", json!({ "assign": [{ "key": "k", "from": "a/b" }] })),
            ("a pointer to everything", json!({ "assign": [{ "key": "k", "from": "" }] })),
            ("a pointer to jsonEvent", json!({ "assign": [{ "key": "k", "from": "/jsonEvent" }] })),
            (
                "a header with a line break (M2)",
                json!({ "metadata_item": [{ "name": "k", "default": "a\r\nb" }] }),
            ),
            ("an unknown word", json!({ "parents": { "unknown": "drop" } })),
            ("an unknown format", json!({ "keys": { "formats": { "sinch": "xml" } } })),
            ("a limit below zero", json!({ "limits": { "user_data_max_bytes": -1 } })),
        ],
    );
}

#[test]
fn settings() {
    assert_refused(
        "settings",
        &[
            ("an unknown section", json!({ "rabbitmq": {} })),
            ("an unknown setting", json!({ "amqp": { "qeue": "q" } })),
            ("a text for a number", json!({ "lanes": "2" })),
            ("a number out of its range", json!({ "lanes": 65 })),
            ("a section that is none", json!({ "amqp": "amqp://localhost" })),
            ("a URL of another scheme", json!({ "amqp": { "url": "http://localhost" } })),
            ("an empty name", json!({ "amqp": { "queue": "" } })),
            ("a text for a boolean", json!({ "topology": { "declare": "yes" } })),
            ("an unknown word", json!({ "log": { "format": "xml" } })),
        ],
    );
}

#[test]
fn cases() {
    let case = |expect: Value| json!({ "cases": [{ "expect": expect }] });
    assert_refused(
        "cases",
        &[
            ("no cases", json!({})),
            ("an empty list of cases", json!({ "cases": [] })),
            (
                "an unknown key",
                json!({ "cases": [{ "gvien": {}, "expect": { "outcome": "ended" } }] }),
            ),
            ("nothing expected", json!({ "cases": [{ "given": {} }] })),
            ("an empty expectation", case(json!({}))),
            ("an expectation of no warnings", case(json!({ "warnings": [] }))),
            ("an unknown outcome", case(json!({ "outcome": "done" }))),
            ("an unknown origin", case(json!({ "origins": { "k": "parent" } }))),
            ("an unknown warning", case(json!({ "warnings": ["odd"] }))),
            ("user data that is no object", case(json!({ "userData": [] }))),
        ],
    );
}

#[test]
fn inbound() {
    let created =
        |interaction: Value| json!({ "type": "interaction.created", "interaction": interaction });
    assert_refused(
        "inbound",
        &[
            ("no object", json!([])),
            ("no type", json!({ "interaction": { "id": "A", "channel": "chat" } })),
            ("another type", json!({ "type": "interaction.moved", "interaction": { "id": "A" } })),
            ("no interaction", json!({ "type": "interaction.updated" })),
            ("no id", created(json!({ "channel": "chat" }))),
            ("an empty id", created(json!({ "id": "", "channel": "chat" }))),
            ("a number for an id", created(json!({ "id": 7, "channel": "chat" }))),
            ("an id of 256 bytes", created(json!({ "id": "x".repeat(256), "channel": "chat" }))),
            ("an id with U+0000", created(json!({ "id": "a\0b", "channel": "chat" }))),
            ("a creation without a channel", created(json!({ "id": "A" }))),
            (
                "user data that is no map (K4)",
                created(json!({ "id": "A", "channel": "chat", "userData": "k=v" })),
            ),
            (
                "a pair without a key",
                created(json!({ "id": "A", "channel": "chat", "userData": [{ "value": 1 }] })),
            ),
            (
                "another end state",
                json!({ "type": "interaction.ended", "interaction": { "id": "A", "state": "gone" } }),
            ),
            (
                "an event without data",
                json!({ "specversion": "1.0", "type": "interaction.updated" }),
            ),
            (
                "an event of another version",
                json!({ "specversion": "0.3", "type": "interaction.updated", "data": { "interaction": { "id": "A" } } }),
            ),
        ],
    );
}

#[test]
fn enriched() {
    let valid = json!({
        "type": "interaction.enriched", "id": "b31c8c5e-0e0b-5c0f-9a38-4c2f1d2b7f10",
        "time": "2026-11-21T09:15:27.530Z", "cause": { "type": "interaction.created", "id": "1" },
        "rules": { "revision": "a1b2c3d4e5f6" }, "parent": "none", "origins": { "k": "received" },
        "interaction": { "id": "A", "channel": "chat", "userData": { "k": 1 }, "metadata": {}, "extraData": {}, "routing": { "target": "agent_queue" } },
        "warnings": [{ "code": "frozen", "key": "k" }],
    });
    assert!(validator(&schema("enriched")).is_valid(&valid));
    let with = |pointer: &str, value: Value| {
        let mut changed = valid.clone();
        *changed.pointer_mut(pointer).expect("the place is there") = value;
        changed
    };
    assert_refused(
        "enriched",
        &[
            ("another type", with("/type", json!("interaction.created"))),
            ("an enriched message called an end", with("/type", json!("interaction.ended"))),
            ("an id that is no UUIDv5", with("/id", json!("b31c8c5e-0e0b-4c0f-9a38-4c2f1d2b7f10"))),
            ("a time without milliseconds", with("/time", json!("2026-11-21T09:15:27Z"))),
            ("a short revision", with("/rules/revision", json!("a1b2"))),
            ("an unknown status of the parent", with("/parent", json!("lost"))),
            ("an unknown origin", with("/origins/k", json!("parent"))),
            ("an unknown warning", with("/warnings/0/code", json!("odd"))),
            (
                "an unknown target of the gate",
                with("/interaction/routing/target", json!("nowhere")),
            ),
            ("metadata that is no text", with("/interaction/metadata", json!({ "k": 1 }))),
            ("no interaction", with("/interaction", Value::Null)),
        ],
    );
}

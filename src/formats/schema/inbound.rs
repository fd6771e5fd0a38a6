//! The schema of our own inbound format, bare or as a structured CloudEvent (docs/messages.md).

use serde_json::{Value, json};

use super::{end_states, event_types, pairs, required_name, short_text};
use crate::domain::{EndState, Event};
use crate::formats::canonical::PARENT_IDS;
use crate::formats::look_alike::USER_DATA;
use crate::json_schema::{Table, array, document, text};

/// The schema of messages in the canonical format (JSON Schema, draft 2020-12). `$defs/data` is what a
/// CloudEvent in binary mode has for its body.
pub fn schema() -> Value {
    let body = json!({
        "if": { "required": ["specversion"], "not": { "required": ["interaction"] } },
        "then": { "$ref": "#/$defs/cloudEvent" },
        "else": { "$ref": "#/$defs/canonical" },
        "$defs": {
            "canonical": canonical(),
            "cloudEvent": cloud_event(),
            "data": envelope(Table::new()).schema(),
            "interaction": interaction(),
            "endedInteraction": ended_interaction(),
            "userData": user_data(),
        },
    });
    document(
        "inbound",
        "Inbound message",
        "What Throughline takes: its own format, bare or as a CloudEvent 1.0 (structured JSON). Members \
         of the interaction that are not named are carried through. null, and an empty string where an \
         id or a name is meant, count as absent.",
        body,
    )
}

fn canonical() -> Value {
    let table = Table::new()
        .required("type", "What happened.", event_types())
        .optional("id", "The event's id, by which a repeat is recognised. Absent: the AMQP message_id, else the SHA-256 of the body.", short_text())
        .optional("time", "The sender's time of the event, as RFC 3339.", text());
    envelope(table)
        .with(
            "allOf",
            by_type(|interaction| json!({ "properties": { "interaction": interaction } })),
        )
        .schema()
}

fn cloud_event() -> Value {
    let inner = |interaction: Value| json!({ "properties": { "interaction": interaction } });
    Table::new()
        .required("specversion", "The version of CloudEvents.", json!({ "const": "1.0" }))
        .required("type", "What happened.", event_types())
        .optional(
            "source",
            "Who says so, a URI reference; not the source of user data, which stands in data.",
            text(),
        )
        .optional("id", "The event's id, by which a repeat is recognised.", short_text())
        .optional("time", "The sender's time of the event, as RFC 3339.", text())
        // Of whatever type: what is no text counts as none.
        .optional(
            "traceparent",
            "The sender's span, where no AMQP header names it (W3C).",
            json!({}),
        )
        .optional("tracestate", "What belongs to traceparent.", json!({}))
        .required(
            "data",
            "The interaction. As text or in data_base64 it is read too, which no schema looks into.",
            envelope(Table::new()).schema(),
        )
        .others(Value::Bool(true))
        .with(
            "allOf",
            by_type(|interaction| json!({ "properties": { "data": inner(interaction) } })),
        )
        .schema()
}

fn envelope(table: Table) -> Table {
    let source = json!({ "type": "string", "examples": ["customer", "agent", "integration"] });
    table
        .optional("source", "Who attached userData; absent: the customer (P1).", source)
        .required(
            "interaction",
            "The interaction.",
            json!({ "type": "object", "required": ["id"] }),
        )
        .others(Value::Bool(true))
}

/// The schema of the interaction by the message's type; `place` wraps it where it stands.
fn by_type(place: impl Fn(Value) -> Value) -> Value {
    let is = |event: Event| json!({ "properties": { "type": { "const": event.as_str() } } });
    let with_channel = json!({
        "required": ["channel"],
        "properties": { "channel": { "type": "string", "minLength": 1 } },
    });
    json!([
        {
            "if": is(Event::Ended(EndState::Ended)),
            "then": place(json!({ "$ref": "#/$defs/endedInteraction" })),
            "else": place(json!({ "$ref": "#/$defs/interaction" })),
        },
        { "if": is(Event::Created), "then": place(with_channel) },
    ])
}

fn interaction() -> Value {
    let user_data = || json!({ "$ref": "#/$defs/userData" });
    let parent = Table::new()
        .optional("id", "The parent's id, where no other member gives it.", short_text())
        .optional("channel", "The parent's channel; absent: webengagement (C8).", short_text())
        .others(Value::Bool(true));
    let parent = USER_DATA.iter().fold(parent, |table, name| {
        table.optional(name, "The parent's user data, where the sender has it (K5).", user_data())
    });
    let attached = Table::new()
        .optional("source", "Who attached these pairs; absent: the customer.", text())
        .others(Value::Bool(true));
    let attached = USER_DATA
        .iter()
        .fold(attached, |table, name| table.optional(name, "The pairs (K5).", user_data()));
    let table = identity()
        .optional("channel", "The media type; required of a creation.", short_text())
        .optional("queue", "The queue it is in.", short_text())
        .optional("widget", "The widget it came by.", short_text())
        .optional("callTarget", "The call target it is for.", short_text())
        .optional("direction", "inbound or outbound, as the sender says it.", text())
        .optional("createdAt", "When it began, as the sender says it.", text())
        .optional("parent", "The parent itself, where the sender has it (C8).", parent.schema())
        .optional("attached", "Pairs of other sources, in order (P1).", array(attached.schema()));
    let table = USER_DATA.iter().fold(table, |table, name| {
        table.optional(name, "The pairs, from the envelope's source (K5).", user_data())
    });
    let parent_ids = "The parent's id; of all its names the first that is present counts.";
    PARENT_IDS
        .iter()
        .fold(table, |table, name| table.optional(name, parent_ids, short_text()))
        .schema()
}

/// Of an end only the identity and the state are read.
fn ended_interaction() -> Value {
    identity()
        .optional("state", "What it is now: in wrap-up, or done; absent: ended.", ended())
        .schema()
}

fn ended() -> Value {
    // An empty text counts as absent, as everywhere.
    let mut states = end_states();
    if let Some(Value::Array(words)) = states.get_mut("enum") {
        words.push("".into());
    }
    states
}

fn identity() -> Table {
    Table::new()
        .required("id", "With the tenant, the interaction's identity.", required_name())
        .optional("tenant", "Absent: the tenant without a name.", short_text())
        .others(Value::Bool(true))
}

/// The three forms of K4.
fn user_data() -> Value {
    let named =
        |key: &str| json!({ "required": [key], "properties": { key: { "type": "string" } } });
    let mut k = named("k");
    k["properties"]["key"] = json!({ "type": "null" });
    let pair = json!({ "type": "object", "anyOf": [named("key"), k] });
    json!({
        "description": "An object, a typed array of {key, type, value}, or a list of {k, v} (K4).",
        "anyOf": [pairs(), array(pair), { "type": "null" }],
    })
}

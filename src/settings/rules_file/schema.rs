//! The schema of a rules file.
//!
//! Written by hand beside `sections`, which reads the same keys: the reader has no descriptions
//! for the author of the rules. Words and defaults come from the rules themselves, and
//! `tests/it/schema.rs` holds the two to each other: the keys that the reader names where it meets an
//! unknown one are those of the schema, and whatever one of them refuses the other refuses too.
//!
//! Deliberately absent: what compares one place with another (names given twice, references to
//! nothing), keys that a JSON object holds twice, and nesting deeper than 128 levels.

use serde_json::{Value, json};

use super::sections::{KEY_NAMES, UNKNOWN_PARENT};
use crate::domain::copy_user_data::CopyUserData;
use crate::domain::rules::{Limits, Rules};
use crate::formats;
use crate::json_schema::{
    Table, array, described, document, name, or_null, text, text_or_texts, words,
};

/// The schema of a rules file (JSON Schema, draft 2020-12).
pub fn schema() -> Value {
    let key_list =
        "The keys, separated by commas, or as an array whose entries count as they are (H2).";
    let history = Table::new()
        .optional(
            "queue",
            "Lists for single queues, instead of their channel's (H2).",
            array(queue()),
        )
        .others(described(key_list, or_null(text_or_texts())));
    let allocated = Table::new().others(described(key_list, or_null(text_or_texts())));
    let priority = Table::new().optional(
        "order",
        "The sources, strongest first. Those of customer, agent and integration that are left out \
         rank last. Default: customer, agent, integration.",
        array(text()),
    );
    let parents = Table::new().optional(
        "unknown",
        "What becomes of a child whose parent is not known even after waiting: published without its \
         data, or set aside (C9).",
        with_default(words(UNKNOWN_PARENT.map(|(word, _)| word)), UNKNOWN_PARENT[0].0),
    );
    let rules = Table::new()
        .optional("copy_user_data", "What children are given of their parent (C1 to C9).", copy_user_data())
        .optional("assign", "Pairs that the rules set when an interaction is created (A1).", array(assign()))
        .optional("user_data_set", "What forms may send (U1 to U9).", array(user_data_set()))
        .optional("widget", "The forms.", array(widget()))
        .optional("call_target", "Call targets and what is passed on to them (M1).", array(call_target()))
        .optional("metadata_item", "What is passed on to every call target (M1).", array(metadata_item()))
        .optional("history", "By channel: the keys that are saved. A channel that is not named saves nothing (H1).", history.schema())
        .optional("allocated", "By channel: the only keys that are published. A channel that is not named publishes all (H6).", allocated.schema())
        .optional("priority", "Whose pair counts when several sources give the same key (P1).", priority.schema())
        .optional("keys", "Which names of keys are taken (K6).", keys())
        .optional("updates", "What updates may change.", updates())
        .optional("parents", "Parents that stay unknown.", parents.schema())
        .optional("limits", "Sizes of the finished user data, in bytes of JSON (K7).", limits());
    document(
        "rules",
        "Rules of Throughline",
        "A rules file: what happens to user data. TOML, or JSON with the same keys. Letters and \
         numbers in brackets are the rules of docs/rules.md. null counts as absent.",
        rules.schema(),
    )
}

fn with_default(mut schema: Value, default: impl Into<Value>) -> Value {
    schema["default"] = default.into();
    schema
}

fn copy_user_data() -> Value {
    let default = CopyUserData::none();
    Table::new()
        .optional("value", COPY_VALUE, text())
        .optional(
            "parents",
            "Channels of parents that it applies to (C5).",
            with_default(array(text()), default.parents),
        )
        .optional(
            "children",
            "Channels of children that it applies to (C5).",
            with_default(array(text()), default.children),
        )
        .optional(
            "route",
            "Other values for pairs of channels; the first match wins (C5).",
            array(route()),
        )
        .schema()
}

const COPY_VALUE: &str = "`no` copies nothing, `all` everything but jsonEvent, anything else is a list \
                          of keys, separated by semicolons (C1, C4). Absent or empty: nothing.";

fn route() -> Value {
    Table::new()
        .required("parent", "The parent's channel.", name())
        .required("child", "The child's channel.", name())
        .optional("value", COPY_VALUE, text())
        .schema()
}

fn assign() -> Value {
    // An RFC 6901 pointer of one token at least.
    let pointer = json!({
        "type": "string",
        "pattern": "^(/([^/~]|~[01])*)+$",
        "not": { "const": "/jsonEvent" },
    });
    let (given, absent) = (json!({ "not": { "type": "null" } }), json!({ "type": "null" }));
    let either = json!([
        { "required": ["from"], "properties": { "from": given, "value": absent } },
        { "required": ["value"], "properties": { "value": given, "from": absent } },
    ]);
    Table::new()
        .optional("channel", "Only for this channel; absent: for every interaction.", text())
        .required("key", "The key that is set. Not jsonEvent (A2).", name_but_json_event())
        .optional(
            "from",
            "A JSON Pointer into the received pairs, key first, as in /jsonEvent/page/title.",
            pointer,
        )
        .optional("value", "A constant: any JSON value, published as written (K2).", json!({}))
        .with("oneOf", either)
        .schema()
}

fn name_but_json_event() -> Value {
    json!({ "type": "string", "minLength": 1, "not": { "const": "jsonEvent" } })
}

fn user_data_set() -> Value {
    Table::new()
        .required("name", "Its name, by which widgets refer to it.", name())
        .optional("description", "For people.", text())
        .optional("key", "The keys that may be sent; any other is dropped (U5).", array(set_key()))
        .schema()
}

fn set_key() -> Value {
    let replaces =
        json!({ "required": ["replace"], "properties": { "replace": { "const": true } } });
    let has_default = json!({ "required": ["default"], "properties": { "default": { "not": { "type": "null" } } } });
    Table::new()
        .required("name", "The key, byte for byte (K1). Not jsonEvent.", name_but_json_event())
        .optional("default", "The value where none is sent (U1): any JSON value.", json!({}))
        .optional(
            "replace",
            "Whether the default takes the place of whatever is sent (U4); needs a default (U8).",
            with_default(json!({ "type": "boolean" }), false),
        )
        .with("if", replaces)
        .with("then", has_default)
        .schema()
}

fn widget() -> Value {
    Table::new()
        .required("id", "Its id, as interactions name it.", name())
        .optional(
            "user_data_set",
            "The set it follows; none: nothing it submits passes (U6).",
            text(),
        )
        .optional("call_target", "The call target of its interactions that name none.", text())
        .schema()
}

fn call_target() -> Value {
    Table::new()
        .required("id", "Its id, as interactions name it.", name())
        .optional(
            "metadata_item",
            "What is passed on to it, beside what is for all (M1).",
            array(metadata_item()),
        )
        .schema()
}

fn metadata_item() -> Value {
    let header_text = json!({ "type": "string", "pattern": "^[^\\r\\n\\u0000]*$" });
    Table::new()
        .required("name", "The key whose value is passed on, by exactly this name (M1).", name())
        .optional(
            "default",
            "The text where the key is missing; no CR, LF or NUL (M2).",
            header_text,
        )
        .schema()
}

fn queue() -> Value {
    Table::new()
        .required("queue", "The queue's name.", name())
        .required("keys", "The keys that are saved.", text_or_texts())
        .schema()
}

fn keys() -> Value {
    let which = || words(KEY_NAMES.map(|(word, _)| word));
    let by_format = formats::decodable().fold(Table::new(), |table, format| {
        table.optional(format, "For this format, before all else.", which())
    });
    Table::new()
        .optional(
            "names",
            "`any` key but the empty one, or only `xml` element names. Default: the format's own.",
            which(),
        )
        .optional("formats", "By inbound format.", by_format.schema())
        .schema()
}

fn updates() -> Value {
    let mut frozen: Vec<_> = Rules::empty().customer_frozen.into_iter().collect();
    frozen.sort();
    let schema = with_default(array(text()), frozen);
    let what = "Channels on which an update's pairs from the customer are dropped.";
    Table::new().optional("customer_frozen", what, schema).schema()
}

fn limits() -> Value {
    let default = Limits::default();
    // The bound is that of the machine: the reader accepts any `usize`.
    let bytes = || json!({ "type": "integer", "minimum": 0, "maximum": usize::MAX });
    Table::new()
        .optional(
            "user_data_warn_bytes",
            "Above this it warns.",
            with_default(bytes(), default.user_data_warn_bytes),
        )
        .optional(
            "user_data_max_bytes",
            "Above this the message is set aside.",
            with_default(bytes(), default.user_data_max_bytes),
        )
        .schema()
}

//! The schema of a case file, written by hand beside `file`, which reads it; `tests/it/schema.rs`
//! holds the two to each other. The words come from the enums they belong to.
//!
//! Inline rules may be any JSON, since a case may be about rules that are refused; editors are
//! offered the rules' schema all the same. Deliberately absent: what the rules schema leaves out.

use serde_json::{Value, json};

use super::file::{MAPS, OUTCOMES};
use crate::domain::{DropReason, Origin, ParentStatus, RejectReason, WarningCode};
use crate::json_schema::{Table, array, document, embedded, or_null, text, words};
use crate::settings::rules_file;

/// The schema of a case file (JSON Schema, draft 2020-12).
pub fn schema() -> Value {
    let cases = json!({ "type": "array", "items": case(), "minItems": 1 });
    let mut file = Table::new()
        .optional("rules", "The rules of cases that have none of their own: inline, or a path relative to this file.", rules())
        .required("cases", "The cases.", cases)
        .schema();
    file["$defs"] = json!({ "rules": embedded(rules_file::schema(), "#/$defs/rules") });
    document(
        "cases",
        "Cases of Throughline",
        "A case file, for `throughline test`: unit tests for rules. JSON, or TOML with the same keys. \
         null counts as absent.",
        file,
    )
}

fn rules() -> Value {
    json!({ "anyOf": [{ "$ref": "#/$defs/rules" }, { "type": ["string", "object"] }] })
}

fn case() -> Value {
    let message = "A message: JSON, or a string that holds the raw body.";
    Table::new()
        .optional("name", "What it shows.", text())
        .optional("rules", "Its own rules; they replace the file's.", rules())
        .optional("format", "The format of its messages; absent or auto: by their shape.", text())
        .optional(
            "before",
            "Messages that are played first, in order.",
            array(json!({ "description": message })),
        )
        .optional(
            "given",
            "The message whose outcome is compared: JSON, or a string that holds the raw body.",
            json!({}),
        )
        .optional(
            "last_attempt",
            "Whether it is decided as after the last attempt.",
            json!({ "type": "boolean", "default": false }),
        )
        .required(
            "expect",
            "What is expected; what is not named is not compared. At least one thing.",
            expect(),
        )
        .schema()
}

fn expect() -> Value {
    let word = |all: &[&'static str]| words(all.iter().copied());
    let by_key = |word: Value| Table::new().others(or_null(word)).schema();
    let origins = words(Origin::ALL.iter().map(|word| word.as_str()));
    let reasons = words(DropReason::ALL.iter().map(|word| word.as_str()));
    let warnings = words(WarningCode::ALL.iter().map(|word| word.as_str()));
    let rejections = words(RejectReason::ALL.iter().map(|word| word.as_str()));
    let table = Table::new()
        .optional("outcome", "What the message comes to.", word(&OUTCOMES))
        .optional(
            "parent",
            "The parent's status.",
            word(&ParentStatus::ALL.map(ParentStatus::as_str)),
        )
        .optional("origins", "By key: where the published pair came from.", by_key(origins))
        .optional("dropped", "By key: why its pair is not published.", by_key(reasons))
        .optional("warnings", "Warnings that must occur.", array(warnings))
        .optional("reason", "Why the message is rejected.", rejections)
        .optional("detail", "What exactly is wrong with it, as dead letters say it.", text())
        .optional(
            "rulesError",
            "The path of a problem for which the rules must be refused.",
            text(),
        )
        .optional(
            "rulesWarnings",
            "Paths that warnings about the rules must occur at.",
            array(text()),
        );
    let maps = MAPS.iter().fold(table, |table, map| {
        table.optional(map, "Must be equal, values as written.", json!({ "type": "object" }))
    });
    maps.with("anyOf", any_expectation()).schema()
}

/// Requires that one member at least holds an expectation.
fn any_expectation() -> Value {
    let present =
        |key: &str, schema: Value| json!({ "required": [key], "properties": { key: schema } });
    let texts =
        ["outcome", "parent", "reason", "detail", "rulesError"].map(|key| present(key, text()));
    let maps = MAPS.map(|key| present(key, json!({ "type": "object" })));
    let by_key = ["origins", "dropped"].map(|key| {
        present(
            key,
            json!({ "type": "object", "not": { "additionalProperties": { "type": "null" } } }),
        )
    });
    let lists = ["warnings", "rulesWarnings"]
        .map(|key| present(key, json!({ "type": "array", "minItems": 1 })));
    texts.into_iter().chain(maps).chain(by_key).chain(lists).collect()
}

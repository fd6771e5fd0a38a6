//! The schema of the published messages (docs/messages.md, *Outbound*).

use serde_json::{Value, json};

use super::{end_states, event_types, pairs, required_name};
use crate::domain::{Origin, ParentStatus, RoutingTarget, WarningCode};
use crate::json_schema::{Table, array, document, name, text, words};

/// The schema of the published messages (JSON Schema, draft 2020-12): `$defs/enriched` and `$defs/ended`.
pub fn schema() -> Value {
    let body = json!({
        "oneOf": [{ "$ref": "#/$defs/enriched" }, { "$ref": "#/$defs/ended" }],
        "$defs": { "enriched": enriched(), "ended": ended() },
    });
    document(
        "enriched",
        "Outbound message",
        "What Throughline publishes: interaction.enriched, and interaction.ended. Consumers should \
         expect members that are not named here.",
        body,
    )
}

fn enriched() -> Value {
    let statuses = words(ParentStatus::ALL.map(ParentStatus::as_str));
    let origins = words(Origin::ALL.iter().map(|word| word.as_str()));
    let origins = Table::new().others(origins).schema();
    let routing = Table::new()
        .required(
            "target",
            "Where the caller is to go.",
            words(RoutingTarget::ALL.map(RoutingTarget::as_str)),
        )
        .present("widgetState", "The widget's state, where one was answered.", text())
        .others(Value::Bool(true));
    let interaction = interaction()
        .required("userData", "The finished data (H6).", pairs())
        .required("metadata", "What passes the out-gate (M1).", texts())
        .present("routing", "The status gate's answer, on its channels only.", routing.schema());
    envelope("interaction.enriched")
        .required("parent", "What is known of the parent (C8, C9).", statuses)
        .required("interaction", "As received, filled up with what is known.", interaction.schema())
        .present(
            "origins",
            "By key: where the published pair came from (P2); absent with output.origins = false.",
            origins,
        )
        .schema()
}

fn ended() -> Value {
    let interaction = interaction().required("state", "What it is now.", end_states());
    envelope("interaction.ended")
        .required("interaction", "As received, filled up with what is known.", interaction.schema())
        .schema()
}

fn envelope(kind: &str) -> Table {
    let id = json!({
        "type": "string",
        "format": "uuid",
        "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    });
    let time = json!({
        "type": "string",
        "format": "date-time",
        "pattern": "^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d{3}Z$",
    });
    let cause = Table::new()
        .required("type", "Its type.", event_types())
        .required("id", "Its id.", name())
        .others(Value::Bool(true));
    let revision = json!({ "type": "string", "pattern": "^[0-9a-f]{12}$" });
    let rules = Table::new()
        .required("revision", "Of their canonical form's SHA-256, the first 12 digits.", revision)
        .others(Value::Bool(true));
    let codes = words(WarningCode::ALL.iter().map(|word| word.as_str()));
    let warning = Table::new()
        .required("code", "What.", codes)
        .present("key", "The key it is about.", text())
        .others(Value::Bool(true));
    Table::new()
        .required("type", "What this is.", json!({ "const": kind }))
        .required("id", "The same for the same event of the same interaction: a repeat is recognised by it. Also the AMQP message_id.", id)
        .required("time", "When it was worked out, UTC.", time)
        .required("cause", "The inbound event.", cause.schema())
        .required("rules", "Which rules it was worked out by.", rules.schema())
        .required("warnings", "What was noteworthy; each once.", array(warning.schema()))
        .others(Value::Bool(true))
}

fn interaction() -> Table {
    Table::new()
        .required("id", "The interaction's id.", required_name())
        .required("channel", "The media type.", required_name())
        .required("extraData", "What history keeps (H1).", texts())
        // Present where they are known.
        .present("tenant", "The tenant, if it has a name.", required_name())
        .present("queue", "The queue it is in.", required_name())
        .present("widget", "The widget it came by.", required_name())
        .present("callTarget", "The call target it is for.", required_name())
        .present("parentId", "The parent's id.", required_name())
        .present(
            "upstream",
            "What a vendor's message says beside the interaction (docs/formats.md).",
            json!({ "type": "object" }),
        )
        .others(Value::Bool(true))
}

/// A map of texts.
fn texts() -> Value {
    Table::new().others(text()).schema()
}

//! The messages of the AsyncAPI document: headers, properties, and where their bodies are described.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::BINDING_VERSION;
use crate::broker::headers;
use crate::domain::RejectReason;
use crate::formats::{self, outbound::OutboundFormat};
use crate::json_schema::{text, words};
use crate::pipeline::ports::PublishedKind;
use crate::pipeline::settlement::WaitCause;

/// The messages that vendors and our own senders publish.
pub(super) const INBOUND: [&str; 3] = ["interaction", "cloudEventBinary", "vendor"];

/// All messages, by name.
pub(super) fn messages() -> Value {
    let inbound = json!({ "$ref": "#/components/schemas/inbound" });
    let data = json!({ "$ref": "#/components/schemas/inbound/$defs/data" });
    let any = json!({ "description": "As received, byte for byte." });
    let vendor =
        json!({ "type": "object", "description": "A vendor's own format (docs/formats.md)." });
    json!({
        "interaction": message("Our own format, bare or a structured CloudEvent", inbound, table(&SENT, &[])),
        "cloudEventBinary": message("A CloudEvent in binary mode: its attributes are headers", data, cloud_event()),
        "vendor": message("A vendor's own format", vendor, table(&SENT, &[])),
        "enriched": published(PublishedKind::Enriched, "enriched"),
        "ended": published(PublishedKind::Ended, "ended"),
        "waiting": message("A message that waits: body and properties as received", any.clone(), copy(&WAITING)),
        "deadLetter": message("A message that was set aside: body and properties as received", any.clone(), copy(&DEAD)),
        "replayed": message("A dead letter on its way back: body and properties as received", any, copy(&REPLAYED)),
    })
}

fn message(title: &str, payload: Value, headers: Value) -> Value {
    let mut message = json!({ "title": title, "contentType": "application/json" });
    message["headers"] = headers;
    message["payload"] = payload;
    message
}

fn published(kind: PublishedKind, schema: &str) -> Value {
    let payload = json!({ "$ref": format!("#/components/schemas/enriched/$defs/{schema}") });
    let headers = table(&OURS, &[headers::REVISION]);
    let mut message = message(kind.as_str(), payload, headers);
    message["bindings"] =
        json!({ "amqp": { "messageType": kind.as_str(), "bindingVersion": BINDING_VERSION } });
    message["x-amqp-properties"] = json!({
        "app_id": "throughline",
        "content_type": "application/json",
        "correlation_id": "the inbound event's id",
        "delivery_mode": headers::PERSISTENT,
        "message_id": "the message's id, the same for a repeat",
        "timestamp": "when it was worked out, in seconds since the Unix epoch",
        "type": kind.as_str(),
    });
    message
}

/// The headers of published messages.
const OURS: [&str; 3] = [headers::TRACE_PARENT, headers::TRACE_STATE, headers::REVISION];

/// What leaves in another shape (`[[output]]`), under its name in the settings.
pub(super) fn output(format: OutboundFormat) -> Value {
    let (name, encoding) = format.words();
    let title = [Some(name), encoding].into_iter().flatten().collect::<Vec<_>>().join(", as ");
    let kinds =
        || words([PublishedKind::Enriched, PublishedKind::Ended].map(PublishedKind::as_str));
    let mut headers = table(&OURS, &[headers::REVISION]);
    let payload = match format {
        OutboundFormat::Enriched => json!({ "$ref": "#/components/schemas/enriched" }),
        OutboundFormat::CloudEvent => json!({
            "type": "object",
            "description": "A CloudEvent 1.0; its data are those of the enriched message.",
            "required": ["specversion", "type", "source", "id", "time", "data"],
            "properties": {
                "type": kinds(),
                "traceparent": header(headers::TRACE_PARENT),
                "tracestate": header(headers::TRACE_STATE),
                "data": { "type": "object" },
            },
        }),
        OutboundFormat::CloudEventBinary(prefix) => {
            headers["patternProperties"] = json!({
                format!("^{}", prefix.as_str()): { "type": "string", "description": "An attribute of the event." },
            });
            json!({ "type": "object", "description": "The data of the event that the headers tell." })
        }
        OutboundFormat::SapC4cJson | OutboundFormat::SapC4cXml => {
            json!({ "description": "SAP Service Cloud's payload (docs/messages.md)." })
        }
    };
    let mut message = message(&title, payload, headers);
    message["contentType"] = format.content_type().into();
    message
}

/// What a message may have brought along.
const SENT: [&str; 9] = [
    headers::FORMAT,
    headers::WIDGET,
    headers::TRACE_PARENT,
    headers::TRACE_STATE,
    headers::SIGNATURE,
    headers::SIGNATURE_NONCE[0],
    headers::SIGNATURE_NONCE[1],
    headers::SIGNATURE_TIMESTAMP[0],
    headers::SIGNATURE_TIMESTAMP[1],
];

/// What takes the place of properties that would act on a copy.
const MOVED: [&str; 7] = [
    headers::EXPIRATION,
    headers::USER_ID,
    headers::CC,
    headers::BCC,
    headers::REPLY_TO,
    headers::PRIORITY,
    headers::HEADERS_LEFT_OUT,
];

const WAITING: [&str; 5] = [
    headers::ATTEMPTS,
    headers::REASON,
    headers::FIRST_SEEN,
    headers::ROUTING_KEY,
    headers::REPLAYED,
];

const DEAD: [&str; 10] = [
    headers::ATTEMPTS,
    headers::REASON,
    headers::FIRST_SEEN,
    headers::ROUTING_KEY,
    headers::DETAIL,
    headers::STAGE,
    headers::QUEUE,
    headers::UNDECODABLE,
    headers::REPLAYED,
    headers::DEATH,
];

const REPLAYED: [&str; 2] = [headers::REPLAYED, headers::ROUTING_KEY];

/// The headers of a copy of a message: whatever its sender wrote stays.
fn copy(marks: &[&'static str]) -> Value {
    table(&[&SENT[..], &MOVED[..], marks].concat(), &[])
}

fn cloud_event() -> Value {
    let mut headers = table(&SENT, &[]);
    let described = |what: &str| json!({ "description": what });
    headers["patternProperties"] = json!({
        "^cloudEvents[:_]": described("An attribute of the event; with _ for clients that cannot write a colon."),
        "^[cC][eE]-": described("An attribute of the event, by Knative's binding for RabbitMQ."),
    });
    headers["anyOf"] = json!([
        { "required": ["cloudEvents:specversion", "cloudEvents:type"] },
        { "required": ["cloudEvents_specversion", "cloudEvents_type"] },
        { "required": ["ce-specversion", "ce-type"] },
        { "required": ["specversion", "type", "id", "source"] },
    ]);
    headers
}

fn table(names: &[&str], required: &[&str]) -> Value {
    let properties: Map<_, _> =
        names.iter().map(|name| ((*name).to_owned(), header(name))).collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// What a header holds. Counts and times may come as any of AMQP's integers.
fn header(name: &str) -> Value {
    let (mut schema, what) = match name {
        headers::FORMAT => {
            let formats = formats::decodable().chain(["auto"]);
            (words(formats), "the message's format, stronger than the setting")
        }
        headers::SIGNATURE => {
            (text(), "with its nonce and timestamp: who sent it, where a source asks for it")
        }
        headers::WIDGET => (text(), "the widget, for formats whose body may leave it to the page"),
        headers::TRACE_PARENT => {
            (text(), "W3C trace context: the span that the message comes from")
        }
        headers::TRACE_STATE => (text(), "W3C trace context: what belongs to traceparent"),
        headers::REVISION => (text(), "the revision of the rules"),
        headers::ATTEMPTS => {
            (count(), "how often it has waited for this cause, this wait included")
        }
        headers::REASON => {
            let reasons = RejectReason::ALL.iter().map(|reason| reason.as_str());
            let causes = WaitCause::ALL.iter().map(|cause| cause.as_str());
            let both: BTreeSet<_> = reasons.chain(causes).collect();
            (words(both), "what it waits for, or why it was set aside")
        }
        headers::DETAIL => (text(), "what exactly is wrong with it; never a value"),
        headers::FIRST_SEEN => (json!({ "type": "integer" }), "milliseconds since the Unix epoch"),
        headers::ROUTING_KEY => (text(), "the routing key it first came with"),
        headers::QUEUE => (text(), "the work queue it came from"),
        headers::UNDECODABLE => (text(), "the properties that were not UTF-8, separated by commas"),
        headers::STAGE => (words(["decode", "propagate", "save", "publish"]), "where in the line"),
        headers::REPLAYED => (count(), "how often it was replayed"),
        headers::DEATH => {
            (json!({ "type": "array" }), "RabbitMQ's, where it set the message aside")
        }
        headers::EXPIRATION => (text(), "the property expiration as received"),
        headers::USER_ID => (text(), "the property user_id as received"),
        headers::CC => (json!({}), "the header CC as received"),
        headers::BCC => (json!({}), "the header BCC as received"),
        headers::HEADERS_LEFT_OUT => {
            (text(), "the names of headers that the copy has no room for, separated by commas")
        }
        headers::REPLY_TO => (text(), "the property reply_to as received"),
        headers::PRIORITY => (count(), "the property priority as received"),
        _ => (json!({}), "as received"),
    };
    schema["description"] = what.into();
    schema
}

fn count() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

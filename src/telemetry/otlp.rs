//! Spans as OTLP has them, in its JSON form: `ExportTraceServiceRequest` of OpenTelemetry's protocol 1.x.
//!
//! | member | encoding |
//! |---|---|
//! | ids | lowercase hexadecimal digits, unlike protobuf's own JSON |
//! | 64-bit numbers | strings |
//! | enums | numbers |
//!
//! Pure. Deliberately absent: members that no span of this program has (events, dropped attributes).

use serde::Serialize;

use crate::domain::digest::Hex;
use crate::formats::trace_context::SpanContext;
use crate::pipeline::observe::spans::{Attribute, Span, SpanKind};

/// The body of an export request for these spans.
///
/// # Errors
/// None in practice: serialising these types to text cannot fail.
pub(super) fn request(service_name: &str, spans: &[Span]) -> Result<String, serde_json::Error> {
    let resource = vec![
        text("service.name", service_name),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let scope = Scope { name: "throughline", version: env!("CARGO_PKG_VERSION") };
    let spans = spans.iter().map(SpanJson::from_span).collect();
    let scope_spans = [ScopeSpans { scope, spans }];
    let resource_spans =
        [ResourceSpans { resource: Resource { attributes: resource }, scope_spans }];
    serde_json::to_string(&Request { resource_spans })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'s> {
    resource_spans: [ResourceSpans<'s>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'s> {
    resource: Resource<'s>,
    scope_spans: [ScopeSpans<'s>; 1],
}

#[derive(Serialize)]
struct Resource<'s> {
    attributes: Vec<KeyValue<'s>>,
}

#[derive(Serialize)]
struct ScopeSpans<'s> {
    scope: Scope,
    spans: Vec<SpanJson<'s>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'s> {
    trace_id: String,
    span_id: String,
    trace_state: &'s str,
    parent_span_id: String,
    /// The trace's flags, as W3C has them.
    flags: u32,
    name: &'s str,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: Vec<KeyValue<'s>>,
    links: Vec<Link>,
    dropped_links_count: usize,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    trace_id: String,
    span_id: String,
    flags: u32,
}

/// `STATUS_CODE_UNSET`, or `STATUS_CODE_ERROR`; the attribute `error.type` has the cause.
#[derive(Serialize)]
struct Status {
    code: u8,
}

#[derive(Serialize)]
struct KeyValue<'s> {
    key: &'static str,
    value: Value<'s>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Value<'s> {
    StringValue(&'s str),
    IntValue(String),
}

impl<'s> SpanJson<'s> {
    fn from_span(span: &'s Span) -> SpanJson<'s> {
        let mut attributes: Vec<_> =
            span.attributes.iter().map(|(key, value)| attribute(key, value)).collect();
        attributes.extend(span.error.map(|error| text("error.type", error)));
        SpanJson {
            trace_id: Hex(&span.context.trace_id).to_string(),
            span_id: Hex(&span.context.span_id).to_string(),
            trace_state: span.state.as_deref().unwrap_or_default(),
            parent_span_id: span.parent.map(|id| Hex(&id).to_string()).unwrap_or_default(),
            flags: span.context.flags.into(),
            name: &span.name,
            // As the protocol numbers them.
            kind: match span.kind {
                SpanKind::Client => 3,
                SpanKind::Producer => 4,
                SpanKind::Consumer => 5,
            },
            start_time_unix_nano: span.start_ns.to_string(),
            end_time_unix_nano: span.end_ns.to_string(),
            attributes,
            links: span.links.iter().map(Link::from_context).collect(),
            dropped_links_count: span.links_dropped,
            status: Status { code: if span.error.is_some() { 2 } else { 0 } },
        }
    }
}

impl Link {
    fn from_context(context: &SpanContext) -> Link {
        Link {
            trace_id: Hex(&context.trace_id).to_string(),
            span_id: Hex(&context.span_id).to_string(),
            flags: context.flags.into(),
        }
    }
}

fn attribute<'s>(key: &'static str, value: &'s Attribute) -> KeyValue<'s> {
    match value {
        Attribute::Word(word) => text(key, word),
        Attribute::Text(value) => text(key, value),
        Attribute::Number(number) => KeyValue { key, value: Value::IntValue(number.to_string()) },
    }
}

fn text<'s>(key: &'static str, value: &'s str) -> KeyValue<'s> {
    KeyValue { key, value: Value::StringValue(value) }
}

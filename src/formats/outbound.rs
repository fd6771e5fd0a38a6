//! The shapes in which an interaction can leave besides our own (docs/messages.md, *Further outputs*).
//!
//! | format | body | content type |
//! |---|---|---|
//! | `enriched` | [`super::enriched`], byte for byte | `application/json` |
//! | `cloud-event` | a CloudEvent 1.0 around it | `application/cloudevents+json` |
//! | `cloud-event-binary` | the event's data; its attributes stand in headers, behind a [`Prefix`] | `application/json` |
//! | `sap-c4c` | SAP Service Cloud's payload, as JSON or XML | `application/json`, `application/xml` |
//!
//! A CloudEvent also names the span it comes from (`traceparent`, `tracestate`), where there is one.
//!
//! A CloudEvent has the id of the enriched message: it is the same event in another format. Deliberately
//! absent: where any of them goes, and under which `message_id`.

use super::Decoded;
use super::cloud_event::{TRACE_PARENT, TRACE_STATE, trace_attributes};
use super::enriched::{Stamp, Unrouted, content, encode_open, kind, message_id};
use super::json::Json;
use super::sap_c4c::{self, Payload};
use crate::domain::Step;

/// A shape in which an interaction is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboundFormat {
    /// As the enriched message.
    Enriched,
    /// A CloudEvent in structured mode.
    CloudEvent,
    /// A CloudEvent in binary mode, its attributes behind this prefix.
    CloudEventBinary(Prefix),
    /// SAP Service Cloud's payload, as JSON.
    SapC4cJson,
    /// SAP Service Cloud's payload, as XML.
    SapC4cXml,
}

/// The prefix of the headers that hold a CloudEvent's attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Prefix {
    /// As CloudEvents' AMQP binding has it.
    #[default]
    Colon,
    /// The same for consumers whose API does not allow a colon in a name (JMS).
    Underscore,
    /// Knative's binding for RabbitMQ.
    Ce,
}

impl Prefix {
    /// Every prefix.
    pub const ALL: [Prefix; 3] = [Prefix::Colon, Prefix::Underscore, Prefix::Ce];

    /// The prefix itself, which is its word in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Prefix::Colon => "cloudEvents:",
            Prefix::Underscore => "cloudEvents_",
            Prefix::Ce => "ce-",
        }
    }
}

/// A message in the format that an output publishes.
#[derive(Clone)]
pub struct Encoded {
    /// The body.
    pub body: Vec<u8>,
    /// The media type of the body.
    pub content_type: &'static str,
    /// Headers that belong to it.
    pub headers: Vec<(&'static str, String)>,
    /// Where in the body the status gate's answer may be added; `None` where it has no place.
    pub routing_at: Option<usize>,
}

/// The header that warns of pairs whose keys are no XML names: how many are left out.
const LEFT_OUT: &str = "x-throughline-left-out";

/// The header that names the members left out because they hold a national number or an extension.
const NUMBER_LEFT_OUT: &str = "x-throughline-number-left-out";

/// The `source` of a CloudEvent: a URI reference, which need not be resolvable.
const SOURCE: &str = "/throughline";

impl OutboundFormat {
    /// Every format; of those with a prefix, with the usual one.
    pub const ALL: [OutboundFormat; 5] = [
        OutboundFormat::Enriched,
        OutboundFormat::CloudEvent,
        OutboundFormat::CloudEventBinary(Prefix::Colon),
        OutboundFormat::SapC4cJson,
        OutboundFormat::SapC4cXml,
    ];

    /// The words for it in the settings: its name, and its encoding where it has several.
    pub fn words(self) -> (&'static str, Option<&'static str>) {
        match self {
            OutboundFormat::Enriched => ("enriched", None),
            OutboundFormat::CloudEvent => ("cloud-event", None),
            OutboundFormat::CloudEventBinary(_) => ("cloud-event-binary", None),
            OutboundFormat::SapC4cJson => ("sap-c4c", Some("json")),
            OutboundFormat::SapC4cXml => ("sap-c4c", Some("xml")),
        }
    }

    /// The media type of the body.
    pub fn content_type(self) -> &'static str {
        match self {
            OutboundFormat::Enriched
            | OutboundFormat::CloudEventBinary(_)
            | OutboundFormat::SapC4cJson => "application/json",
            OutboundFormat::CloudEvent => "application/cloudevents+json",
            OutboundFormat::SapC4cXml => "application/xml",
        }
    }

    /// Encodes what is published of a message; `None` if nothing is.
    pub fn encode(
        self,
        decoded: &Decoded<'_>,
        step: &Step<'_>,
        stamp: Stamp<'_>,
    ) -> Option<Encoded> {
        let json = |body| Encoded {
            body,
            content_type: self.content_type(),
            headers: Vec::new(),
            routing_at: None,
        };
        match self {
            OutboundFormat::Enriched => {
                let id = message_id(decoded).to_string();
                let Unrouted { body, routing_at } = encode_open(&id, decoded, step, stamp)?;
                Some(Encoded { routing_at, ..json(body) })
            }
            OutboundFormat::CloudEvent => {
                let mut event = Json::open();
                for (name, value) in attributes(decoded, step, stamp)? {
                    event.name(name).text(&value);
                }
                event.name("datacontenttype").text("application/json");
                let mut routing_at = None;
                event.name("data").object(|data| {
                    routing_at = content(data, decoded, step, stamp);
                });
                Some(Encoded { routing_at, ..json(event.close()) })
            }
            OutboundFormat::CloudEventBinary(prefix) => {
                let attributes = attributes(decoded, step, stamp)?;
                let mut data = Json::open();
                let routing_at = content(&mut data, decoded, step, stamp);
                let headers = attributes.map(|(name, value)| (header(prefix, name), value));
                Some(Encoded { headers: headers.collect(), routing_at, ..json(data.close()) })
            }
            OutboundFormat::SapC4cJson | OutboundFormat::SapC4cXml => {
                let Payload { body, unnamed, numbers } = match self {
                    OutboundFormat::SapC4cXml => sap_c4c::xml(decoded, step)?,
                    _ => sap_c4c::json(decoded, step)?,
                };
                let unnamed = (unnamed > 0).then(|| (LEFT_OUT, unnamed.to_string()));
                let numbers = (!numbers.is_empty()).then(|| (NUMBER_LEFT_OUT, numbers.join(",")));
                let headers = unnamed.into_iter().chain(numbers).collect();
                Some(Encoded { headers, ..json(body) })
            }
        }
    }
}

/// The attributes of the event, but for what its data are; `None` if nothing is published.
fn attributes(
    decoded: &Decoded<'_>,
    step: &Step<'_>,
    stamp: Stamp<'_>,
) -> Option<impl Iterator<Item = (&'static str, String)>> {
    let event = [
        ("specversion", "1.0".to_owned()),
        ("type", kind(&step.outcome)?.to_owned()),
        ("source", SOURCE.to_owned()),
        ("id", message_id(decoded).to_string()),
        ("time", stamp.time.to_owned()),
        ("subject", decoded.message.identity.id.to_string()),
    ];
    Some(event.into_iter().chain(trace_attributes(&decoded.trace)))
}

/// The AMQP header of an attribute.
fn header(prefix: Prefix, attribute: &'static str) -> &'static str {
    /// The header of each attribute, the last one for any other.
    macro_rules! headers {
        ($prefix:literal) => {
            match attribute {
                "specversion" => concat!($prefix, "specversion"),
                "type" => concat!($prefix, "type"),
                "source" => concat!($prefix, "source"),
                "id" => concat!($prefix, "id"),
                "time" => concat!($prefix, "time"),
                TRACE_PARENT => concat!($prefix, "traceparent"),
                TRACE_STATE => concat!($prefix, "tracestate"),
                _ => concat!($prefix, "subject"),
            }
        };
    }
    match prefix {
        Prefix::Colon => headers!("cloudEvents:"),
        Prefix::Underscore => headers!("cloudEvents_"),
        Prefix::Ce => headers!("ce-"),
    }
}

//! CloudEvents 1.0 around our own format or a vendor's: structured (JSON) or binary (AMQP headers).
//!
//! `type`, `id` and `time` are the event's; its `source` is a URI and not ours. `data_base64` is not
//! read: whoever sends JSON sends it as `data`.

use std::borrow::Cow;

use super::canonical::{self, Parts};
use super::fields::Fields;
use super::{Decoded, Envelope, FORMATS, OuterEvent, Refusal, Trace, recognise as by_shape};

/// The format's name.
pub(super) const NAME: &str = "cloud-event";

/// Attributes of the distributed tracing extension.
pub(super) const TRACE_PARENT: &str = "traceparent";
pub(super) const TRACE_STATE: &str = "tracestate";

/// A `specversion` in the body. In binary mode the headers say it, see [`binary`].
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    envelope.fields.has("specversion")
}

/// The event of binary mode: its attributes came as headers, and the body is its data.
pub(super) fn binary(attributes: &[(String, String)]) -> Option<OuterEvent<'_>> {
    let attribute = |name: &str| {
        let found = attributes.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| Cow::Borrowed(value.as_str())).filter(|value| !value.is_empty())
    };
    attribute("specversion")?;
    Some(OuterEvent { id: attribute("id"), kind: attribute("type"), time: attribute("time") })
}

/// The event's trace context, an extension of CloudEvents: members in structured mode, attributes in
/// binary mode. One that is no text is none; it is no reason to refuse what it came with.
pub(super) fn trace(envelope: &Envelope<'_>, attributes: &[(String, String)]) -> Trace {
    let named = |name: &str| {
        if recognise(envelope) {
            return envelope.fields.text(name).ok().flatten().map(Cow::into_owned);
        }
        let found = attributes.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.clone())
    };
    let named = |name: &str| named(name).filter(|value| !value.is_empty());
    Trace { parent: named(TRACE_PARENT), state: named(TRACE_STATE) }
}

/// Decodes the event's data, in whatever format that is.
///
/// # Errors
/// When the event is none, or its data cannot be decoded.
pub(super) fn decode<'a>(envelope: &Envelope<'a>) -> Result<Decoded<'a>, Refusal> {
    let structured = recognise(envelope);
    let fields = &envelope.fields;
    let (event, data) = if structured {
        let event = OuterEvent {
            id: fields.name("id")?,
            kind: fields.text("type")?,
            time: fields.text("time")?,
        };
        let missing = || fields.refuse("data", "is missing");
        (event, fields.object("data", "data.")?.ok_or_else(missing)?)
    } else {
        (envelope.event.clone(), fields.clone())
    };
    let kind = event.kind.clone().ok_or_else(|| fields.refuse("type", "is missing"))?;
    if kind.starts_with("interaction.") {
        return decode_ours(&data, kind, event, envelope);
    }
    // A vendor's message: the event's type is then somebody else's word, its id and time count.
    let event = OuterEvent { kind: None, ..event };
    let inner = Envelope { fields: data, event, ..envelope.clone() };
    if recognise(&inner) {
        return Err(Refusal::shape("data holds another CloudEvent"));
    }
    by_shape(&inner, FORMATS)
}

fn decode_ours<'a>(
    data: &Fields<'a>,
    kind: Cow<'a, str>,
    event: OuterEvent<'a>,
    envelope: &Envelope<'a>,
) -> Result<Decoded<'a>, Refusal> {
    let OuterEvent { id, time, .. } = event;
    canonical::decode_parts(
        data,
        Parts { kind, id, time, fallback: envelope.fallback, format: NAME },
    )
}

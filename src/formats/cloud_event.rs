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

/// The longest of them that is taken from an event, or put into one, in bytes: what W3C asks everyone
/// to pass on. A body may be larger than the frame of AMQP that all headers of a message must fit in.
const TRACE_MAX_BYTES: usize = 512;

/// A `specversion` in the body. In binary mode the headers say it, see [`binary`].
pub(super) fn recognise(envelope: &Envelope<'_>) -> bool {
    envelope.fields.has("specversion")
}

/// The event of binary mode: its attributes came as headers, and the body is its data.
pub(super) fn binary(attributes: &[(String, String)]) -> Option<OuterEvent<'_>> {
    let attribute = |name| attribute(attributes, name);
    attribute("specversion")?;
    Some(OuterEvent { id: attribute("id"), kind: attribute("type"), time: attribute("time") })
}

/// An attribute that came as a header.
fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> Option<Cow<'a, str>> {
    let found = attributes.iter().find(|(given, _)| given == name);
    found.map(|(_, value)| Cow::Borrowed(value.as_str())).filter(|value| !value.is_empty())
}

/// The event's trace context, an extension of CloudEvents: members in structured mode, attributes in
/// binary mode. One that is no text, or too long, is none; it is no reason to refuse what it came with.
pub(super) fn trace<'a>(envelope: &Envelope<'a>, attributes: &'a [(String, String)]) -> Trace<'a> {
    let is_structured = recognise(envelope);
    let named = |name| match is_structured {
        true => envelope.fields.text(name).ok().flatten(),
        false => attribute(attributes, name),
    };
    let bounded = |name| named(name).filter(|text| text.len() <= TRACE_MAX_BYTES);
    Trace { parent: bounded(TRACE_PARENT), state: bounded(TRACE_STATE) }
}

/// The attributes that name the span an event comes from.
pub(super) fn trace_attributes(trace: &Trace<'_>) -> impl Iterator<Item = (&'static str, String)> {
    let named = [(TRACE_PARENT, &trace.parent), (TRACE_STATE, &trace.state)].into_iter();
    let named = named.filter_map(|(name, text)| Some((name, text.as_deref()?)));
    let bounded = named.filter(|(_, text)| text.len() <= TRACE_MAX_BYTES);
    bounded.map(|(name, text)| (name, text.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::super::{Hints, decode};
    use super::*;

    /// The trace context of an event with these members beside the needed ones.
    fn told(members: &str) -> (Option<usize>, Option<usize>) {
        let event = format!(
            r#"{{"specversion":"1.0","type":"interaction.created","id":"e",{members},
                "data":{{"interaction":{{"id":"i","channel":"chat"}}}}}}"#
        );
        let decoded = decode(&event, event.as_bytes(), Hints::default()).expect("an event");
        let bytes = |text: Option<Cow<'_, str>>| text.map(|text| text.len());
        (bytes(decoded.trace.parent), bytes(decoded.trace.state))
    }

    #[test]
    fn a_trace_context_that_is_none_is_left_out() {
        let (fits, too_long) = ("t".repeat(TRACE_MAX_BYTES), "t".repeat(TRACE_MAX_BYTES + 1));
        for (members, expected) in [
            (format!(r#""traceparent":"{fits}","tracestate":"v=1""#), (Some(512), Some(3))),
            (format!(r#""traceparent":"00","tracestate":"{too_long}""#), (Some(2), None)),
            (r#""traceparent":7,"tracestate":"""#.to_owned(), (None, None)),
            (r#""traceparent":"a","traceparent":"b""#.to_owned(), (None, None)),
        ] {
            assert_eq!(told(&members), expected, "{members}");
        }
        let trace = Trace { parent: Some("00".into()), state: Some(too_long.into()) };
        let attributes: Vec<_> = trace_attributes(&trace).collect();
        assert_eq!(attributes, [(TRACE_PARENT, "00".to_owned())]);
    }
}

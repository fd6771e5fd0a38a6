//! CloudEvents 1.0 around our own format or a vendor's: structured (JSON) or binary (AMQP headers).
//!
//! `type`, `id` and `time` are the event's; its `source` is a URI, not a source of pairs. Data that came
//! as text, or as base64 of it, is read as the JSON that it holds, whatever its `datacontenttype` is.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::canonical::{self, EnvelopeParts};
use super::fields::Fields;
use super::{Decoded, Envelope, FORMATS, OuterEvent, Refusal, Trace, body, recognise as by_shape};
use crate::domain::RawJson;
use crate::domain::json::members;
use crate::domain::value::Kind;

/// The format's name.
pub(super) const NAME: &str = "cloud-event";

/// The members that make its shape.
pub(super) const SHAPE: &[&str] = &["specversion", "data"];

/// Attributes of the distributed tracing extension.
pub(super) const TRACE_PARENT: &str = "traceparent";
pub(super) const TRACE_STATE: &str = "tracestate";

/// The longest of them that is taken from an event, or put into one, in bytes: what W3C asks everyone
/// to pass on. A body may be larger than the frame of AMQP that all headers of a message must fit in.
const TRACE_MAX_BYTES: usize = 512;

/// A `specversion` in the body. In binary mode the headers have it, see [`binary`].
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
    Trace { parent: bounded(TRACE_PARENT), state: bounded(TRACE_STATE) }.valid()
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
    let fields = &envelope.fields;
    if !recognise(envelope) {
        return decode_data(fields, envelope.event.clone(), envelope);
    }
    let event = OuterEvent {
        id: fields.name("id")?,
        kind: fields.text("type")?,
        time: fields.text("time")?,
    };
    let (data, base64) = (fields.one("data")?, fields.one("data_base64")?);
    let packed = match (data, base64) {
        (Some(data), _) if data.kind() == Kind::String => ("data", data.string_bytes()),
        (None, Some(base64)) => ("data_base64", unpacked(base64)),
        (Some(data), _) => {
            return decode_data(&Fields::new(data, "data.")?, event, envelope);
        }
        (None, None) => return Err(fields.missing("data")),
    };
    // An intermediary may not parse the data of an event and may forward it as text or base64.
    let (name, bytes) = packed;
    let no_object = || fields.refuse(name, "holds no JSON object");
    let bytes = bytes.ok_or_else(no_object)?;
    let text = body::check(&bytes, bytes.len()).map_err(|_| no_object())?;
    let members = members(&text).ok_or_else(no_object)?;
    let inner = Fields::from_members(members, "data.");
    decode_data(&inner, event, &Envelope { fields: inner.clone(), ..envelope.clone() })
        .map(Decoded::into_owned)
}

/// The bytes that a string holds as base64; `None` if it is no base64.
fn unpacked(json: RawJson<'_>) -> Option<Cow<'_, [u8]>> {
    BASE64.decode(json.string_bytes()?).ok().map(Cow::Owned)
}

/// Decodes the data of an event.
fn decode_data<'a>(
    data: &Fields<'a>,
    event: OuterEvent<'a>,
    envelope: &Envelope<'a>,
) -> Result<Decoded<'a>, Refusal> {
    let kind = event.kind.clone().ok_or_else(|| Refusal::shape("type is missing"))?;
    if kind.starts_with("interaction.") {
        return decode_ours(data, kind, event, envelope);
    }
    // A vendor's message: the type of the CloudEvent is the vendor's, its id and time are used.
    let event = OuterEvent { kind: None, ..event };
    let inner = Envelope { fields: data.clone(), event, ..envelope.clone() };
    if recognise(&inner) {
        return Err(Refusal::shape("data holds another CloudEvent, specversion and all"));
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
        EnvelopeParts { kind, id, time, fallback: envelope.fallback, format: NAME },
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
    fn data_may_be_json_or_text_or_base64() {
        let inner = r#"{"interaction":{"id":"i","channel":"chat","userData":{"k":1.10}}}"#;
        let event = |data: &str| {
            format!(r#"{{"specversion":"1.0","type":"interaction.created","id":"e",{data}}}"#)
        };
        let text = serde_json::Value::from(inner).to_string();
        let base64 = BASE64.encode(inner);
        for data in [
            format!(r#""data":{inner}"#),
            format!(r#""datacontenttype":"text/plain","data":{text}"#),
            format!(r#""datacontenttype":"application/xml","data_base64":"{base64}""#),
            format!(r#""data":null,"data_base64":"{base64}""#),
        ] {
            let body = event(&data);
            let decoded = decode(&body, body.as_bytes(), Hints::default()).expect("an event");
            let message = canonical::encode(&decoded);
            let expected = r#"{"type":"interaction.created","id":"e","interaction":{"id":"i","channel":"chat","userData":{"k":1.10}}}"#;
            assert_eq!(String::from_utf8_lossy(&message), expected, "{data}");
        }
        for (data, expected) in [
            (r#""data":"order 17""#, "data holds no JSON object"),
            (r#""data":"[1]""#, "data holds no JSON object"),
            (r#""data":"{\"interaction\":{\"id\":7}}""#, "interaction.id is a number, no string"),
            (r#""data":17"#, "data is a number, no object"),
            (r#""data_base64":"!""#, "data_base64 holds no JSON object"),
            (r#""data_base64":7"#, "data_base64 holds no JSON object"),
            (r#""data_base64":"/w==""#, "data_base64 holds no JSON object"),
            (r#""source":"/s""#, "data is missing"),
        ] {
            let body = event(data);
            let refused = decode(&body, body.as_bytes(), Hints::default()).expect_err("no data");
            assert_eq!(refused.detail.as_str(), expected, "{data}");
        }
    }

    #[test]
    fn invalid_trace_context_is_left_out() {
        // Later versions may append something.
        let valid = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-";
        let fits = valid.to_owned() + &"t".repeat(TRACE_MAX_BYTES - valid.len());
        let too_long = fits.clone() + "t";
        let zeros = "00-00000000000000000000000000000000-0000000000000000-00";
        for (members, expected) in [
            (format!(r#""traceparent":"{fits}","tracestate":"v=1""#), (Some(512), Some(3))),
            (format!(r#""traceparent":"{fits}","tracestate":"{too_long}""#), (Some(512), None)),
            (format!(r#""traceparent":"{too_long}","tracestate":"v=1""#), (None, None)),
            (format!(r#""traceparent":"{zeros}","tracestate":"v=1""#), (None, None)),
            (format!(r#""traceparent":"ff{}""#, &valid[2..]), (None, None)),
            (r#""tracestate":"v=1""#.to_owned(), (None, None)),
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

//! The attributes of a CloudEvent in binary mode, which come as headers.
//!
//! | prefix | written by |
//! |---|---|
//! | `cloudEvents:` | CloudEvents' AMQP binding |
//! | `cloudEvents_` | the same, for clients that cannot write a colon (JMS) |
//! | `ce-` | Knative's binding for RabbitMQ, in any case of letters |
//! | none | CloudEvents' MQTT binding, whose user properties RabbitMQ makes headers of |
//!
//! The first prefix counts that has a `specversion`, and no other. Without a prefix the names are common
//! words, so all that every event has must be there, and only attributes that are read here are taken.

use lapin::BasicProperties;
use lapin::types::AMQPValue;

use super::{integer, is_absent, text};
use crate::formats::enriched::rfc3339;
use crate::formats::outbound::Prefix;

/// The prefixes, in the order in which they count.
fn prefixes() -> impl Iterator<Item = &'static str> {
    Prefix::ALL.into_iter().map(Prefix::as_str)
}

/// Whether a header of this prefix may be written in any case of letters.
fn ignores_case(prefix: &str) -> bool {
    prefix == Prefix::Ce.as_str()
}

/// What every event has.
const REQUIRED: [&str; 4] = ["specversion", "id", "source", "type"];
/// The attributes read of an event without a prefix.
const READ: [&str; 7] =
    ["specversion", "id", "source", "type", "time", "traceparent", "tracestate"];
/// What decides about the event: an attribute of these that holds no text is not passed over.
const DECIDING: [&str; 3] = ["specversion", "id", "type"];

/// The attributes as text, by their names without the prefix; none where there is no event.
///
/// # Errors
/// Which header holds no text, of those that decide about the event.
pub(super) fn attributes(properties: &BasicProperties) -> Result<Vec<(String, String)>, String> {
    let Some(prefix) = prefix(properties) else { return Ok(Vec::new()) };
    let mut attributes = Vec::new();
    for (name, value) in properties.headers().iter().flatten() {
        let Some(attribute) = attribute(prefix, name.as_str()) else { continue };
        if is_absent(value) || prefix.is_empty() && !READ.contains(&attribute.as_str()) {
            continue;
        }
        match attribute_text(&attribute, value) {
            Some(text) => attributes.push((attribute, text)),
            None if DECIDING.contains(&attribute.as_str()) => {
                return Err(format!("the header `{prefix}{attribute}` holds no text"));
            }
            None => {}
        }
    }
    Ok(attributes)
}

/// Whether a header is an attribute that is read and does not decide.
pub(super) fn is_passed_over(name: &str) -> bool {
    let attribute = prefixes().find_map(|prefix| name.strip_prefix(prefix));
    attribute.is_some_and(|name| READ.contains(&name) && !DECIDING.contains(&name))
}

/// The prefix of an event's attributes.
fn prefix(properties: &BasicProperties) -> Option<&'static str> {
    let headers = properties.headers().as_ref()?.inner();
    let has = |prefix: &str, attribute: &str| match ignores_case(prefix) {
        true => headers
            .keys()
            .any(|name| self::attribute(prefix, name.as_str()).as_deref() == Some(attribute)),
        false => headers.contains_key(format!("{prefix}{attribute}").as_str()),
    };
    if let Some(found) = prefixes().find(|prefix| has(prefix, "specversion")) {
        return Some(found);
    }
    REQUIRED.iter().all(|attribute| headers.contains_key(*attribute)).then_some("")
}

/// The attribute that a header of this name holds.
fn attribute(prefix: &str, name: &str) -> Option<String> {
    if !ignores_case(prefix) {
        return name.strip_prefix(prefix).map(str::to_owned);
    }
    let (begin, rest) = name.split_at_checked(prefix.len())?;
    begin.eq_ignore_ascii_case(prefix).then(|| rest.to_ascii_lowercase())
}

/// An attribute's value: a time may be an integer of milliseconds, as AMQP 1.0 has it.
fn attribute_text(attribute: &str, value: &AMQPValue) -> Option<String> {
    match integer(value) {
        Some(ms) if attribute == "time" => Some(rfc3339(ms)).filter(|time| !time.is_empty()),
        _ => text(value),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{long, with};
    use super::*;

    fn read_pairs(headers: &[(&'static str, AMQPValue)]) -> Result<Vec<(String, String)>, String> {
        attributes(&with(headers.iter().cloned()))
    }

    fn pairs(pairs: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn attributes_are_converted_to_text() {
        let bytes = AMQPValue::ByteArray(b"e-1".to_vec().into());
        let headers = [
            ("cloudEvents:specversion", long("1.0")),
            ("cloudEvents:id", bytes),
            ("cloudEvents:time", AMQPValue::Timestamp(1_700_000_000)),
            ("cloudEvents:sequence", AMQPValue::LongInt(7)),
            ("cloudEvents:sampled", AMQPValue::Boolean(true)),
            ("cloudEvents:odd", AMQPValue::FieldArray(Default::default())),
            ("cloudEvents:none", AMQPValue::Void),
            ("cloudEvents_subject", long("of another event")),
            ("ce-subject", long("of another event")),
            ("other", long("x")),
        ];
        let expected = [
            ("id", "e-1"),
            ("sampled", "true"),
            ("sequence", "7"),
            ("specversion", "1.0"),
            ("time", "2023-11-14T22:13:20Z"),
        ];
        assert_eq!(read_pairs(&headers), pairs(&expected));
    }

    #[test]
    fn prefix_with_specversion_is_used() {
        let version = || long("1.0");
        let (one, two) = (("specversion", "1.0"), ("type", "t"));
        for (name, headers) in [
            ("_", vec![("cloudEvents_specversion", version()), ("cloudEvents_type", long("t"))]),
            ("ce-", vec![("ce-specversion", version()), ("ce-type", long("t"))]),
            ("HTTP's case", vec![("CE-SpecVersion", version()), ("Ce-Type", long("t"))]),
            (
                "no version",
                vec![
                    ("cloudEvents:type", long("x")),
                    ("ce-specversion", version()),
                    ("ce-type", long("t")),
                ],
            ),
        ] {
            assert_eq!(read_pairs(&headers), pairs(&[one, two]), "{name}");
        }
        assert_eq!(read_pairs(&[("cloudEvents:type", long("t")), ("type", long("t"))]), pairs(&[]));
    }

    #[test]
    fn unprefixed_event_requires_all_mandatory_attributes() {
        let mut headers = vec![
            ("specversion", long("1.0")),
            ("id", long("e")),
            ("source", long("/x")),
            ("time", long("2026-01-01T00:00:00Z")),
            ("customer", long("x")),
        ];
        assert_eq!(read_pairs(&headers), pairs(&[]), "no type");
        headers.push(("type", long("t")));
        let expected = [
            ("id", "e"),
            ("source", "/x"),
            ("specversion", "1.0"),
            ("time", "2026-01-01T00:00:00Z"),
            ("type", "t"),
        ];
        assert_eq!(read_pairs(&headers), pairs(&expected));
    }

    #[test]
    fn integer_time_is_read_as_milliseconds() {
        for (value, expected) in [
            (AMQPValue::LongLongInt(1_700_000_000_123), Some("2023-11-14T22:13:20.123Z")),
            (AMQPValue::LongInt(0), Some("1970-01-01T00:00:00.000Z")),
            (AMQPValue::LongLongInt(i64::MAX), None),
        ] {
            assert_eq!(attribute_text("time", &value).as_deref(), expected, "{value:?}");
        }
        assert_eq!(attribute_text("sequence", &AMQPValue::LongInt(0)).as_deref(), Some("0"));
    }

    #[test]
    fn unreadable_mandatory_attribute_is_rejected() {
        let bytes = || AMQPValue::ByteArray(vec![0xff, 0xfe].into());
        for (name, wrong) in
            [("id", "ce-id"), ("type", "ce-type"), ("specversion", "ce-specversion")]
        {
            let headers =
                [("ce-specversion", long("1.0")), ("ce-id", long("e")), ("ce-type", long("t"))]
                    .map(|(header, value)| (header, if header == wrong { bytes() } else { value }));
            assert_eq!(
                read_pairs(&headers),
                Err(format!("the header `{wrong}` holds no text")),
                "{name}"
            );
        }
        let odd = [("ce-specversion", long("1.0")), ("ce-time", bytes())];
        assert_eq!(read_pairs(&odd), pairs(&[("specversion", "1.0")]));
    }
}

//! What a header holds, in whichever of AMQP's types a client has written it.
//!
//! Clients differ: Perl's Net::AMQP::RabbitMQ writes most texts as byte arrays, as do Go's `[]byte`,
//! Python's `bytes` and Node's `Buffer`. A text is one in every type that can hold it, when it is UTF-8.

use std::str::from_utf8;

use lapin::types::AMQPValue;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::domain::digest::{Hex, sha256};

/// A value as text: text as it is, numbers, truth values and times in CloudEvents' canonical form.
/// `None` for values without text: tables, arrays, bytes that are not UTF-8.
pub(in crate::broker) fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::Timestamp(secs) => {
            let time = OffsetDateTime::from_unix_timestamp(i64::try_from(*secs).ok()?).ok()?;
            time.format(&Rfc3339).ok()
        }
        other => match bytes(other) {
            Some(bytes) => from_utf8(bytes).ok().map(str::to_owned),
            None => integer(other).map(|number| number.to_string()),
        },
    }
}

/// Whether there is a value, and no text in it.
pub(super) fn is_unreadable(value: &AMQPValue) -> bool {
    match bytes(value) {
        Some(bytes) => from_utf8(bytes).is_err(),
        None => !is_absent(value) && text(value).is_none(),
    }
}

/// Whether a header says nothing: AMQP 1.0's `null` comes so.
pub(super) fn is_absent(value: &AMQPValue) -> bool {
    matches!(value, AMQPValue::Void)
}

/// Any of AMQP's integers: clients differ in which one they write.
pub(in crate::broker) fn integer(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(number) => Some(number.into()),
        AMQPValue::ShortShortUInt(number) => Some(number.into()),
        AMQPValue::ShortInt(number) => Some(number.into()),
        AMQPValue::ShortUInt(number) => Some(number.into()),
        AMQPValue::LongInt(number) => Some(number.into()),
        AMQPValue::LongUInt(number) => Some(number.into()),
        AMQPValue::LongLongInt(number) => Some(number),
        _ => None,
    }
}

/// The bytes of a value that is nothing else.
fn bytes(value: &AMQPValue) -> Option<&[u8]> {
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice()),
        _ => None,
    }
}

/// The longest id that is taken as it is: a short string of AMQP 0-9-1, as `message_id` is one.
const ID_MAX_BYTES: usize = 255;

/// An id that `message_id` cannot hold: text as it is where it is short enough, other bytes in hex, and
/// of a longer one its SHA-256, in hex.
pub(super) fn long_id(value: &AMQPValue) -> Option<String> {
    let id = match bytes(value) {
        Some(bytes) => match from_utf8(bytes) {
            Ok(text) if text.len() <= ID_MAX_BYTES => text.to_owned(),
            Err(_) if 2 * bytes.len() <= ID_MAX_BYTES => Hex(bytes).to_string(),
            _ => Hex(&sha256::<32>(&[bytes])).to_string(),
        },
        None => text(value)?,
    };
    (!id.is_empty()).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes: &[u8]) -> AMQPValue {
        AMQPValue::ByteArray(bytes.to_vec().into())
    }

    fn long(bytes: &[u8]) -> AMQPValue {
        AMQPValue::LongString(bytes.to_vec().into())
    }

    #[test]
    fn text_is_read_from_every_type_that_holds_text() {
        let (some, none) = (|text: &str| Some(text.to_owned()), None);
        for (value, expected, unreadable) in [
            (long("größe".as_bytes()), some("größe"), false),
            (bytes("größe".as_bytes()), some("größe"), false),
            (AMQPValue::ShortString("short".into()), some("short"), false),
            (bytes(b""), some(""), false),
            (bytes(b"gr\xf6\xdfe"), none.clone(), true),
            (long(b"gr\xf6\xdfe"), none.clone(), true),
            (AMQPValue::LongInt(-7), some("-7"), false),
            (AMQPValue::Double(0.5), none.clone(), true),
            (AMQPValue::FieldArray(Default::default()), none.clone(), true),
            (AMQPValue::FieldTable(Default::default()), none.clone(), true),
            (AMQPValue::Void, none, false),
        ] {
            assert_eq!(text(&value), expected, "{value:?}");
            assert_eq!(is_unreadable(&value), unreadable, "{value:?}");
        }
    }

    #[test]
    fn binary_or_overlong_id_is_converted() {
        let id = |value: AMQPValue| long_id(&value);
        assert_eq!(id(bytes(b"abc")).as_deref(), Some("abc"));
        assert_eq!(id(bytes(b"\x00\x01\xff")).as_deref(), Some("0001ff"));
        assert_eq!(id(bytes(b"")), None);
        assert_eq!(id(AMQPValue::Void), None);
        let [a, b] = [b"a", b"b"].map(|last| id(long(&[&[b'i'; 300][..], last].concat())));
        assert!(a.as_deref().is_some_and(|id| id.len() == 64) && a != b, "{a:?} {b:?}");
    }
}

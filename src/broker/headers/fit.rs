//! Keeps the headers of a copy within a frame.
//!
//! AMQP sends all properties of a message in one frame, which RabbitMQ's default `frame_max` bounds to
//! 131,072 bytes. A message whose own headers come close to that can be received, and a copy of it with the
//! worker's headers beside them cannot be sent: the broker ends the connection, at each attempt. So the
//! largest headers of the sender are left out of such a copy until the rest fits, and
//! `x-throughline-headers-left-out` names them.

use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::HEADERS_LEFT_OUT;

/// The largest header table of a copy before the worker adds its own headers, in bytes. The other
/// properties take some 2,500 bytes at most, the worker's headers some 3,000.
const HEADERS_MAX_BYTES: usize = 120_000;

/// The longest list of names, in bytes.
const NAMES_MAX_BYTES: usize = 1_000;

/// Leaves out the largest headers until the others fit, and names them.
pub(super) fn fit(headers: FieldTable) -> FieldTable {
    let mut bytes = table_bytes(&headers);
    if bytes <= HEADERS_MAX_BYTES {
        return headers;
    }
    let mut kept: Vec<_> = headers.inner().iter().collect();
    // Sorted by size, the largest last; of equals the first by name goes first.
    kept.sort_by_cached_key(|(name, value)| {
        (pair_bytes(name, value), std::cmp::Reverse(name.as_str()))
    });
    let mut names = String::new();
    while bytes > HEADERS_MAX_BYTES
        && let Some((name, value)) = kept.pop()
    {
        bytes -= pair_bytes(name, value);
        if names.len() + name.as_str().len() <= NAMES_MAX_BYTES {
            let separator = if names.is_empty() { "" } else { ", " };
            names.push_str(separator);
            names.extend(name.as_str().chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
    }
    let mut fitting = FieldTable::default();
    for (name, value) in kept {
        fitting.insert(name.clone(), value.clone());
    }
    fitting.insert(HEADERS_LEFT_OUT.into(), AMQPValue::LongString(names.into()));
    fitting
}

/// The bytes of a table in a frame, less those of its length.
fn table_bytes(table: &FieldTable) -> usize {
    table.into_iter().map(|(name, value)| pair_bytes(name, value)).sum()
}

fn pair_bytes(name: &ShortString, value: &AMQPValue) -> usize {
    1 + name.as_str().len() + value_bytes(value)
}

/// The bytes of a value in a frame, with the octet of its type.
fn value_bytes(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Timestamp(_) | AMQPValue::Double(_) => 8,
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(values) => {
            4 + values.as_slice().iter().map(value_bytes).sum::<usize>()
        }
        AMQPValue::FieldTable(table) => 4 + table_bytes(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(headers: &[(&str, usize)]) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, bytes) in headers {
            table.insert((*name).into(), AMQPValue::LongString("x".repeat(*bytes).into()));
        }
        table
    }

    fn names(headers: &FieldTable) -> Vec<&str> {
        headers.inner().keys().map(|name| name.as_str()).collect()
    }

    #[test]
    fn headers_within_limit_are_kept() {
        let headers = table(&[("a", 60_000), ("b", 50_000)]);
        assert_eq!(fit(headers.clone()), headers);
    }

    #[test]
    fn largest_headers_are_left_out_and_named() {
        let headers = fit(table(&[("a", 10), ("huge", 119_000), ("large", 60_000), ("z", 1_000)]));
        assert_eq!(names(&headers), ["a", "large", HEADERS_LEFT_OUT, "z"]);
        let left_out = headers.inner().get(HEADERS_LEFT_OUT);
        assert_eq!(left_out, Some(&AMQPValue::LongString("huge".into())));
        let both = fit(table(&[("a", 10), ("huge", 500_000), ("large", 130_000)]));
        let left_out = both.inner().get(HEADERS_LEFT_OUT);
        assert_eq!(left_out, Some(&AMQPValue::LongString("huge, large".into())));
    }

    #[test]
    fn value_sizes_match_frame_encoding() {
        let mut inner = FieldTable::default();
        inner.insert("n".into(), AMQPValue::LongUInt(7));
        for (value, bytes) in [
            (AMQPValue::Void, 1),
            (AMQPValue::Boolean(true), 2),
            (AMQPValue::ShortInt(1), 3),
            (AMQPValue::LongInt(1), 5),
            (AMQPValue::Timestamp(1), 9),
            (AMQPValue::LongString("abc".into()), 8),
            (AMQPValue::ByteArray(vec![1, 2].into()), 7),
            (AMQPValue::FieldArray(vec![AMQPValue::Void].into()), 6),
            // The octet of the type, the length, then name and value.
            (AMQPValue::FieldTable(inner), 1 + 4 + 2 + 5),
        ] {
            assert_eq!(value_bytes(&value), bytes, "{value:?}");
        }
    }
}

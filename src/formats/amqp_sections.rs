//! Body sections of AMQP 1.0, as RabbitMQ hands them to readers of AMQP 0-9-1: encoded, and with the
//! property `type` = `amqp-1.0`. What Python and Node programs send as a string comes so.
//!
//! | section | taken |
//! |---|---|
//! | `data` | its bytes; several are one after the other |
//! | `amqp-value` of a string, a symbol or binary | its bytes |
//! | header, annotations, properties, footer | skipped |
//! | `amqp-sequence`, `amqp-value` of anything else | refused: there is no text in it |
//!
//! Invariants: nothing is recursive, nothing is longer than the body, and every length is checked against
//! it. What does not begin as a section is left alone: JSON cannot begin with a zero byte.

use std::borrow::Cow;

/// The value of `type` for such a body.
pub(super) const TYPE: &str = "amqp-1.0";

/// The content of the sections.
///
/// # Errors
/// The error, as a fragment about the body; it holds none of the body's bytes.
pub(super) fn unwrap(body: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    if body.first() != Some(&DESCRIBED) {
        return Ok(Cow::Borrowed(body));
    }
    let mut rest = Reader(body);
    let mut content: Option<Cow<'_, [u8]>> = None;
    while !rest.0.is_empty() {
        let descriptor = rest.descriptor()?;
        let value = rest.value()?;
        content = match (descriptor, value, content) {
            (SKIPPED_FIRST..=SKIPPED_LAST | FOOTER, _, content) => content,
            (DATA | VALUE, Value::Bytes(bytes), None) => Some(Cow::Borrowed(bytes)),
            (DATA, Value::Bytes(bytes), Some(before)) => {
                Some(Cow::Owned([before.as_ref(), bytes].concat()))
            }
            (DATA | VALUE | SEQUENCE, ..) => {
                return Err("is an AMQP 1.0 value that is neither text nor binary");
            }
            _ => return Err("holds an AMQP 1.0 section that is unknown"),
        };
    }
    content.ok_or("has no AMQP 1.0 body section")
}

/// Begins a described type.
const DESCRIBED: u8 = 0x00;
/// Header, both annotations, properties, application properties.
const SKIPPED_FIRST: u64 = 0x70;
const SKIPPED_LAST: u64 = 0x74;
const DATA: u64 = 0x75;
const SEQUENCE: u64 = 0x76;
const VALUE: u64 = 0x77;
const FOOTER: u64 = 0x78;

/// The sections' symbolic descriptors, which a sender may write instead of their numbers.
const SYMBOLS: [(&[u8], u64); 9] = [
    (b"amqp:header:list", 0x70),
    (b"amqp:delivery-annotations:map", 0x71),
    (b"amqp:message-annotations:map", 0x72),
    (b"amqp:properties:list", 0x73),
    (b"amqp:application-properties:map", 0x74),
    (b"amqp:data:binary", DATA),
    (b"amqp:amqp-sequence:list", SEQUENCE),
    (b"amqp:amqp-value:*", VALUE),
    (b"amqp:footer:map", FOOTER),
];

const CUT_OFF: &str = "holds AMQP 1.0 sections that are cut off";

/// How many bytes an encoded value has behind its type code.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Width {
    /// So many.
    Fixed(usize),
    /// As many as a big-endian number says, which comes first and has so many bytes itself.
    Counted(usize),
}

impl Width {
    /// By the type code, whose first digit determines it; `None` for an unknown type.
    pub(crate) fn of(code: u8) -> Option<Width> {
        Some(match code >> 4 {
            0x4 => Width::Fixed(0),
            0x5 => Width::Fixed(1),
            0x6 => Width::Fixed(2),
            0x7 => Width::Fixed(4),
            0x8 => Width::Fixed(8),
            0x9 => Width::Fixed(16),
            0xa | 0xc | 0xe => Width::Counted(1),
            0xb | 0xd | 0xf => Width::Counted(4),
            _ => return None,
        })
    }
}

/// An encoded value.
enum Value<'b> {
    /// Binary, a string or a symbol.
    Bytes(&'b [u8]),
    /// Anything else.
    Other,
}

/// The bytes that are not read yet.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], &'static str> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A big-endian number of so many bytes.
    fn number(&mut self, bytes: usize) -> Result<u64, &'static str> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn descriptor(&mut self) -> Result<u64, &'static str> {
        if self.take(1)? != [DESCRIBED] {
            return Err("holds something behind its AMQP 1.0 sections");
        }
        match self.0.first() {
            Some(0x53 | 0x80) => {
                let wide = self.take(1)? == [0x80];
                self.number(if wide { 8 } else { 1 })
            }
            _ => match self.value()? {
                Value::Bytes(symbol) => {
                    let known = SYMBOLS.iter().find(|(name, _)| *name == symbol);
                    known
                        .map(|(_, number)| *number)
                        .ok_or("holds an AMQP 1.0 section that is unknown")
                }
                Value::Other => Err("holds an AMQP 1.0 section that is unknown"),
            },
        }
    }

    /// A value; of one that holds others, all of them at once, since it says how long it is.
    fn value(&mut self) -> Result<Value<'b>, &'static str> {
        let code = self.take(1)?[0];
        let bytes = match Width::of(code).ok_or("holds an AMQP 1.0 value of an unknown type")? {
            Width::Fixed(bytes) => bytes,
            Width::Counted(bytes) => usize::try_from(self.number(bytes)?).map_err(|_| CUT_OFF)?,
        };
        let bytes = self.take(bytes)?;
        Ok(match code {
            0xa0 | 0xa1 | 0xa3 | 0xb0 | 0xb1 | 0xb3 => Value::Bytes(bytes),
            _ => Value::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RabbitMQ 4.0.5 handed them over, from what qpid-proton 0.40 and handwritten frames had sent.
    const SEEN: [(&str, &[u8], Result<&str, &str>); 18] = [
        ("a string", b"\x00Sw\xa1\x07{\"a\":1}", Ok(r#"{"a":1}"#)),
        ("binary", b"\x00Sw\xa0\x07{\"a\":1}", Ok(r#"{"a":1}"#)),
        ("a long string", b"\x00Sw\xb1\x00\x00\x00\x03abc", Ok("abc")),
        ("long binary", b"\x00Sw\xb0\x00\x00\x00\x03abc", Ok("abc")),
        ("a symbol", b"\x00Sw\xa3\x03abc", Ok("abc")),
        ("a long symbol", b"\x00Sw\xb3\x00\x00\x00\x03abc", Ok("abc")),
        ("a long descriptor", b"\x00\x80\0\0\0\0\0\0\0w\xa1\x03abc", Ok("abc")),
        ("a symbolic descriptor", b"\x00\xa3\x11amqp:amqp-value:*\xa1\x03abc", Ok("abc")),
        ("a footer", b"\x00Sw\xa1\x03abc\x00Sx\xc1\n\x02\xa3\x01k\xa1\x04vvvv", Ok("abc")),
        ("an empty footer", b"\x00Sw\xa1\x03abc\x00Sx\xc1\x01\x00", Ok("abc")),
        ("data", b"\x00Su\xa0\x03abc", Ok("abc")),
        ("data twice", b"\x00Su\xa0\x03abc\x00Su\xb0\0\0\0\x03def", Ok("abcdef")),
        ("sections before it", b"\x00Sp\x45\x00Sr\xc1\x01\x00\x00Su\xa0\x03abc", Ok("abc")),
        ("nothing", b"\x00Sw@", Err("is an AMQP 1.0 value that is neither text nor binary")),
        (
            "a map",
            b"\x00Sw\xd1\x00\x00\x00\t\x00\x00\x00\x02\xa1\x01aU\x01",
            Err("is an AMQP 1.0 value that is neither text nor binary"),
        ),
        (
            "sequences",
            b"\x00Sv\xc0\x02\x01@\x00Sv\xc0\x02\x01@",
            Err("is an AMQP 1.0 value that is neither text nor binary"),
        ),
        ("a footer alone", b"\x00Sx\xc1\x01\x00", Err("has no AMQP 1.0 body section")),
        ("JSON as it is", b"{\"a\":1}", Ok(r#"{"a":1}"#)),
    ];

    #[test]
    fn body_is_extracted_from_sections() {
        for (name, body, expected) in SEEN {
            let expected = expected.map(|text| Cow::Borrowed(text.as_bytes()));
            assert_eq!(unwrap(body), expected, "{name}");
        }
    }

    #[test]
    fn rejects_sections_truncated_at_any_byte() {
        for (name, body, expected) in SEEN {
            for end in 1..body.len() {
                let cut = unwrap(&body[..end]);
                // Only where a section ends may something be whole.
                let whole = body[..end].last() == Some(&b'c') || body[0] != DESCRIBED;
                assert!(
                    whole || cut.is_err() || cut == expected.map(|text| text.as_bytes().into()),
                    "{name} {end}"
                );
            }
        }
        // A length that no body has.
        assert_eq!(unwrap(b"\x00Sw\xb1\xff\xff\xff\xffabc"), Err(CUT_OFF));
        assert_eq!(
            unwrap(b"\x00Sw\xa1\x03abcx"),
            Err("holds something behind its AMQP 1.0 sections")
        );
        assert_eq!(
            unwrap(b"\x00Sw\xa1\x01a\x00Sw\xa1\x01b"),
            Err("is an AMQP 1.0 value that is neither text nor binary"),
            "two values"
        );
    }
}

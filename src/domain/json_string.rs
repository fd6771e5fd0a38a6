//! The characters of a JSON string: reading them, writing them, and finding their end.
//!
//! Every key and id of every message passes through here, so bytes are examined eight at a time, in one
//! 64-bit word, without SIMD instructions.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::json_kind::{Kind, kind};

/// The characters of a JSON string, as bytes: UTF-8, but for lone surrogates. `None` if the text is
/// no JSON string.
pub fn string_bytes(json: &str) -> Option<Cow<'_, [u8]>> {
    if let Some(plain) = plain_characters(json) {
        return Some(Cow::Borrowed(plain.as_bytes()));
    }
    if kind(json) != Kind::String {
        return None;
    }
    serde_json::from_str::<StringBytes<'_>>(json).ok().map(|bytes| bytes.0)
}

/// The characters of a JSON string as serde_json reads them: bytes, since lone surrogates pass only
/// where bytes are asked for.
pub(super) struct StringBytes<'a>(pub(super) Cow<'a, [u8]>);

impl<'de> Deserialize<'de> for StringBytes<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = StringBytes<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<StringBytes<'de>, E> {
                Ok(StringBytes(Cow::Borrowed(bytes)))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<StringBytes<'de>, E> {
                Ok(StringBytes(Cow::Owned(bytes.to_vec())))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The characters of a JSON string that has no escapes.
#[inline]
pub(super) fn plain_characters(json: &str) -> Option<&str> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    first_of([b'\\'; 2], inner.as_bytes()).is_none().then_some(inner)
}

/// Appends bytes (UTF-8, but for lone surrogates) as a JSON string.
pub(crate) fn write_json_string(bytes: &[u8], out: &mut Vec<u8>) {
    match is_plain(bytes) {
        true => write_quoted(bytes, out),
        false => write_escaped(bytes, out),
    }
}

/// Appends bytes that need no escapes, between quotes.
#[inline]
pub(super) fn write_quoted(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    out.extend_from_slice(bytes);
    out.push(b'"');
}

fn write_escaped(mut bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    loop {
        let (valid, rest) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                (std::str::from_utf8(valid).unwrap_or_default(), Some(rest))
            }
        };
        let quoted = serde_json::Value::from(valid).to_string();
        out.extend_from_slice(&quoted.as_bytes()[1..quoted.len() - 1]);
        match rest {
            None => break,
            Some([0xED, high @ 0xA0..=0xBF, low @ 0x80..=0xBF, rest @ ..]) => {
                let unit = 0xD000 | (u16::from(high & 0x3F) << 6) | u16::from(low & 0x3F);
                out.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
                bytes = rest;
            }
            Some(rest) => {
                out.extend_from_slice("\u{fffd}".as_bytes());
                bytes = &rest[1..];
            }
        }
    }
    out.push(b'"');
}

/// Whether a text needs no escapes in JSON, like most names and ids. 0xED may begin a surrogate, so it
/// counts as special.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else { return is_short_plain(bytes) };
    let (words, _) = bytes.as_chunks::<8>();
    // Some of the last eight are examined twice.
    let words = words.iter().chain([last]);
    words.fold(0, |special, word| special | mark_special(u64::from_le_bytes(*word))) == 0
}

/// [`is_plain`] for less than eight bytes.
fn is_short_plain(bytes: &[u8]) -> bool {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
            mark_special(first | last << 32) == 0
        }
        _ => !bytes.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0xED)),
    }
}

/// The position of the first byte that is one of two. Strings are short, so eight bytes at a time are as
/// fast as more.
#[inline]
pub(super) fn first_of(wanted: [u8; 2], bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let marks = (equal(word, wanted[0]) | equal(word, wanted[1])) & HIGHEST;
        if marks != 0 {
            // The first mark is exact: false marks stand only behind a true one.
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    rest.iter().position(|byte| wanted.contains(byte)).map(|rest| at + rest)
}

/// Marks bytes that need an escape, or are 0xED; zero if none of the eight is such a byte.
#[inline]
fn mark_special(word: u64) -> u64 {
    let marks = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\') | equal(word, 0xED);
    marks & HIGHEST
}

/// One in each byte of a word.
const ONES: u64 = u64::MAX / 0xFF;
/// The highest bit of each byte of a word.
const HIGHEST: u64 = ONES << 7;

/// Sets the highest bit of bytes below `bound`; it may also set that of the byte behind such a one. Other
/// bits have no meaning.
#[inline]
fn below(word: u64, bound: u64) -> u64 {
    // Such a byte borrows from its highest bit, which was not set.
    word.wrapping_sub(ONES * bound) & !word
}

/// [`below`] for bytes that equal `byte`.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_of_finds_either_byte_at_any_position() {
        for around in 0..=u8::MAX {
            for length in 0..20 {
                let wanted = [b'"', b'\\'];
                let bytes = vec![around; length];
                let expected = bytes.iter().position(|byte| wanted.contains(byte));
                assert_eq!(first_of(wanted, &bytes), expected, "{length} of {around}");
                for (at, byte) in (0..length).flat_map(|at| wanted.map(|byte| (at, byte))) {
                    let mut bytes = bytes.clone();
                    bytes[at] = byte;
                    let expected = bytes.iter().position(|byte| wanted.contains(byte));
                    assert_eq!(first_of(wanted, &bytes), expected, "{byte} at {at} in {around}");
                }
            }
        }
    }

    #[test]
    fn is_plain_detects_special_bytes_at_any_position() {
        for byte in 0..=u8::MAX {
            let special = byte < 0x20 || matches!(byte, b'"' | b'\\' | 0xED);
            for (length, at) in (1..20).flat_map(|length| (0..length).map(move |at| (length, at))) {
                for around in [b'a', b' ', 0x21, 0x80, 0xFF] {
                    let mut bytes = vec![around; length];
                    bytes[at] = byte;
                    assert_eq!(is_plain(&bytes), !special, "{byte} at {at} of {length}");
                }
            }
        }
        assert!(is_plain(b""));
    }
}

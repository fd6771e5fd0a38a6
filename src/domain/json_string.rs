//! The characters of a JSON string: reading them, writing them, and finding their end.
//!
//! Every key and every id of every message comes by here, so bytes are looked at eight at a time: a word
//! of a processor that has nothing special to offer.

use std::borrow::Cow;

use super::value::{Key, Kind, kind};

/// The characters of a JSON string, as bytes: UTF-8, but for lone surrogates. `None` if the text is
/// no JSON string.
pub fn string_bytes(json: &str) -> Option<Cow<'_, [u8]>> {
    if let Some(plain) = plain_characters(json) {
        return Some(Cow::Borrowed(plain.as_bytes()));
    }
    if kind(json) != Kind::String {
        return None;
    }
    serde_json::from_str::<Key<'_>>(json).ok().map(Key::into_bytes)
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

/// Appends bytes that stand in JSON as they are, between quotes.
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

/// Whether a text stands in JSON as it is, as most names and ids do. 0xED may begin a surrogate, so it
/// goes the long way.
///
/// Eight bytes at a time, since every key and every id of every message is asked about.
#[inline]
pub(super) fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else { return is_short_plain(bytes) };
    let (words, _) = bytes.as_chunks::<8>();
    // Some of the last eight are asked twice.
    let words = words.iter().chain([last]);
    words.fold(0, |special, word| special | specials(u64::from_le_bytes(*word))) == 0
}

/// The same for less than eight bytes.
fn is_short_plain(bytes: &[u8]) -> bool {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let [first, last] = [first, last].map(|half| u64::from(u32::from_le_bytes(*half)));
            specials(first | last << 32) == 0
        }
        _ => !bytes.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0xED)),
    }
}

/// Where the first byte stands that is one of two. Strings are short, so eight bytes at a time are as
/// good as more.
#[inline]
pub(super) fn first_of(wanted: [u8; 2], bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let marks = (equal(word, wanted[0]) | equal(word, wanted[1])) & HIGHEST;
        if marks != 0 {
            // The first mark is a true one: what looks like one beside it stands behind it.
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    rest.iter().position(|byte| wanted.contains(byte)).map(|rest| at + rest)
}

/// Marks bytes that do not stand in JSON as they are, or are 0xED; zero if none of the eight is such a
/// byte.
#[inline]
fn specials(word: u64) -> u64 {
    let marks = below(word, 0x20) | equal(word, b'"') | equal(word, b'\\') | equal(word, 0xED);
    marks & HIGHEST
}

/// One in each byte of a word.
const ONES: u64 = u64::MAX / 0xFF;
/// The highest bit of each byte of a word.
const HIGHEST: u64 = ONES << 7;

/// Sets the highest bit of bytes below `bound`; it may set that of the byte behind such a one, too. Other
/// bits mean nothing.
#[inline]
fn below(word: u64, bound: u64) -> u64 {
    // Such a byte borrows from its highest bit, which it had not set.
    word.wrapping_sub(ONES * bound) & !word
}

/// The same for bytes that are `byte`.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_bytes_is_found_wherever_it_stands() {
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
    fn plain_is_what_holds_no_special_byte_wherever_it_stands() {
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

//! Keys and values of user data (rules K1 and K2).
//!
//! A value is a slice of the JSON that brought it: it is never parsed into a tree and never
//! re-serialised, so number literals, escapes and the order of members leave exactly as they came.
//! A key is the bytes that its JSON string stands for. A lone surrogate, which JSON can spell and
//! UTF-8 cannot, is kept as its three generalised UTF-8 bytes.
//!
//! `Debug` shows a key's name and a value's length, never a value (K8).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

use super::json::RawJson;

/// The key that is never stored and never copied (A2).
pub const JSON_EVENT: Key<'static> = Key(Cow::Borrowed(b"jsonEvent"));

/// A key of user data. Equal means byte for byte equal (K1).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key<'a>(Cow<'a, [u8]>);

impl<'a> Key<'a> {
    /// The key with these bytes.
    pub fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Key<'a> {
        Key(bytes.into())
    }

    /// The key as bytes: UTF-8, but for lone surrogates.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text; `None` if it holds a lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// A key of the same bytes that borrows from this one.
    pub fn reborrow(&self) -> Key<'_> {
        Key(Cow::Borrowed(&self.0))
    }

    /// Appends the key as a JSON string.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        write_json_string(&self.0, out);
    }

    /// How many bytes [`Key::write_json`] appends.
    pub(crate) fn json_len(&self) -> usize {
        if is_plain(&self.0) {
            return self.0.len() + 2;
        }
        let mut json = Vec::new();
        self.write_json(&mut json);
        json.len()
    }
}

impl std::borrow::Borrow<[u8]> for Key<'_> {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Key<'a> {
        Key(Cow::Borrowed(name.as_bytes()))
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(bytes)))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(bytes.to_vec())))
            }
        }
        // Asking for bytes rather than a string is how serde_json lets lone surrogates pass.
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A value of user data: the text of one JSON value, kept as it was written (K2).
#[derive(Clone, PartialEq, Eq)]
pub struct Value<'a>(Cow<'a, str>);

/// What kind of JSON value it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> Value<'a> {
    /// The value that `raw` stands for.
    pub fn from_raw(raw: RawJson<'a>) -> Value<'a> {
        Value(Cow::Borrowed(raw.get()))
    }

    /// The value of a JSON text that is known to be one: read back from what this program wrote, or
    /// checked by the reader of the rules.
    pub(crate) fn from_json(json: impl Into<Cow<'a, str>>) -> Value<'a> {
        Value(json.into())
    }

    /// A string value.
    pub fn from_text(text: &str) -> Value<'static> {
        Value(Cow::Owned(serde_json::Value::from(text).to_string()))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// A value of the same text that borrows from this one.
    pub fn reborrow(&self) -> Value<'_> {
        Value(Cow::Borrowed(&self.0))
    }

    /// The value's text, to be taken apart.
    pub(super) fn raw(&self) -> RawJson<'_> {
        RawJson::known(&self.0)
    }

    /// The slice of the message that holds the value; `None` for a value that was made here.
    pub(super) fn as_slice(&self) -> Option<RawJson<'a>> {
        match self.0 {
            Cow::Borrowed(json) => Some(RawJson::known(json)),
            Cow::Owned(_) => None,
        }
    }

    /// What kind of value it is.
    pub fn kind(&self) -> Kind {
        kind(&self.0)
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// A string's characters as bytes: UTF-8, but for lone surrogates. `None` for other kinds.
    pub fn string_bytes(&self) -> Option<Cow<'_, [u8]>> {
        string_bytes(&self.0)
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.0.len())
    }
}

/// What kind of value a JSON text begins; the text is known to be valid and without leading space.
pub fn kind(json: &str) -> Kind {
    match json.as_bytes().first() {
        Some(b'"') => Kind::String,
        Some(b'{') => Kind::Object,
        Some(b'[') => Kind::Array,
        Some(b't' | b'f') => Kind::Bool,
        Some(b'n') => Kind::Null,
        _ => Kind::Number,
    }
}

/// The characters of a JSON string, as bytes: UTF-8, but for lone surrogates. `None` if the text is
/// no JSON string.
pub fn string_bytes(json: &str) -> Option<Cow<'_, [u8]>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if first_of([b'\\'; 2], inner.as_bytes()).is_none() {
        return Some(Cow::Borrowed(inner.as_bytes()));
    }
    serde_json::from_str::<Key<'_>>(json).ok().map(|key| key.0)
}

/// Appends bytes (UTF-8, but for lone surrogates) as a JSON string.
pub(crate) fn write_json_string(mut bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    if is_plain(bytes) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
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
fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk::<8>() else {
        return !bytes.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0xED));
    };
    let (words, _) = bytes.as_chunks::<8>();
    // Some of the last eight are asked twice.
    let words = words.iter().chain([last]);
    words.fold(0, |special, word| special | specials(u64::from_le_bytes(*word))) == 0
}

/// Where the first byte stands that is one of two. Strings are short, so eight bytes at a time are as
/// good as more.
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
fn below(word: u64, bound: u64) -> u64 {
    // Such a byte borrows from its highest bit, which it had not set.
    word.wrapping_sub(ONES * bound) & !word
}

/// The same for bytes that are `byte`.
fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * u64::from(byte)), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_of(key: &Key<'_>) -> String {
        let mut out = Vec::new();
        key.write_json(&mut out);
        assert_eq!(out.len(), key.json_len());
        String::from_utf8(out).expect("a key's JSON is UTF-8")
    }

    #[test]
    fn keys_come_back_as_they_came() {
        for json in [
            r#""ORS Data""#,
            r#""""#,
            r#""größe""#,
            r#""a\"b\\c""#,
            r#""tab\tend""#,
            r#""\ud800""#,
            r#""x\udfffy\ud800""#,
            r#""한국""#,
            r#""😀""#,
        ] {
            let key: Key<'_> = serde_json::from_str(json).expect("a JSON string");
            assert_eq!(json_of(&key), json);
        }
    }

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

    #[test]
    fn an_escaped_and_a_plain_spelling_are_the_same_key() {
        let plain: Key<'_> = serde_json::from_str(r#""é😀""#).expect("a JSON string");
        let escaped: Key<'_> =
            serde_json::from_str(r#""\u00e9\ud83d\ude00""#).expect("a JSON string");
        assert_eq!(plain, escaped);
    }

    #[test]
    fn debug_never_shows_a_value() {
        assert_eq!(format!("{:?}", Value::from_text("secret")), "Value(8 bytes)");
    }
}

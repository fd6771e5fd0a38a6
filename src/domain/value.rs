//! Keys and values of user data (rules K1 and K2).
//!
//! A value is a slice of the JSON that brought it: it is never parsed into a tree and never
//! re-serialised, so number literals, escapes and the order of members leave exactly as they came.
//! A key is the bytes that its JSON string stands for. A lone surrogate, which JSON can spell and
//! UTF-8 cannot, is kept as its three generalised UTF-8 bytes.
//!
//! `Debug` shows a key's name and a value's length, never a value (K8).

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{Deserialize, Deserializer, Visitor};

use super::json::RawJson;
use super::json_string::{is_plain, string_bytes, write_json_string, write_quoted};

/// The key that is never stored and never copied (A2).
pub const JSON_EVENT: Key<'static> =
    Key { bytes: Cow::Borrowed(b"jsonEvent"), is_known_plain: true };

/// A key of user data. Equal means byte for byte equal (K1).
#[derive(Clone)]
pub struct Key<'a> {
    bytes: Cow<'a, [u8]>,
    /// It was found in JSON as it is, so it can stand there again; unknown of others.
    is_known_plain: bool,
}

impl<'a> Key<'a> {
    /// The key with these bytes.
    pub fn from_bytes(bytes: impl Into<Cow<'a, [u8]>>) -> Key<'a> {
        Key { bytes: bytes.into(), is_known_plain: false }
    }

    /// The key of a valid JSON string without escapes, whose characters these are.
    pub(super) fn plain(characters: &'a str) -> Key<'a> {
        Key { bytes: Cow::Borrowed(characters.as_bytes()), is_known_plain: true }
    }

    /// The key as bytes: UTF-8, but for lone surrogates.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes.
    pub(super) fn into_bytes(self) -> Cow<'a, [u8]> {
        self.bytes
    }

    /// The key as text; `None` if it holds a lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// The key, without a borrow of what it was read from.
    pub fn into_owned(self) -> Key<'static> {
        Key { bytes: Cow::Owned(self.bytes.into_owned()), is_known_plain: self.is_known_plain }
    }

    /// A key of the same bytes that borrows from this one.
    pub fn reborrow(&self) -> Key<'_> {
        Key { bytes: Cow::Borrowed(&self.bytes), is_known_plain: self.is_known_plain }
    }

    /// Appends the key as a JSON string.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self.is_known_plain {
            true => write_quoted(&self.bytes, out),
            false => write_json_string(&self.bytes, out),
        }
    }

    /// How many bytes [`Key::write_json`] appends.
    pub(crate) fn json_len(&self) -> usize {
        if self.is_known_plain || is_plain(&self.bytes) {
            return self.bytes.len() + 2;
        }
        let mut json = Vec::new();
        self.write_json(&mut json);
        json.len()
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        same(&self.bytes, &other.bytes)
    }
}

impl Eq for Key<'_> {}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl std::borrow::Borrow<[u8]> for Key<'_> {
    fn borrow(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'a> From<&'a str> for Key<'a> {
    fn from(name: &'a str) -> Key<'a> {
        Key::from_bytes(name.as_bytes())
    }
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes))
    }
}

impl fmt::Debug for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.bytes))
    }
}

/// Whether two texts are the same. Most that are as long as another end in another way, and to see that
/// costs less than to compare them.
#[inline]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.last() == other.last() && one == other
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
                Ok(Key::from_bytes(bytes))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Key<'de>, E> {
                Ok(Key::from_bytes(bytes.to_vec()))
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

impl Kind {
    /// The kind as a sentence has it.
    pub fn named(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
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

    /// The value, without a borrow of what it was read from.
    pub fn into_owned(self) -> Value<'static> {
        Value(Cow::Owned(self.0.into_owned()))
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

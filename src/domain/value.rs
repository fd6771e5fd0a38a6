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

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

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
    pub fn from_raw(raw: &'a RawValue) -> Value<'a> {
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

    /// The slice of the message that holds the value; `None` for a value that was made here.
    pub(crate) fn as_slice(&self) -> Option<&'a str> {
        match self.0 {
            Cow::Borrowed(json) => Some(json),
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
    if !inner.as_bytes().contains(&b'\\') {
        return Some(Cow::Borrowed(inner.as_bytes()));
    }
    serde_json::from_str::<Key<'_>>(json).ok().map(|key| key.0)
}

/// The members of a JSON object, in order, repeats included. `None` if the text is no valid object.
pub fn members(json: &str) -> Option<Vec<(Key<'_>, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Key<'de>, &'de RawValue)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            // Sixteen holds the members of the usual message without growing.
            let mut members = Vec::with_capacity(16);
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let members = reader.deserialize_map(Members).ok()?;
    reader.end().ok()?;
    Some(members)
}

/// The elements of a JSON array, in order. `None` if the text is no valid array.
pub fn elements(json: &str) -> Option<Vec<&RawValue>> {
    struct Elements;
    impl<'de> Visitor<'de> for Elements {
        type Value = Vec<&'de RawValue>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = seq.next_element()? {
                elements.push(element);
            }
            Ok(elements)
        }
    }
    let mut reader = serde_json::Deserializer::from_str(json);
    let elements = reader.deserialize_seq(Elements).ok()?;
    reader.end().ok()?;
    Some(elements)
}

/// Appends bytes (UTF-8, but for lone surrogates) as a JSON string.
pub(crate) fn write_json_string(mut bytes: &[u8], out: &mut Vec<u8>) {
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
fn is_plain(bytes: &[u8]) -> bool {
    /// The bytes that do not are 1; looked up, since every key and every id of every message is asked
    /// about.
    const SPECIAL: [u8; 256] = {
        let mut special = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            special[byte] = (byte < 0x20 || matches!(byte as u8, b'"' | b'\\' | 0xED)) as u8;
            byte += 1;
        }
        special
    };
    bytes.iter().fold(0, |special, byte| special | SPECIAL[usize::from(*byte)]) == 0
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
    fn members_keep_order_repeats_and_literals() {
        let members = members(r#"{"b":1.10,"a":{"z":1,"a":[ 1 ]},"b":1E400}"#).expect("an object");
        let texts: Vec<_> = members.iter().map(|(key, raw)| format!("{key}={raw}")).collect();
        assert_eq!(texts, ["b=1.10", r#"a={"z":1,"a":[ 1 ]}"#, "b=1E400"]);
    }

    #[test]
    fn debug_never_shows_a_value() {
        assert_eq!(format!("{:?}", Value::from_text("secret")), "Value(8 bytes)");
    }
}

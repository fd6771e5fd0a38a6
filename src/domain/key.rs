//! Keys of user data (rule K1).
//!
//! A key is the bytes that its JSON string stands for. A lone surrogate, which JSON can spell and UTF-8
//! cannot, is kept as its three generalised UTF-8 bytes.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use serde::de::{Deserialize, Deserializer};

use super::json_string::{StringBytes, is_plain, write_json_string, write_quoted};

/// The key that is never stored and never copied (A2).
pub const JSON_EVENT: Key<'static> =
    Key { bytes: Cow::Borrowed(b"jsonEvent"), is_known_plain: true };

/// A key of user data. Equal means byte for byte equal (K1).
#[derive(Clone)]
pub struct Key<'a> {
    bytes: Cow<'a, [u8]>,
    /// Whether its bytes are known to need no escapes in JSON; false where that is unknown.
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

    /// The key as text; `None` if it holds a lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// A key of the same bytes that borrows from this one.
    pub fn reborrow(&self) -> Key<'_> {
        Key { bytes: Cow::Borrowed(&self.bytes), is_known_plain: self.is_known_plain }
    }

    /// The key, without a borrow of its source.
    pub fn into_owned(self) -> Key<'static> {
        Key { bytes: Cow::Owned(self.bytes.into_owned()), is_known_plain: self.is_known_plain }
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

/// Whether two texts are equal. Most texts of the same length differ in their last byte, and checking
/// that costs less than comparing them.
#[inline]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.last() == other.last() && one == other
}

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        StringBytes::deserialize(deserializer).map(|bytes| Key::from_bytes(bytes.0))
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
    fn key_is_written_as_it_was_read() {
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
    fn escaped_and_plain_spelling_are_the_same_key() {
        let plain: Key<'_> = serde_json::from_str(r#""é😀""#).expect("a JSON string");
        let escaped: Key<'_> =
            serde_json::from_str(r#""\u00e9\ud83d\ude00""#).expect("a JSON string");
        assert_eq!(plain, escaped);
    }
}

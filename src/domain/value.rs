//! Values of user data (rule K2), and, re-exported, their keys.
//!
//! A value is a slice of the JSON that brought it: it is never parsed into a tree and never
//! re-serialised, so number literals, escapes and the order of members are published unchanged.
//!
//! `Debug` shows a value's length, never the value (K8).

use std::borrow::Cow;
use std::fmt;

use super::json::RawJson;
use super::json_string::string_bytes;

pub use super::json_kind::{Kind, kind};
pub(crate) use super::key::same;
pub use super::key::{JSON_EVENT, Key};

/// A value of user data: the text of one JSON value, kept as it was written (K2).
#[derive(Clone, PartialEq, Eq)]
pub struct Value<'a>(Cow<'a, str>);

impl<'a> Value<'a> {
    /// The value that is `raw`.
    pub fn from_raw(raw: RawJson<'a>) -> Value<'a> {
        Value(Cow::Borrowed(raw.get()))
    }

    /// The value of a JSON text that is known to be valid: written by this program, or checked by the
    /// reader of the rules.
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

    /// The value as JSON whose members can be read.
    pub(super) fn raw(&self) -> RawJson<'_> {
        RawJson::known(&self.0)
    }

    /// The slice of the message that holds the value; `None` for an owned value.
    pub(super) fn as_slice(&self) -> Option<RawJson<'a>> {
        match self.0 {
            Cow::Borrowed(json) => Some(RawJson::known(json)),
            Cow::Owned(_) => None,
        }
    }

    /// The kind of the value.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_only() {
        assert_eq!(format!("{:?}", Value::from_text("secret")), "Value(8 bytes)");
    }
}

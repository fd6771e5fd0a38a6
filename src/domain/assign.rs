//! The engagement strategy's single Assign Data block (rule A1).
//!
//! Entries run once, when the interaction is created, in the order of the rules, before anything
//! else reads the data: they see the pairs of every source, also those that a User Data Set drops later.

use std::fmt;

use super::json::RawJson;
use super::received::Received;
use super::value::{JSON_EVENT, Key, Kind, Value};

/// One entry: puts a value under a key of its own.
#[derive(Clone, Debug)]
pub struct Assign {
    /// The channel it applies to; `None`: all.
    pub(crate) channel: Option<String>,
    /// The key it sets. Never `jsonEvent` (A2).
    pub(crate) key: Key<'static>,
    /// The value it sets.
    pub(crate) what: Assigned,
}

/// Where an entry takes its value from.
#[derive(Clone, Debug)]
pub enum Assigned {
    /// From the interaction's own data.
    From(Pointer),
    /// A constant.
    Constant(Value<'static>),
}

/// Runs the entries for `channel` over the received data, all sources merged by P1. Each entry sees
/// what earlier ones assigned. An entry whose pointer finds no value sets none.
pub(crate) fn run<'a>(
    entries: &'a [Assign],
    channel: &str,
    own: &Received<'a>,
) -> Vec<(Key<'a>, Value<'a>)> {
    let mut assigned: Vec<(Key<'a>, Value<'a>)> = Vec::new();
    for entry in entries {
        if entry.channel.as_deref().is_some_and(|only| only != channel) {
            continue;
        }
        let value = match &entry.what {
            Assigned::Constant(value) => Some(value.reborrow()),
            Assigned::From(pointer) => {
                let earlier = assigned.iter().find(|(key, _)| *key == pointer.key);
                let root = earlier.map(|(_, value)| value).or_else(|| own.get(&pointer.key));
                root.and_then(|root| pointer.resolve(root))
            }
        };
        if let Some(value) = value {
            assigned.retain(|(key, _)| *key != entry.key);
            assigned.push((entry.key.reborrow(), value));
        }
    }
    assigned
}

/// Whether any entry applies to `channel`.
pub(crate) fn concerns(entries: &[Assign], channel: &str) -> bool {
    entries.iter().any(|entry| entry.channel.as_deref().is_none_or(|only| only == channel))
}

/// A JSON Pointer (RFC 6901) into the user data: its first token is a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    key: Key<'static>,
    tokens: Vec<Vec<u8>>,
}

/// Why a text is not accepted as the pointer of an `[[assign]]` entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// RFC 6901 has it begin with a slash, and `~` be followed by 0 or 1.
    #[error("is no JSON Pointer: it begins with / and has ~ only as ~0 or ~1")]
    Malformed,
    /// The whole of the data cannot be assigned.
    #[error("points at everything; name one value, as in /jsonEvent/page/title")]
    Everything,
    /// A2: `jsonEvent` as a whole stays where it is.
    #[error("points at jsonEvent itself, which is never stored or copied; name a value in it")]
    JsonEvent,
}

impl Pointer {
    /// Parses a pointer.
    ///
    /// # Errors
    /// [`PointerError`] when the text is no pointer, or points at `jsonEvent` or at everything.
    pub fn parse(text: &str) -> Result<Pointer, PointerError> {
        if text.is_empty() {
            return Err(PointerError::Everything);
        }
        let path = text.strip_prefix('/').ok_or(PointerError::Malformed)?;
        let mut tokens =
            path.split('/').map(|token| unescape(token).ok_or(PointerError::Malformed));
        // `split` yields at least one token, if an empty one: the empty key.
        let key = Key::from_bytes(tokens.next().unwrap_or(Ok(Vec::new()))?);
        let tokens: Vec<_> = tokens.collect::<Result<_, _>>()?;
        if tokens.is_empty() && key == JSON_EVENT {
            return Err(PointerError::JsonEvent);
        }
        Ok(Pointer { key, tokens })
    }

    /// The value that the pointer's remaining tokens select, starting from the value of its key.
    fn resolve<'a>(&self, root: &Value<'a>) -> Option<Value<'a>> {
        let Some(json) = root.as_slice() else {
            // An owned value does not outlive this call, so the selected part is copied.
            return resolve_tokens(root.raw(), &self.tokens)
                .map(|json| Value::from_json(json.get().to_owned()));
        };
        resolve_tokens(json, &self.tokens).map(Value::from_raw)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in
            std::iter::once(self.key.as_bytes()).chain(self.tokens.iter().map(Vec::as_slice))
        {
            let token = String::from_utf8_lossy(token).replace('~', "~0").replace('/', "~1");
            write!(f, "/{token}")?;
        }
        Ok(())
    }
}

fn resolve_tokens<'v>(mut json: RawJson<'v>, tokens: &[Vec<u8>]) -> Option<RawJson<'v>> {
    for token in tokens {
        json = match json.kind() {
            // Of repeated members the last counts, as for keys (K4).
            Kind::Object => {
                let mut found = json.members()?.into_iter().rev();
                found.find(|(key, _)| key.as_bytes() == token)?.1
            }
            Kind::Array => *json.elements()?.get(parse_array_index(token)?)?,
            Kind::Null | Kind::Bool | Kind::Number | Kind::String => return None,
        };
    }
    Some(json)
}

/// An array index as RFC 6901 has it: digits without a leading zero.
fn parse_array_index(token: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(token).ok()?;
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn unescape(token: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(token.len());
    let mut bytes = token.bytes();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'~' => match bytes.next()? {
                b'0' => b'~',
                b'1' => b'/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_invalid_pointers() {
        assert_eq!(Pointer::parse("").err(), Some(PointerError::Everything));
        assert_eq!(Pointer::parse("/jsonEvent").err(), Some(PointerError::JsonEvent));
        for text in ["jsonEvent", "a/b", "/a~", "/a~2", "#/a"] {
            assert_eq!(Pointer::parse(text).err(), Some(PointerError::Malformed), "{text}");
        }
    }

    #[test]
    fn pointer_resolves_through_objects_and_arrays() {
        let root = Value::from_json(r#"{"a/b":[{"~":1},{"x":{"y":" z "}}],"a/b2":0,"d":1,"d":2}"#);
        let find = |text: &str| {
            let pointer = Pointer::parse(text).expect("a pointer");
            pointer.resolve(&root).map(|value| value.as_json().to_owned())
        };
        assert_eq!(find("/k/a~1b/0/~0").as_deref(), Some("1"));
        assert_eq!(find("/k/a~1b/1/x/y").as_deref(), Some(r#"" z ""#));
        assert_eq!(find("/k/d").as_deref(), Some("2"), "of two members the last counts");
        for nothing in ["/k/a~1b/2", "/k/a~1b/-", "/k/a~1b/00", "/k/nope", "/k/d/x", "/k/a~1b/+1"] {
            assert_eq!(find(nothing), None, "{nothing}");
        }
    }
}

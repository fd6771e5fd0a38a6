//! History: the extra data that stays after the conversation (rules H1 to H5).
//!
//! By default nothing is saved. A [`Record`] can only be made by a history list, so a key that no
//! list names cannot reach a store; the only other constructor, [`Record::restored`], is for stores that
//! read back what they saved.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::json_string::write_json_string;
use super::report::{Report, Warning, WarningCode};
use super::user_data::{KeySet, UserData};
use super::value::{JSON_EVENT, Key, Kind, Value};

/// Which keys are saved, by channel and by queue.
#[derive(Clone, Debug, Default)]
pub struct HistoryLists {
    /// The list of a channel (H1). Names are exact.
    pub(crate) channels: HashMap<String, KeyList>,
    /// The list of a queue, instead of its channel's (H2).
    pub(crate) queues: HashMap<String, KeyList>,
}

impl HistoryLists {
    /// The extra data of an interaction: what the list of its queue, else of its channel, names of
    /// the finished data (H1 to H4). Without a list, nothing.
    pub(crate) fn select<'a>(
        &self,
        channel: &str,
        queue: Option<&str>,
        data: &UserData<'a>,
        report: &mut Report<'a>,
    ) -> Record {
        let of_queue = queue.and_then(|queue| self.queues.get(queue));
        match of_queue.or_else(|| self.channels.get(channel)) {
            Some(list) => Record::select(list, data, report),
            None => Record::default(),
        }
    }
}

/// A list of keys: of `[history]`, `[[history.queue]]` or `[allocated]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyList {
    keys: KeySet,
}

impl KeyList {
    /// A list of keys, taken literally.
    pub fn new<'k>(keys: impl IntoIterator<Item = &'k [u8]>) -> KeyList {
        KeyList { keys: keys.into_iter().map(Box::from).collect() }
    }

    /// A comma-separated list: trimmed, empty names dropped (H2).
    pub fn from_text(text: &str) -> KeyList {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        KeyList::new(names.map(str::as_bytes))
    }

    /// Whether the list names exactly this key (K1).
    pub fn contains(&self, key: &Key<'_>) -> bool {
        self.keys.contains(key.as_bytes())
    }

    /// The keys, in the order of the list.
    pub fn iter(&self) -> impl Iterator<Item = Key<'_>> {
        self.keys.iter().map(|key| Key::from_bytes(key.as_ref()))
    }
}

/// The text that replaces an erased value.
pub const ANONYMISED: &str = "{Anonymized by DPO}";

/// The pairs of one interaction that history keeps, as text (H4). `Debug` names the keys only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// Shared by the published message and the saved row.
    pairs: Arc<[(String, String)]>,
}

impl Record {
    /// Picks the listed pairs out of the finished data, as text.
    fn select<'a>(list: &KeyList, data: &UserData<'a>, report: &mut Report<'a>) -> Record {
        let mut pairs = Vec::with_capacity(list.keys.len());
        for key in list.iter().filter(|key| *key != JSON_EVENT) {
            let Some(value) = data.get(&key) else { continue };
            match storable_text(&key, value) {
                Ok(Some(pair)) => pairs.push(pair),
                Ok(None) => {}
                Err(code) => report.warn(Warning::about(code, &key)),
            }
        }
        Record { pairs: pairs.into() }
    }

    /// Parses a record that a store has saved. For stores only.
    ///
    /// # Errors
    /// [`InvalidRecord`] when `json` is no JSON object whose members are strings.
    pub fn restored(json: &str) -> Result<Record, InvalidRecord> {
        struct Pairs;
        impl<'de> serde::de::Visitor<'de> for Pairs {
            type Value = Vec<(String, String)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
        }
        let mut json = serde_json::Deserializer::from_str(json);
        let pairs = serde::Deserializer::deserialize_map(&mut json, Pairs);
        // serde_json's error may quote the input (K8).
        let pairs = pairs.map_err(|_| InvalidRecord)?;
        json.end().map_err(|_| InvalidRecord)?;
        Ok(Record { pairs: pairs.into() })
    }

    /// The saved pairs, in the order of the finished data.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, text)| (key.as_str(), text.as_str()))
    }

    /// The record as a JSON object of strings: the form in which stores keep it.
    pub fn to_json(&self) -> String {
        let text: usize = self.pairs().map(|(key, text)| key.len() + text.len()).sum();
        let mut json = Vec::with_capacity(text + r#""":"","#.len() * self.pairs.len() + "{}".len());
        self.write_json(&mut json);
        // The JSON is always UTF-8; this conversion has no error path.
        String::from_utf8(json)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// Appends the same object: its form in messages.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (n, (key, text)) in self.pairs().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            write_json_string(key.as_bytes(), out);
            out.push(b':');
            write_json_string(text.as_bytes(), out);
        }
        out.push(b'}');
    }

    /// The record with every value erased. The keys stay: they hold no personal data.
    #[must_use]
    pub fn anonymised(&self) -> Record {
        let erased = |(key, _): &(String, String)| (key.clone(), ANONYMISED.to_owned());
        Record { pairs: self.pairs.iter().map(erased).collect() }
    }

    /// The pairs whose keys are wanted.
    pub(crate) fn only(&self, wanted: impl Fn(&str) -> bool) -> Record {
        Record { pairs: self.pairs.iter().filter(|(key, _)| wanted(key)).cloned().collect() }
    }

    /// These pairs and then the others'.
    pub(crate) fn followed_by(&self, others: &Record) -> Record {
        Record { pairs: self.pairs.iter().chain(others.pairs.iter()).cloned().collect() }
    }

    /// Whether nothing is saved.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.pairs().map(|(key, _)| key)).finish()
    }
}

/// A saved record that cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read the history of an interaction: it is no object of strings")]
pub struct InvalidRecord;

/// Key and value as a database can hold them; `None` for `null`, which is not saved (H4).
fn storable_text(
    key: &Key<'_>,
    value: &Value<'_>,
) -> Result<Option<(String, String)>, WarningCode> {
    let text = match value.kind() {
        Kind::Null => return Ok(None),
        Kind::Array | Kind::Object => return Err(WarningCode::HistoryNested),
        Kind::Number | Kind::Bool => Cow::Borrowed(value.as_json().as_bytes()),
        Kind::String => value.string_bytes().ok_or(WarningCode::HistoryUnstorable)?,
    };
    let storable = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.to_owned()),
        _ => Err(WarningCode::HistoryUnstorable),
    };
    Ok(Some((storable(key.as_bytes())?, storable(&text)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trims_lists_from_text_and_not_from_arrays() {
        let text = KeyList::from_text(" a , b c,, a ,");
        assert_eq!(text, KeyList::new([b"a".as_slice(), b"b c"]));
        let array = KeyList::new([b" a ".as_slice()]);
        assert!(array.contains(&Key::from(" a ")) && !array.contains(&Key::from("a")));
    }

    #[test]
    fn record_round_trips_through_json() {
        let json = r#"{"a":"x\r\n\"y\"","größe":"1.10","":""}"#;
        let record = Record::restored(json).expect("a record");
        assert_eq!(record.to_json(), json);
        assert_eq!(format!("{record:?}"), r#"{"a", "größe", ""}"#, "names only");
        assert!(Record::restored(r#"{"a":1}"#).is_err());
    }
}

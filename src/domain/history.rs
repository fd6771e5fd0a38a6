//! History: the extra data that stays after the conversation (rules H1 to H5).
//!
//! By default nothing is saved. A [`Record`] can only be made by [`HistoryList::select`], so what no
//! list names cannot reach a store; the one other way in, [`Record::restored`], is for stores that
//! read back what they saved.

use std::fmt;

/// The pairs of one interaction that history keeps, as text (H4). `Debug` names the keys only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record {
    pairs: Vec<(String, String)>,
}

impl Record {
    /// What a store has saved before, read back. For stores only.
    ///
    /// # Errors
    /// When `json` is no JSON object whose members are strings.
    pub fn restored(json: &str) -> Result<Record, serde_json::Error> {
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
        let pairs = serde::Deserializer::deserialize_map(&mut json, Pairs)?;
        json.end()?;
        Ok(Record { pairs })
    }

    /// The saved pairs, in the order of the finished data.
    pub fn pairs(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(key, text)| (key.as_str(), text.as_str()))
    }

    /// The record as a JSON object of strings: how stores keep it and messages show it.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (n, (key, text)) in self.pairs().enumerate() {
            if n > 0 {
                json.push(',');
            }
            json.push_str(&serde_json::Value::from(key).to_string());
            json.push(':');
            json.push_str(&serde_json::Value::from(text).to_string());
        }
        json.push('}');
        json
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

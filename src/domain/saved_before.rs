//! The history of an interaction from before it expired and began anew: it stays until a key is saved
//! anew.
//!
//! Only the names of the keys are kept; the values stand in the record.

use std::borrow::Cow;

use super::history::Record;

/// Keys of a record whose values are from before the interaction began anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SavedBefore(Vec<String>);

impl SavedBefore {
    /// Everything that is saved: the interaction begins anew.
    pub(super) fn all_of(record: &Record) -> SavedBefore {
        SavedBefore(record.pairs().map(|(key, _)| key.to_owned()).collect())
    }

    /// The keys that a store kept.
    pub fn from_keys<'k>(keys: impl IntoIterator<Item = Cow<'k, str>>) -> SavedBefore {
        SavedBefore(keys.into_iter().map(Cow::into_owned).collect())
    }

    /// The keys.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds to what is saved `now` the values of `old` that stay, and gives their keys.
    pub(super) fn complete(mut self, old: &Record, now: &mut Record) -> SavedBefore {
        if !self.0.is_empty() {
            self.0.retain(|key| now.pairs().all(|(anew, _)| anew != key));
            *now = old.only(|key| self.0.iter().any(|kept| kept == key)).followed_by(now);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Record {
        Record::restored(json).expect("a record")
    }

    #[test]
    fn value_is_kept_until_its_key_is_saved_again() {
        let old = record(r#"{"plan":"gold","lang":"de"}"#);
        let mut now = record(r#"{"plan":"silver"}"#);
        let left = SavedBefore::all_of(&old).complete(&old, &mut now);
        assert_eq!(now.to_json(), r#"{"lang":"de","plan":"silver"}"#);
        assert_eq!(left.keys().collect::<Vec<_>>(), ["lang"]);
        // A pair that was saved again is like any other pair: an update may remove it.
        let mut later = record("{}");
        let left = left.complete(&now, &mut later);
        assert_eq!(later.to_json(), r#"{"lang":"de"}"#);
        assert_eq!(left.keys().collect::<Vec<_>>(), ["lang"]);
    }
}
